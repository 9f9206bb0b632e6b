package catalog_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berth-oci/berth/catalog"
	"github.com/berth-oci/berth/storage"
)

func (w *world) referrer(subject digest.Digest) digest.Digest {
	return w.Manifest(map[string]any{
		"schemaVersion": 2, "mediaType": v1.MediaTypeImageManifest, "artifactType": "text/x",
		"config": v1.DescriptorEmptyJSON, "layers": []v1.Descriptor{},
		"subject": v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: subject, Size: 1},
	})
}

func (w *world) contents() catalog.Contents {
	w.t.Helper()
	c, err := w.Contents(w.t.Context(), repository)
	w.must(err)
	return c
}

func (w *world) pushed(d digest.Digest) time.Time {
	w.t.Helper()
	for _, m := range w.contents().Manifests {
		if m.Digest == d {
			return m.Pushed
		}
	}
	w.t.Fatalf("%s is not there", d)
	return time.Time{}
}

// TestContents reads what a repository holds: children, subjects and tags by their
// canonical digests, and times where they are needed.
func TestContents(t *testing.T) {
	w := newWorld(t)
	before := time.Now()
	a, long := w.unikernel("a"), w.unikernel("long")
	i, r := w.IndexOf(a), w.referrer(a)
	w.put(a)
	w.put(i, "v1")
	w.put(r)
	w.must(w.Put(repository, storage.Intent{Put: long, As: digest.SHA512.FromString("long"), Tags: []string{"long"}}))
	c := w.contents()
	want := map[digest.Digest]catalog.Manifest{a: {}, i: {Children: []digest.Digest{a}}, r: {Subject: a}, long: {}}
	got := map[digest.Digest]catalog.Manifest{}
	for _, m := range c.Manifests {
		if m.Digest == long != m.Pushed.IsZero() || !m.Pushed.IsZero() && m.Pushed.Before(before) {
			t.Errorf("%s was pushed at %v", m.Digest, m.Pushed)
		}
		got[m.Digest] = catalog.Manifest{Children: m.Children, Subject: m.Subject}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if len(c.Tags) != 2 || c.Tags[0].Name != "long" || c.Tags[0].Digest != long || c.Tags[1].Digest != i || c.Tags[1].Moved.Before(before) {
		t.Errorf("the tags are %v", c.Tags)
	}
}

// TestTimeOfUntagged: what loses a tag, in whichever way, counts from then on.
func TestTimeOfUntagged(t *testing.T) {
	for name, lose := range map[string]func(w *world) error{
		"re-tag": func(w *world) error {
			return w.Put(repository, storage.Intent{Put: w.unikernel("b"), Tags: []string{"v1"}})
		},
		"untag": func(w *world) error { return w.Untag(t.Context(), repository, "v1") },
		"prune": func(w *world) error {
			return w.Prune(t.Context(), repository, func(catalog.Contents) ([]string, []digest.Digest) { return []string{"v1"}, nil })
		},
	} {
		w := newWorld(t)
		a := w.unikernel("a")
		w.must(w.Put(repository, storage.Intent{Put: a, As: digest.SHA512.FromString("a"), Tags: []string{"v1"}}))
		before := time.Now()
		w.must(lose(w))
		if at := w.pushed(a); !at.After(before) {
			t.Errorf("after %s it counts from %v, before %v", name, at, before)
		}
	}
}

// TestPrune removes what is chosen with its other digests, and nothing if nothing
// is.
func TestPrune(t *testing.T) {
	w := newWorld(t)
	a, b := w.unikernel("a"), w.unikernel("b")
	w.must(w.Put(repository, storage.Intent{Put: a, As: digest.SHA512.FromString("a"), Tags: []string{"v1", "v2"}}))
	w.put(b, "v3")
	choose := func(untag []string, remove ...digest.Digest) {
		t.Helper()
		w.must(w.Prune(t.Context(), repository, func(c catalog.Contents) ([]string, []digest.Digest) {
			if len(c.Tags) < len(untag) {
				t.Errorf("it chooses from %v", c)
			}
			return untag, remove
		}))
	}
	w.Index.FailAll("Prepare", "Publish")
	choose(nil)
	w.Index.Fail(nil)
	choose([]string{"v1"})
	w.want("a tag goes", a.String()+":v2", b.String()+":v3")
	choose([]string{"v2"}, a)
	w.want("an image goes", b.String()+":v3")
	if manifests, aliases, err := w.Store.Repository(repository).Manifests(t.Context()); err != nil || !slices.Equal(manifests, []digest.Digest{b}) || len(aliases) != 0 {
		t.Errorf("stored are %v, %v, %v", manifests, aliases, err)
	}
	w.wantAsRebuilt("at the end")
}

// TestImmutable: an immutable tag takes its first digest, and the same again.
func TestImmutable(t *testing.T) {
	w := newWorld(t)
	w.SetImmutable(func(name, tag string) bool { return name == repository && tag == "v1" })
	a, b := w.unikernel("a"), w.unikernel("b")
	w.must(w.Put(repository, storage.Intent{Put: a, As: digest.SHA512.FromString("a"), Tags: []string{"v1"}}))
	w.put(a, "v1") // the same, by its canonical digest
	for _, tags := range [][]string{{"v1"}, {"v2", "v1"}} {
		if err := w.Put(repository, storage.Intent{Put: b, Tags: tags}); err == nil || storage.CodeOf(err) != storage.Immutable {
			t.Errorf("a push over %v: %v", tags, err)
		}
	}
	w.want("refused", a.String()+":v1")
	w.must(w.Put("another/app", storage.Intent{Put: a, Tags: []string{"v1"}}))
	w.must(w.Put("another/app", storage.Intent{Put: b, Tags: []string{"v1"}}))
}
