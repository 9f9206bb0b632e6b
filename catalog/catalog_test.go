package catalog_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory" // for indextest
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/bolt"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/catalog/index/indextest"
	"github.com/berth-oci/berth/storage"
)

const repository = "alice/app"

// world is a catalog over real storage and a real index, with one repository.
type world struct {
	*indextest.World
	t *testing.T
}

func newIndex(t *testing.T) *bolt.Index {
	t.Helper()
	x, err := bolt.Build(filepath.Join(t.TempDir(), "catalog.db"), "a place", func(*bolt.Index) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.Close() })
	return x
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{indextest.NewWorld(t, newIndex(t)), t}
}

// unikernel makes an image with one ROM, distinct by its name, whose blobs are
// there without the catalog having been told.
func (w *world) unikernel(name string) digest.Digest {
	w.LinkUntold(repository, indextest.Config(name))
	w.LinkUntold(repository, indextest.ROM(name))
	return w.Unikernel(name)
}

func (w *world) put(d digest.Digest, tags ...string) {
	w.t.Helper()
	if err := w.Put(repository, storage.Intent{Put: d, Tags: tags}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// settled waits until the background has completed what was cut in two.
func (w *world) settled() {
	w.t.Helper()
	eventually(w.t, "it is not settled", func() bool {
		if w.Settled(context.Background()) != nil {
			return false
		}
		// Nothing is, or somebody is at it.
		l, err := w.Index.Index.Acquire(context.Background(), repository)
		w.must(err)
		w.must(w.Index.Index.Release(context.Background(), l))
		return l.Left == nil
	})
}

// eventually waits for something that a slow machine does later.
func eventually(t *testing.T, otherwise string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(otherwise)
		}
	}
}

// want compares what is listed, as digest:tags.
func (w *world) want(what string, entries ...string) {
	w.t.Helper()
	slices.Sort(entries)
	var got []string
	for _, e := range indextest.Listed(w.t, w) {
		_, e, _ = strings.Cut(e, "@")
		e, _, _ = strings.Cut(e, " ")
		got = append(got, e)
	}
	if !slices.Equal(got, entries) {
		w.t.Errorf("%s: listed are\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(entries, "\n"))
	}
}

func TestChildrenAndIndexes(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	a, b := w.unikernel("a"), w.unikernel("b")
	w.put(a, "v1")
	w.want("child first, on the tag", a.String()+":v1")
	i := w.IndexOf(a, b)
	w.put(i, "v1")
	w.want("index with one child stored", i.String()+":v1")
	e, err := w.Tagged(ctx, repository, "v1")
	if err != nil || len(e.Image.Platforms) != 2 || e.Image.Platforms[1].Size != 0 {
		t.Fatalf("%+v, %v", e, err)
	}
	w.put(b)
	if e, err = w.Tagged(ctx, repository, "v1"); err != nil || e.Image.Platforms[1].Size == 0 {
		t.Errorf("the index is not described again when its child comes: %+v, %v", e, err)
	}
	w.want("index with both", i.String()+":v1")
	if _, err := w.Entry(ctx, repository, b); err != nil {
		t.Errorf("a child is found by its digest: %v", err)
	}
	w.put(b, "mine")
	w.want("child with a tag of its own", i.String()+":v1", b.String()+":mine")
	j := w.IndexOf(i, a)
	w.put(j, "nested")
	w.want("index below an index", i.String()+":v1", b.String()+":mine", j.String()+":nested")

	w.must(w.Delete(ctx, repository, i))
	w.want("deleted: the outer index stays, a is held by it", j.String()+":nested", b.String()+":mine")
	w.must(w.Delete(ctx, repository, j))
	w.want("deleted: a goes with it, b has a tag", b.String()+":mine")
	if _, err := w.Entry(ctx, repository, a); !errors.Is(err, index.ErrNotFound) {
		t.Errorf("a is still there: %v", err)
	}
	if _, _, err := w.Store.Repository(repository).Manifest(ctx, a); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("a is still in storage: %v", err)
	}
	w.must(w.Untag(ctx, repository, "mine"))
	w.want("untagged", b.String())
}

func TestBlobOfStoredManifest(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	w.put(w.Unikernel("a"), "v1") // its layers are missing
	size := func() int64 {
		e, err := w.Tagged(ctx, repository, "v1")
		if errors.Is(err, storage.ErrNotFound) {
			return -1
		}
		if err != nil {
			t.Fatal(err)
		}
		return e.Image.Size
	}
	rom := digest.FromBytes(indextest.ROM("a"))
	w.must(w.Upload(repository, indextest.ROM("a")))
	if size() != 8 {
		t.Fatalf("after the blob came: size %d", size())
	}
	w.must(w.Unlink(ctx, repository, rom))
	if size() != 0 {
		t.Fatalf("after the blob went: size %d", size())
	}
	w.must(w.Upload(repository, indextest.ROM("a")))
	if size() != 8 {
		t.Fatalf("after the blob came back: size %d", size())
	}
}

// TestManyParents: what changes hundreds of indexes is published in several
// transactions, and all of it is there when it is answered.
func TestManyParents(t *testing.T) {
	x, err := bolt.Build(filepath.Join(t.TempDir(), "catalog.db"), "a place", func(*bolt.Index) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	var transactions atomic.Int32
	x.Observe(func(operation string, _ time.Duration, _ error) {
		if operation == "publish" || operation == "work_off" {
			transactions.Add(1)
		}
	})
	t.Cleanup(func() { _ = x.Close() })
	w := &world{indextest.NewWorld(t, x), t}
	child := w.unikernel("child")
	const parents = 600
	for i := range parents {
		p := w.Manifest(map[string]any{
			"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
			"manifests":   []map[string]any{{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": child}},
			"annotations": map[string]string{"n": string(rune('a'+i%26)) + strings.Repeat("x", i/26)},
		})
		w.put(p)
	}
	transactions.Store(0)
	w.put(child)
	if n := transactions.Load(); n < 3 {
		t.Errorf("%d indexes are described again in %d transactions", parents, n)
	}
	list := indextest.Listed(t, w)
	if len(list) != parents {
		t.Fatalf("%d of %d images are listed", len(list), parents)
	}
	for _, e := range list {
		if !strings.HasSuffix(e, " 12") {
			t.Fatalf("%s is not described again", e)
		}
	}
}

// TestIndexFails checks that a change which cannot be published is reported, that
// answers stay what they were, and that it is completed without another request.
func TestIndexFails(t *testing.T) {
	for _, broken := range []string{"Prepare", "Publish"} {
		w := newWorld(t)
		a, b := w.unikernel("a"), w.unikernel("b")
		w.put(a, "v1")
		w.Index.FailAll(broken)
		if err := w.Put(repository, storage.Intent{Put: b, Tags: []string{"v1"}}); !errors.Is(err, indextest.ErrInjected) {
			t.Fatalf("%s: the failure is not reported: %v", broken, err)
		}
		w.want("while the index is broken", a.String()+":v1")
		w.Index.Fail(nil)
		w.settled()
		if broken == "Prepare" {
			w.want("nothing was touched", a.String()+":v1")
		} else {
			w.want("completed", a.String(), b.String()+":v1")
		}
	}
}

// TestReadInsideChange reads within an open change while another request's blob
// could not be published: such a read must not wait for the repository that the
// change itself holds.
func TestReadInsideChange(t *testing.T) {
	w := newWorld(t)
	a := w.unikernel("a")
	w.put(a, "v1")
	tx, err := w.Begin(t.Context(), repository)
	w.must(err)
	defer tx.Close()
	w.Index.FailAll("Link")
	if err := w.Upload(repository, []byte("a blob that cannot be published")); !errors.Is(err, indextest.ErrInjected) {
		t.Fatal(err)
	}
	w.Index.Fail(nil)
	done := make(chan error, 1)
	go func() {
		_, err := tx.Resolve(context.Background(), "v1")
		_, err2 := w.Tagged(context.Background(), repository, "v1")
		done <- errors.Join(err, err2)
	}()
	select {
	case err := <-done:
		w.must(err)
	case <-time.After(30 * time.Second):
		t.Fatal("a read waits for the change that it belongs to")
	}
}

// TestBlobCompleted: a blob that is linked and could not be published is
// published without another request.
func TestBlobCompleted(t *testing.T) {
	w := newWorld(t)
	blob := []byte("a blob")
	w.Index.FailAll("Link")
	if err := w.Upload(repository, blob); !errors.Is(err, indextest.ErrInjected) {
		t.Fatal(err)
	}
	w.Index.Fail(nil)
	eventually(t, "the blob is not published", func() bool {
		_, err := w.MountSource(t.Context(), digest.FromBytes(blob), nil)
		return err == nil
	})
}

// TestRefusedDeletion: a deletion that was refused does not happen later,
// although what was prepared is durable: not in the same process, and not after
// the next start.
func TestRefusedDeletion(t *testing.T) {
	for _, restart := range []bool{false, true} {
		w := newWorld(t)
		a := w.unikernel("a")
		w.put(a, "v1")
		// Acquire works for the deletion itself, and not for the background.
		tries := 0
		w.Index.Fail(func(method string, _ int) (indextest.When, error) {
			if method == "Prepare" {
				return indextest.After, indextest.ErrInjected
			}
			if tries++; restart && method == "Acquire" && tries > 1 {
				return indextest.Before, indextest.ErrInjected
			}
			return indextest.Before, nil
		})
		if err := w.Delete(t.Context(), repository, a); !errors.Is(err, indextest.ErrInjected) {
			t.Fatalf("the failure is not reported: %v", err)
		}
		w.Index.Fail(nil)
		if restart {
			w.must(w.Restart())
		}
		w.settled()
		w.want("refused", a.String()+":v1")
		if _, _, err := w.Store.Repository(repository).Manifest(t.Context(), a); err != nil {
			t.Errorf("it is gone from storage: %v", err)
		}
	}
}

func TestOneOrder(t *testing.T) {
	w := newWorld(t)
	first, err := w.Begin(t.Context(), repository)
	w.must(err)
	if other, err := w.Begin(t.Context(), "bob/x"); err != nil {
		t.Fatal("another repository waits", err)
	} else {
		other.Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := w.Begin(ctx, repository); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("two changes at once: %v", err)
	}
	done := make(chan error)
	go func() {
		second, err := w.Begin(t.Context(), repository)
		if err == nil {
			second.Close()
		}
		done <- err
	}()
	first.Close()
	w.must(<-done)
}
