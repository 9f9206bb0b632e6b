package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"sync"
	"testing"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
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

// leave leaves a blob in storage as a process does that died before the index
// knew of it.
func (w *world) leave(content string) digest.Digest {
	w.t.Helper()
	d := digest.FromString(content)
	_, err := w.Store.NoteLink(context.Background(), repository, d)
	w.must(err)
	return w.LinkUntold(repository, []byte(content)).Digest
}

func (w *world) linked(d digest.Digest) bool {
	w.t.Helper()
	_, found, err := w.Index.Linked(context.Background(), repository, d)
	w.must(err)
	return found
}

// TestLinkAfterCrash: a link that came, and one that went, while a process died are
// read from storage after the next start, by the background and before the next
// change.
func TestLinkAfterCrash(t *testing.T) {
	for _, next := range []string{"background", "change"} {
		w := newWorld(t)
		came := w.leave("came")
		gone := digest.FromString("gone")
		w.must(w.Index.Link(t.Context(), repository, map[digest.Digest]int64{gone: 4}, "", nil))
		_, err := w.Store.NoteLink(t.Context(), repository, gone)
		w.must(err)
		w.must(w.Crash())
		if next == "change" {
			if err := w.Untag(t.Context(), repository, "none"); !errors.Is(err, storage.ErrNotFound) {
				t.Fatal(err)
			}
		} else {
			eventually(t, "the links are not read again", func() bool { return w.linked(came) && !w.linked(gone) })
		}
		if !w.linked(came) || w.linked(gone) {
			t.Errorf("%s: came is linked: %v, gone: %v", next, w.linked(came), w.linked(gone))
		}
		w.must(w.Restart())
		left, err := w.Store.LeftNotes(t.Context())
		w.must(err)
		if len(left) != 0 {
			t.Errorf("%s: %d notes are left", next, len(left))
		}
	}
}

// TestAliasAfterCrash: a blob that came by another digest has two links. Where they
// are not made at once, one that the crash left by itself is found too.
func TestAliasAfterCrash(t *testing.T) {
	for _, both := range []bool{false, true} {
		w := newWorld(t)
		content := []byte("a blob")
		other := digest.SHA512.FromBytes(content)
		_, err := w.Store.NoteLink(t.Context(), repository, other)
		w.must(err)
		canonical := w.LinkUntold(repository, content).Digest
		if both {
			w.must(w.Store.LinkBlob(t.Context(), repository, other, canonical))
		}
		w.must(w.Crash())
		eventually(t, "the blob is not found", func() bool { return w.linked(canonical) && w.linked(other) == both })
	}
}

// TestLinkIsNoted: storage is not touched without a note, and the note stays until
// the index knows.
func TestLinkIsNoted(t *testing.T) {
	w := newWorld(t)
	named := digest.FromString("a blob")
	w.Index.FailAll("Link", "Publish")
	err := w.Link(t.Context(), repository, named, "", func(context.Context) (digest.Digest, error) {
		other, err := storage.Open(t.Context(), storage.OpenedDriver, map[string]any{"driver": w.Store.Driver()})
		w.must(err)
		left, err := other.LeftNotes(t.Context())
		w.must(err)
		if len(left) != 1 || left[0].Repository != repository || left[0].Digest != named {
			t.Errorf("noted is %+v", left)
		}
		return w.LinkUntold(repository, []byte("a blob")).Digest, nil
	})
	if !errors.Is(err, indextest.ErrInjected) {
		t.Fatalf("the failure is not reported: %v", err)
	}
	w.must(w.Crash())
	if w.linked(named) {
		t.Error("it is linked although the index fails")
	}
	w.Index.Fail(nil)
	eventually(t, "the blob is not found", func() bool { return w.linked(named) })
	if err := w.Link(t.Context(), repository, named, "", func(context.Context) (digest.Digest, error) { return "", nil }); err != nil {
		t.Error(err)
	}
}

// TestLinkWrittenLate: a link of which the index says only later that it could not
// be written is looked at again, and its note stays until then.
func TestLinkWrittenLate(t *testing.T) {
	w := newWorld(t)
	w.Index.Fail(func(method string, _ int) (indextest.When, error) {
		if method == "Link" {
			return indextest.Late, indextest.ErrInjected
		}
		return indextest.Before, nil
	})
	content := []byte("a blob")
	named := digest.FromBytes(content)
	err := w.Link(t.Context(), repository, named, "", func(context.Context) (digest.Digest, error) {
		return w.LinkUntold(repository, content).Digest, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the blob is not found", func() bool { return w.linked(named) })
	w.must(w.Restart())
	w.wantNoNotes()
}

// TestCrashReadsWhatWasInFlight counts the calls of storage after a crash: they
// are those that what was in flight takes, however much the repository holds.
func TestCrashReadsWhatWasInFlight(t *testing.T) {
	var counts []map[string]int
	for _, images := range []int{3, 60} {
		w := newWorld(t)
		for i := range images {
			w.put(w.unikernel(fmt.Sprint("image", i)), fmt.Sprint("v", i))
		}
		// A blob, and a manifest with a tag, that storage got and the index did not.
		blob, came := w.leave("came"), w.unikernel("came with its blobs")
		l, err := w.Index.Acquire(t.Context(), repository)
		w.must(err)
		w.must(w.Index.Prepare(t.Context(), l, storage.Intent{Put: came, Tags: []string{"latest"}}))
		w.must(w.Index.Release(t.Context(), l))
		w.Arrive(repository, came)

		counted := &countedDriver{StorageDriver: w.Store.Driver(), calls: make(map[string]int)}
		w.Store, err = storage.Open(t.Context(), storage.OpenedDriver, map[string]any{"driver": counted})
		w.must(err)
		w.must(w.Crash())
		eventually(t, "what was in flight is not completed", func() bool {
			d, err := w.Resolve(t.Context(), repository, "latest")
			return err == nil && d == came && w.linked(blob)
		})
		w.must(w.Restart()) // the background is done
		counts = append(counts, counted.calls)
	}
	if !maps.Equal(counts[0], counts[1]) || counts[0]["GetContent"] == 0 {
		t.Errorf("a start after a crash calls storage so: %v, and with twenty times as many images: %v", counts[0], counts[1])
	}
}

// countedDriver counts its calls.
type countedDriver struct {
	storagedriver.StorageDriver
	mu    sync.Mutex
	calls map[string]int // guarded by mu
}

func (c *countedDriver) count(call string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[call]++
}

func (c *countedDriver) GetContent(ctx context.Context, path string) ([]byte, error) {
	c.count("GetContent")
	return c.StorageDriver.GetContent(ctx, path)
}

func (c *countedDriver) Reader(ctx context.Context, path string, offset int64) (io.ReadCloser, error) {
	c.count("Reader")
	return c.StorageDriver.Reader(ctx, path, offset)
}

func (c *countedDriver) Stat(ctx context.Context, path string) (storagedriver.FileInfo, error) {
	c.count("Stat")
	return c.StorageDriver.Stat(ctx, path)
}

func (c *countedDriver) List(ctx context.Context, path string) ([]string, error) {
	c.count("List")
	return c.StorageDriver.List(ctx, path)
}

// Walk walks by the calls above.
func (c *countedDriver) Walk(ctx context.Context, path string, fn storagedriver.WalkFn, options ...func(*storagedriver.WalkOptions)) error {
	return storagedriver.WalkFallback(ctx, c, path, fn, options...)
}

// TestRereadAfterCrash: a repository that was being taken off the index, to be read
// anew, when a process died, is read whole after the next start.
func TestRereadAfterCrash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	x, err := bolt.Build(path, "a place", func(x *bolt.Index) error { return x.MarkDirty(t.Context(), repository) })
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
	eventually(t, "the note is not removed", func() bool {
		for range x.Abandoned(context.Background()) {
			return false
		}
		return true
	})
	w.must(w.Catalog.Close())
	w.must(x.Close())
	x, err = bolt.Open(path, "a place")
	w.must(err)
	defer x.Close()
	for left, err := range x.Abandoned(t.Context()) {
		t.Errorf("the note stays: %+v, %v", left, err)
	}
}

// TestRemakeFails: a repository that could not be read anew is read as soon as that
// can be.
func TestRemakeFails(t *testing.T) {
	w := newWorld(t)
	d := w.unikernel("a")
	w.put(d, "v1")
	w.Index.Fail(func(method string, n int) (indextest.When, error) {
		if method == "Publish" && n > 2 {
			return indextest.Before, indextest.ErrInjected
		}
		return indextest.Before, nil
	})
	if err := w.Remake(t.Context(), repository); !errors.Is(err, indextest.ErrInjected) {
		t.Fatalf("the failure is not reported: %v", err)
	}
	w.Index.Fail(nil)
	eventually(t, "the repository is not read again", func() bool {
		found, err := w.Resolve(context.Background(), repository, "v1")
		return err == nil && found == d
	})
}
