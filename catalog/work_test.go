package catalog_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/catalog/index/indextest"
	"github.com/berth-oci/berth/storage"
)

// What one write transaction of the index may do, in keys and in bytes, where it
// is about more than one manifest.
const (
	mostKeys  = 5000
	mostBytes = 1 << 20
)

// counting is an index that counts what the updates published to it make it do.
type counting struct {
	index.Index
	t *testing.T

	mu      sync.Mutex
	refs    map[digest.Digest]int // of each manifest that was published; guarded by mu, like what follows
	updates int
	keys    int // of all updates
}

// Publish implements index.Index.
func (c *counting) Publish(ctx context.Context, l index.Lease, u index.Update) (index.Revision, error) {
	c.mu.Lock()
	keys, size := len(u.Tag)+len(u.Untag)+len(u.Alias)+len(u.Unalias), 0
	for _, d := range u.Put {
		c.refs[d.Digest] = 10 + len(d.Children) + len(d.Blobs)
		keys += c.refs[d.Digest]
		body, err := json.Marshal(d)
		if err != nil {
			c.t.Error(err)
		}
		size += len(body)
	}
	for _, d := range u.Delete {
		keys += c.refs[d]
		delete(c.refs, d)
	}
	if (keys > mostKeys || size > mostBytes) && len(u.Put)+len(u.Delete) > 1 {
		c.t.Errorf("one update writes %d keys and %d bytes: it puts %d manifests and deletes %d", keys, size, len(u.Put), len(u.Delete))
	}
	c.updates++
	c.keys += keys
	c.mu.Unlock()
	return c.Index.Publish(ctx, l, u)
}

// since returns how many updates there were, and their keys, since it was asked
// last.
func (c *counting) since() (updates, keys int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() { c.updates, c.keys = 0, 0 }()
	return c.updates, c.keys
}

func newCountedWorld(t *testing.T) (*world, *counting) {
	w := newWorld(t)
	c := &counting{Index: w.Index.Index, t: t, refs: make(map[digest.Digest]int)}
	w.Index.Index = c
	return w, c
}

// absent are digests of manifests that are not there.
func absent(n int) []digest.Digest {
	all := make([]digest.Digest, n)
	for i := range all {
		all[i] = digest.Digest("sha256:" + fmt.Sprintf("%064x", i))
	}
	return all
}

// TestSharedChildWork pushes and deletes a child that many large indexes share:
// all of them show it, and none is written again, which everybody would wait for.
func TestSharedChildWork(t *testing.T) {
	const indexes, children = 24, 3000
	w, c := newCountedWorld(t)
	child := w.unikernel("shared")
	var all []digest.Digest
	for i := range indexes {
		all = append(all, w.IndexOf(append([]digest.Digest{child}, absent(children+i)...)...))
		w.put(all[i])
	}
	shown := func() (n int) {
		for _, d := range all {
			e, err := w.Entry(t.Context(), repository, d)
			if err == nil && e.Image.ROM && e.Image.Platforms[0].Digest == child {
				n++
			}
		}
		return n
	}
	if updates, keys := c.since(); keys < indexes*children || updates < indexes {
		t.Errorf("what is written is not counted: %d updates, %d keys", updates, keys)
	}
	w.put(child)
	if updates, keys := c.since(); keys > 100 || updates != 1 || shown() != indexes {
		t.Errorf("the child came with %d updates, %d keys, and %d indexes show it", updates, keys, shown())
	}
	w.must(w.Delete(t.Context(), repository, child))
	if updates, keys := c.since(); keys > 100 || updates > 2 || shown() != 0 {
		t.Errorf("the child went with %d updates, %d keys, and %d indexes show it", updates, keys, shown())
	}
}

// TestDeletionWork deletes an index with many manifests of its own: in steps,
// and whole, also if one of them fails.
func TestDeletionWork(t *testing.T) {
	const children = 400
	w, c := newCountedWorld(t)
	kept := w.unikernel("kept")
	w.put(kept, "kept")
	for _, failing := range []int{0, 3} {
		own := []digest.Digest{kept}
		for i := range children {
			own = append(own, w.unikernel(fmt.Sprint("own", i)))
		}
		for _, d := range own[1:] {
			w.put(d)
		}
		parent := w.IndexOf(own...)
		w.put(parent, "v1")
		c.since()
		if failing > 0 {
			w.Index.Fail(func(method string, n int) (indextest.When, error) {
				if method == "Publish" && n == failing {
					return indextest.Before, indextest.ErrInjected
				}
				return indextest.Before, nil
			})
		}
		err := w.Delete(t.Context(), repository, parent)
		if failed := errors.Is(err, indextest.ErrInjected); failed != (failing > 0) {
			t.Fatalf("publication %d fails: %v", failing, err)
		}
		w.Index.Fail(nil)
		if failing > 0 {
			w.settled()
		}
		if updates, keys := c.since(); updates < 4 || keys < 10*children {
			t.Errorf("%d updates of %d keys", updates, keys)
		}
		w.want("deleted", kept.String()+":kept")
		for _, d := range append(own[1:], parent) {
			if _, _, err := w.Store.Repository(repository).Manifest(t.Context(), d); !errors.Is(err, storage.ErrNotFound) {
				t.Fatalf("%s is still stored: %v", d, err)
			}
		}
	}
	w.must(w.Clear(t.Context(), repository))
	w.want("cleared")
}

// TestParents: no more indexes share a child than may, and one that is there
// can be pushed again.
func TestParents(t *testing.T) {
	const most = 1000
	w := newWorld(t)
	child, other := w.unikernel("child"), w.unikernel("other")
	w.put(child)
	var all []image.Description
	for _, d := range absent(most - 1) {
		all = append(all, image.Description{Digest: d, Children: []digest.Digest{child}})
	}
	l, err := w.Index.Acquire(t.Context(), repository)
	w.must(err)
	_, err = w.Index.Publish(t.Context(), l, index.Update{Put: all})
	w.must(err)
	w.must(w.Index.Release(t.Context(), l))

	push := func(d digest.Digest, tags ...string) error {
		body, _, err := w.Store.Repository(repository).Manifest(t.Context(), d)
		w.must(err)
		tx, err := w.Begin(t.Context(), repository)
		w.must(err)
		defer tx.Close()
		m := image.Manifest{Bytes: body, Parsed: image.Read(body)}
		return tx.Put(t.Context(), storage.Intent{Put: d, Tags: tags}, m, "", func(context.Context) error {
			w.Arrive(repository, d)
			return nil
		})
	}
	last := w.IndexOf(child)
	w.Arrive(repository, last) // so that it can be read
	w.must(push(last, "last"))
	more := w.IndexOf(other, child, other)
	w.Arrive(repository, more)
	err = push(more, "more")
	if storage.CodeOf(err) != storage.Invalid || !strings.Contains(err.Error(), "1000 indexes") {
		t.Errorf("one more: %v", err)
	}
	if _, err := w.Resolve(t.Context(), repository, "more"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("what was refused has its tag: %v", err)
	}
	w.must(push(last, "again"))
	w.must(w.Delete(t.Context(), repository, last))
	w.must(push(more, "more"))
}
