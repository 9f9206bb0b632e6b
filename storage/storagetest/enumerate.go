package storagetest

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
)

var enumerateTests = []test{{"in order", testInOrder}}

// testInOrder enumerates a repository in the order of names, whose neighbours begin
// alike.
func testInOrder(t *testing.T, s *stored) {
	const app = "alice/app"
	ctx, r := t.Context(), s.Repository(app)
	manifests, links, tags := map[digest.Digest]bool{}, map[digest.Digest]bool{}, map[string]bool{}
	for i := range 30 {
		m := s.blob(fmt.Sprint("manifest ", i))
		s.put(manifestLink(app, m), m.String())
		manifests[m] = true
		links[s.layer(app, fmt.Sprint("layer ", i))] = true
		tag := []string{"v%d", "v%d.1", "v%d-rc", "%d"}[i%4]
		s.put(tagCurrent(app, fmt.Sprintf(tag, i/4)), m.String())
		tags[fmt.Sprintf(tag, i/4)] = true
	}
	s.layer("alice/app-2", "not its own")
	one := slices.Sorted(maps.Keys(manifests))[0]
	alias, linkAlias := digest.SHA512.FromString("alias"), digest.SHA512.FromString("link")
	s.put(manifestLink(app, alias), one.String())
	s.put(layerLink(app, linkAlias), one.String())
	links[linkAlias] = true
	s.put(repositories+app+"/_layers/readme.txt", "nobody's")
	wantInOrder(t, "manifests", r.ManifestNames(ctx), manifests)
	wantInOrder(t, "other digests of manifests", r.AliasNames(ctx), map[digest.Digest]bool{alias: true})
	wantInOrder(t, "links", r.LinkNames(ctx), links)
	wantInOrder(t, "tags", r.TagNames(ctx), tags)
	wantInOrder(t, "manifests of nothing", s.Repository("no/body").ManifestNames(ctx), nil)
	if n, counted, err := r.CountManifests(ctx); err != nil || counted && n != int64(len(manifests)) {
		t.Errorf("%d manifests are counted, %v", n, err)
	}
	for range r.LinkNames(ctx) {
		break // who has enough stops
	}
}

func wantInOrder[K ~string](t *testing.T, what string, all iter.Seq2[K, error], want map[K]bool) {
	t.Helper()
	var got []K
	for name, err := range all {
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		got = append(got, name)
	}
	if sorted := slices.Sorted(maps.Keys(want)); !slices.Equal(got, sorted) {
		t.Errorf("%s are\n%v, want\n%v", what, got, sorted)
	}
}
