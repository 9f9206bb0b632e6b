package catalog_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog"
	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/catalog/index/indextest"
	"github.com/berth-oci/berth/storage"
)

// TestRecover cuts changes in two, as a crash would, at every place.
func TestRecover(t *testing.T) {
	type step func(w *world, a, i, child digest.Digest)
	prepare := func(w *world, intent storage.Intent) {
		intent.Repository = repository
		l, err := w.Index.Acquire(t.Context(), repository)
		w.must(err)
		w.must(w.Index.Prepare(t.Context(), l, intent))
		w.must(w.Index.Release(t.Context(), l))
	}
	for name, c := range map[string]struct {
		crash step
		want  func(a, i, child digest.Digest) []string
	}{
		"before the manifest came": {
			func(w *world, a, _, _ digest.Digest) {
				prepare(w, storage.Intent{Put: digest.FromString("never came"), Tags: []string{"v1"}})
			},
			func(a, i, _ digest.Digest) []string { return []string{a.String() + ":v1", i.String() + ":v2"} },
		},
		"between manifest and tag": {
			func(w *world, a, _, _ digest.Digest) {
				c := w.unikernel("c")
				prepare(w, storage.Intent{Put: c, Tags: []string{"v1"}})
				w.Arrive(repository, c)
			},
			func(a, i, _ digest.Digest) []string {
				return []string{a.String(), i.String() + ":v2", "c:v1"}
			},
		},
		"within a tag": {
			func(w *world, a, _, _ digest.Digest) {
				w.Write("repositories/"+repository+"/_manifests/tags/v9/index/sha256/"+a.Encoded()+"/link", []byte(a))
				prepare(w, storage.Intent{Put: a, Tags: []string{"v9"}})
			},
			func(a, i, _ digest.Digest) []string { return []string{a.String() + ":v1:v9", i.String() + ":v2"} },
		},
		"within a deletion": {
			func(w *world, _, i, child digest.Digest) {
				prepare(w, storage.Intent{Untag: []string{"v2"}, Delete: []digest.Digest{i, child}})
				w.must(w.Store.Complete(t.Context(), storage.Intent{Repository: repository, Untag: []string{"v2"}, Delete: []digest.Digest{i}}))
			},
			func(a, _, _ digest.Digest) []string { return []string{a.String() + ":v1"} },
		},
		"after the last step": {
			func(w *world, a, _, _ digest.Digest) {
				s := storage.Intent{Repository: repository, Untag: []string{"v1"}}
				prepare(w, s)
				w.must(w.Store.Complete(t.Context(), s))
			},
			func(a, i, _ digest.Digest) []string { return []string{a.String(), i.String() + ":v2"} },
		},
	} {
		w := newWorld(t)
		a, child := w.unikernel("a"), w.unikernel("child")
		i := w.IndexOf(child)
		w.put(a, "v1")
		w.put(child)
		w.put(i, "v2")
		c.crash(w, a, i, child)
		w.must(w.Restart())
		w.settled()
		want := c.want(a, i, child)
		for n := range want {
			if tag, ok := strings.CutPrefix(want[n], "c:"); ok {
				want[n] = w.unikernel("c").String() + ":" + tag
			}
		}
		w.want(name, want...)
		w.wantAsRebuilt(name)
	}
}

// wantAsRebuilt compares with an index that is made from storage.
func (w *world) wantAsRebuilt(what string) {
	w.t.Helper()
	rebuilt := newWorld(w.t)
	rebuilt.Store = w.Store
	w.must(rebuilt.Restart())
	w.must(rebuilt.Rebuild(w.t.Context(), func(catalog.Progress) {}))
	if got, want := indextest.Listed(w.t, w), indextest.Listed(w.t, rebuilt); !slices.Equal(got, want) {
		w.t.Errorf("%s: listed are\n%s\nand from storage\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestRebuildGoesOn builds over what an earlier Rebuild left: what storage has by
// now is there, and nothing else.
func TestRebuildGoesOn(t *testing.T) {
	w := newWorld(t)
	a, late := w.unikernel("a"), w.unikernel("late")
	w.put(a, "v1")
	w.Arrive(repository, late)
	l, err := w.Index.Acquire(t.Context(), "gone/app")
	w.must(err)
	_, err = w.Index.Publish(t.Context(), l, index.Update{
		Put: []image.Description{{Digest: a, Image: &image.Image{Kernel: true}}}, Tag: map[string]digest.Digest{"v1": a},
	})
	w.must(err)
	w.must(w.Index.Release(t.Context(), l))
	w.must(w.Rebuild(t.Context(), func(catalog.Progress) {}))
	w.want("built", a.String()+":v1", late.String())
	names, err := w.Repositories(t.Context(), nil, "", 9)
	w.must(err)
	if !slices.Equal(names, []string{repository}) {
		t.Errorf("the repositories are %q", names)
	}
}
