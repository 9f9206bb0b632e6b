package indextest

import (
	"maps"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// checkAlong wants what is walked along to be what State has, in order.
func checkAlong(t *testing.T, x index.Planner, repository string, s index.State) {
	t.Helper()
	ctx := t.Context()
	manifests := walk(t, func(after digest.Digest, n int) ([]digest.Digest, error) {
		return x.ManifestsAfter(ctx, repository, after, n)
	}, func(d digest.Digest) digest.Digest { return d })
	if want := slices.Sorted(maps.Keys(s.Manifests)); !slices.Equal(manifests, want) {
		t.Fatalf("along %s are the manifests %v, want %v", repository, manifests, want)
	}
	aliases := walk(t, func(after digest.Digest, n int) ([]index.Alias, error) {
		return x.AliasesAfter(ctx, repository, after, n)
	}, func(a index.Alias) digest.Digest { return a.Digest })
	if len(aliases) != len(s.Aliases) {
		t.Fatalf("along %s are the aliases %v, want %v", repository, aliases, s.Aliases)
	}
	for _, a := range aliases {
		if s.Aliases[a.Digest] != a.Canonical {
			t.Fatalf("along %s %s stands for %s, want %s", repository, a.Digest, a.Canonical, s.Aliases[a.Digest])
		}
	}
	links := walk(t, func(after digest.Digest, n int) ([]image.Blob, error) {
		return x.LinksAfter(ctx, repository, after, n)
	}, func(b image.Blob) digest.Digest { return b.Digest })
	if len(links) != len(s.Links) {
		t.Fatalf("along %s are the links %v, want %v", repository, links, s.Links)
	}
	for _, b := range links {
		if size, ok := s.Links[b.Digest]; !ok || size != b.Size {
			t.Fatalf("along %s %s has %d bytes, want %d", repository, b.Digest, b.Size, size)
		}
	}
	tags := walk(t, func(after string, n int) ([]index.Tag, error) {
		return x.TagsAfter(ctx, repository, after, n)
	}, func(tag index.Tag) string { return tag.Name })
	if len(tags) != len(s.Tags) {
		t.Fatalf("along %s are the tags %v, want %v", repository, tags, s.Tags)
	}
	for _, tag := range tags {
		if s.Tags[tag.Name] != tag.Digest {
			t.Fatalf("along %s %s is %s, want %s", repository, tag.Name, tag.Digest, s.Tags[tag.Name])
		}
	}
}

// walk walks to the end, two at a time, and wants the order of names.
func walk[K ~string, V any](t *testing.T, next func(after K, n int) ([]V, error), nameOf func(V) K) (all []V) {
	t.Helper()
	const n = 2
	for after := K(""); ; {
		some, err := next(after, n)
		if err != nil || len(some) > n {
			t.Fatalf("%d at once, %v", len(some), err)
		}
		if len(some) == 0 {
			return all
		}
		for _, one := range some {
			if nameOf(one) <= after {
				t.Fatalf("%q comes after %q", nameOf(one), after)
			}
			after = nameOf(one)
		}
		all = append(all, some...)
	}
}
