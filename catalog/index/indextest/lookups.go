package indextest

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/berth-oci/berth/catalog/index"
)

func checkLookups(t *testing.T, x index.Index, m model) {
	t.Helper()
	ctx := t.Context()
	checkNames(t, x, m)
	for name, r := range m {
		for tag, d := range r.tags {
			if got, err := x.Resolve(ctx, name, tag); err != nil || got != d {
				t.Fatalf("tag %s:%s is %s, %v; want %s", name, tag, got, err, d)
			}
		}
		for d, p := range r.manifests {
			e, err := x.Entry(ctx, name, d)
			if p.Image == nil {
				if !errors.Is(err, index.ErrNotFound) {
					t.Fatalf("%s@%s is no image: %v", name, d, err)
				}
				continue
			}
			if err != nil || !slices.Equal(e.Tags, r.tagsOf(d)) || !e.Image.Created.Equal(p.Image.Created) {
				t.Fatalf("%s@%s: %+v, %v", name, d, e, err)
			}
			if found, err := x.ByUUID(ctx, e.UUID(), nil); err != nil || found.Repository != name || found.Digest != d {
				t.Fatalf("uuid of %s@%s: %+v, %v", name, d, found, err)
			}
			for _, within := range [][]string{{}, {"alice"}, {"alice/app", "official"}, {"zoe", name}} {
				found, err := x.ByUUID(ctx, e.UUID(), within)
				if index.Within(within, name) != (err == nil) || err != nil && !errors.Is(err, index.ErrNotFound) || err == nil && found.Digest != d {
					t.Fatalf("uuid of %s@%s within %q: %+v, %v", name, d, within, found, err)
				}
			}
			for _, tag := range e.Tags {
				if found, err := x.Tagged(ctx, name, tag); err != nil || found.Digest != d {
					t.Fatalf("%s:%s is %+v, %v", name, tag, found, err)
				}
			}
			all, err := x.ByDigest(ctx, d, nil, "", 100)
			if err != nil || !slices.ContainsFunc(all, func(o index.Entry) bool { return o.Repository == name }) {
				t.Fatalf("by digest %s misses %s: %v, %v", d, name, all, err)
			}
		}
		s, err := x.State(ctx, name)
		if err != nil || !maps.Equal(s.Tags, r.tags) || !maps.Equal(s.Links, r.links) || len(s.Manifests) != len(r.manifests) {
			t.Fatalf("state of %s: %+v, %v", name, s, err)
		}
		checkAlong(t, x, name, s)
	}
}

func checkNames(t *testing.T, x index.Index, m model) {
	t.Helper()
	for _, ns := range [][]string{nil, {"alice"}, {"alice/app", "official", "zoe"}, {"alice", "alice/app", "official"}} {
		var want, got []string
		for name, r := range m {
			if len(r.manifests) > 0 && index.Within(ns, name) {
				want = append(want, name)
			}
		}
		slices.Sort(want)
		for {
			after := ""
			if len(got) > 0 {
				after = got[len(got)-1]
			}
			batch, err := x.Repositories(t.Context(), ns, after, 2)
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, batch...); len(batch) < 2 {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("repositories within %v: %v, want %v", ns, got, want)
		}
	}
	for name, r := range m {
		want := slices.Sorted(maps.Keys(r.tags))
		got, err := x.TagNames(t.Context(), name, "", 100)
		if len(r.manifests)+len(r.links) == 0 {
			if !errors.Is(err, index.ErrNotFound) {
				t.Fatalf("tags of %s, which is empty: %v, %v", name, got, err)
			}
		} else if err != nil || !slices.Equal(got, want) {
			t.Fatalf("tags of %s: %v, %v; want %v", name, got, err, want)
		}
		if len(want) > 1 {
			if got, err := x.TagNames(t.Context(), name, want[0], 1); err != nil || !slices.Equal(got, want[1:2]) {
				t.Fatalf("tags of %s after %s: %v, %v", name, want[0], got, err)
			}
		}
	}
	blob := dgst("blob1")
	for _, ns := range [][]string{nil, {"bob"}, {"alice/app", "official"}} {
		got, err := x.MountSource(t.Context(), blob, ns)
		holds := false
		for name, r := range m {
			if _, ok := r.links[blob]; ok && index.Within(ns, name) {
				holds = true
			}
		}
		if holds != (err == nil) || holds && (!index.Within(ns, got) || m[got].links[blob] == 0) {
			t.Fatalf("mount source within %v: %q, %v; want one: %v", ns, got, err, holds)
		}
	}
}
