package catalog_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/bolt"
	"github.com/berth-oci/berth/catalog/index/indextest"
	"github.com/berth-oci/berth/storage"
)

// TestShownIsStored: at whatever point a deletion stops, what is shown can be
// pulled.
func TestShownIsStored(t *testing.T) {
	for stop := 1; stop <= 3; stop++ {
		w := newWorld(t)
		child := w.unikernel("child")
		parent := w.IndexOf(child)
		w.put(child)
		w.put(parent, "v1")
		// From then on nothing is published, so that the background cannot mend it.
		w.Index.Fail(func(method string, n int) (indextest.When, error) {
			if method == "Publish" && n >= stop {
				return indextest.Before, indextest.ErrInjected
			}
			return indextest.Before, nil
		})
		err := w.Delete(t.Context(), repository, parent)
		if failed := errors.Is(err, indextest.ErrInjected); failed != (stop < 3) {
			t.Fatalf("publication %d fails: %v", stop, err)
		}
		for _, d := range []digest.Digest{parent, child} {
			_, shown := w.Canonical(t.Context(), repository, d)
			_, _, stored := w.Store.Repository(repository).Manifest(t.Context(), d)
			if shown == nil && stored != nil {
				t.Errorf("publication %d fails, and %s is shown: %v", stop, d, stored)
			}
		}
		w.Index.Fail(nil)
		w.settled()
		w.want("completed")
	}
}

// dirtyWorld is a world whose index an earlier process has left with a note that
// blobs of the repository are changing.
func dirtyWorld(t *testing.T, path string) *world {
	t.Helper()
	x, err := bolt.Build(path, "a place", func(x *bolt.Index) error { return x.MarkDirty(t.Context(), repository, false) })
	if err != nil {
		t.Fatal(err)
	}
	return &world{indextest.NewWorld(t, x), t}
}

// TestDirtyAfterCrash: links that came and went while a process died are read
// from storage after the next start, by the background and before the next
// change.
func TestDirtyAfterCrash(t *testing.T) {
	for _, next := range []string{"background", "change"} {
		w := dirtyWorld(t, filepath.Join(t.TempDir(), "catalog.db"))
		came := w.LinkUntold(repository, []byte("came")).Digest
		gone := digest.FromString("gone")
		w.must(w.Index.Link(t.Context(), repository, map[digest.Digest]int64{gone: 4}, ""))
		w.must(w.Recover(t.Context()))
		if next == "change" {
			if err := w.Untag(t.Context(), repository, "none"); !errors.Is(err, storage.ErrNotFound) {
				t.Fatal(err)
			}
		}
		linked := func(d digest.Digest) bool {
			_, found, err := w.Index.Linked(context.Background(), repository, d)
			w.must(err)
			return found
		}
		if next == "background" {
			eventually(t, "the repository is not read again", func() bool { return linked(came) })
		}
		if !linked(came) || linked(gone) {
			t.Errorf("%s: came is linked: %v, gone: %v", next, linked(came), linked(gone))
		}
	}
}

// TestRereadAfterCrash: a repository that was being taken off the index, to be read
// anew, when a process died, is read whole after the next start.
func TestRereadAfterCrash(t *testing.T) {
	x, err := bolt.Build(filepath.Join(t.TempDir(), "catalog.db"), "a place", func(x *bolt.Index) error {
		return errors.Join(x.MarkDirty(t.Context(), repository, true), x.MarkDirty(t.Context(), repository, false))
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{indextest.NewWorld(t, x), t}
	d := w.unikernel("a")
	w.Arrive(repository, d)
	w.must(w.Recover(t.Context()))
	eventually(t, "the repository is not read again", func() bool {
		_, err := w.Entry(context.Background(), repository, d)
		return err == nil
	})
	w.must(w.Catalog.Close())
	w.must(x.Close())
}

// TestDirtyStays: the note of an earlier process stays until the repository has
// been read again, also if this one has changed blobs there and come to rest.
func TestDirtyStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	w := dirtyWorld(t, path)
	w.Index.FailAll("State")
	w.must(w.Recover(t.Context()))
	w.must(w.Upload(repository, []byte("a blob")))
	w.must(w.Catalog.Close())
	w.must(w.Index.Index.Close())
	x, err := bolt.Open(path, "a place")
	w.must(err)
	w.Index.Index = x
	w.Index.Fail(nil)
	found := 0
	for intent, err := range x.Abandoned(t.Context()) {
		w.must(err)
		if intent.Repository == repository {
			found++
		}
	}
	if found != 1 {
		t.Errorf("the note is there %d times", found)
	}
	w.must(w.Restart())
	w.must(w.Catalog.Close()) // while there is an index to write to
	t.Cleanup(func() { _ = x.Close() })
}
