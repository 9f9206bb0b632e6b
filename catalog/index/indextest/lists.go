package indextest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	digest "github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

func testFrom(t *testing.T, o Options) {
	x := o.open(t)
	for i := range 6 {
		d := dgst(fmt.Sprint(i))
		publish(t, x, change{"a/b", index.Update{Put: []image.Description{{Digest: d, Image: imageAt(at(i / 2))}}}})
	}
	for _, c := range []struct {
		second     int
		descending bool
		want       int
	}{{1, false, 4}, {1, true, 4}, {0, true, 2}, {3, false, 0}, {3, true, 6}, {-1, true, 0}} {
		q := index.Query{ByTime: true, Descending: c.descending, From: &index.Position{Time: at(c.second)}}
		if got := readAll(t, x, q, 2); len(got) != c.want {
			t.Errorf("from %d, descending %v: %d images, want %d", c.second, c.descending, len(got), c.want)
		}
		for _, e := range readAll(t, x, q, 1) {
			q.From = &index.Position{Time: e.Image.Created, UUID: e.UUID()}
			if got := readAll(t, x, q, 3); got[0].Digest != e.Digest {
				t.Errorf("from %s: begins at %s", e.Digest, got[0].Digest)
			}
		}
	}
}

// testListWhileReordered reads lists batch by batch while images get other
// creation times: each must be in each list exactly once.
func testListWhileReordered(t *testing.T, o Options) {
	r := rand.New(rand.NewPCG(7, 7))
	x := o.open(t)
	const images = 12
	set := func(i int) {
		name := names[i%3]
		publish(t, x, change{name, index.Update{Put: []image.Description{{Digest: dgst(fmt.Sprint(i)), Image: imageAt(at(r.IntN(30)))}}}})
	}
	for i := range images {
		set(i)
	}
	for round := range 300 {
		q := index.Query{ByTime: round%3 != 0, Descending: round%3 == 1}
		seen := map[string]int{}
		for cursor, first := index.Cursor(""), true; first || cursor != ""; first = false {
			batch, next, err := x.List(t.Context(), q, cursor, 1+r.IntN(3))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range batch {
				seen[e.Repository+"@"+e.Digest.String()]++
			}
			cursor = next
			for range r.IntN(4) {
				set(r.IntN(images))
			}
		}
		for i := range images {
			if n := seen[names[i%3]+"@"+dgst(fmt.Sprint(i)).String()]; n != 1 {
				t.Fatalf("round %d, %+v: image %d is in the list %d times", round, q, i, n)
			}
		}
	}
}

// testAliases names a manifest by another digest of its bytes, in every order:
// tags, indexes and subjects that use it mean the manifest.
func testAliases(t *testing.T, o Options) {
	const repo = "alice/app"
	short, long := dgst("child"), digest.SHA512.FromString("child")
	parent, signature := dgst("index"), dgst("signature")
	steps := []change{
		{repo, index.Update{Put: []image.Description{{Digest: short, Image: imageAt(at(1))}}}},
		{repo, index.Update{Alias: map[digest.Digest]digest.Digest{long: short}}},
		{repo, index.Update{Put: []image.Description{{Digest: parent, Image: imageAt(at(2)), Children: []digest.Digest{long}}}}},
		{repo, index.Update{Put: []image.Description{{Digest: signature, Subject: long}}}},
		{repo, index.Update{Tag: map[string]digest.Digest{"v1": long}}},
	}
	var first string
	for seed := range uint64(30) {
		x := o.open(t)
		r := rand.New(rand.NewPCG(seed, 3))
		for _, i := range r.Perm(len(steps)) {
			publish(t, x, steps[i])
		}
		if o.Dump == nil {
		} else if got := o.Dump(t, x); first == "" {
			first = got
		} else if got != first {
			t.Fatalf("seed %d: the index depends on the order of arrival:\n%s\n---\n%s", seed, got, first)
		}
		ctx := t.Context()
		for _, d := range []digest.Digest{short, long} {
			e, err := x.Entry(ctx, repo, d)
			if err != nil || e.Digest != short || !e.Has(long) || !slices.Equal(e.Tags, []string{"v1"}) {
				t.Fatalf("entry by %s: %+v, %v", d.Algorithm(), e, err)
			}
			if all, err := x.ByDigest(ctx, d, nil, "", 9); err != nil || len(all) != 1 {
				t.Fatalf("by digest %s: %v, %v", d.Algorithm(), all, err)
			}
			if parents, err := x.Parents(ctx, repo, d); err != nil || !slices.Equal(parents, []digest.Digest{parent}) {
				t.Fatalf("parents by %s: %v, %v", d.Algorithm(), parents, err)
			}
			found, _, err := x.Referrers(ctx, repo, d, "", "", 9)
			if err != nil || len(found) != 1 || found[0].Digest != signature {
				t.Fatalf("referrers by %s: %v, %v", d.Algorithm(), found, err)
			}
		}
		if children, err := x.Children(ctx, repo, parent); err != nil || !slices.Equal(children, []digest.Digest{short}) {
			t.Fatalf("children: %v, %v", children, err)
		}
		if got, err := x.Resolve(ctx, repo, "v1"); err != nil || got != long {
			t.Fatalf("tag: %s, %v", got, err)
		}
		publish(t, x, change{repo, index.Update{Untag: []string{"v1"}}})
		if got := readAll(t, x, index.Query{}, 9); len(got) != 1 || got[0].Digest != parent {
			t.Fatalf("an untagged child is listed: %v", got)
		}
		publish(t, x, change{repo, index.Update{Unalias: []digest.Digest{long}, Delete: []digest.Digest{short}}})
		if _, err := x.Canonical(ctx, repo, long); !errors.Is(err, index.ErrNotFound) {
			t.Fatalf("the alias outlives the manifest: %v", err)
		}
	}
}
func testLayerCache(t *testing.T, o Options) {
	x := o.open(t)
	if _, found := x.Recall(dgst("l")); found {
		t.Fatal("recalled what nobody remembered")
	}
	x.Remember(dgst("l"), image.PartKernel|image.PartInitrd)
	publish(t, x, change{"a/b", index.Update{}}) // which was queued after it
	if got, found := x.Recall(dgst("l")); !found || got != image.PartKernel|image.PartInitrd {
		t.Fatalf("recalled %v, %v", got, found)
	}
}
