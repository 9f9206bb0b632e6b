package indextest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
)

func acquire(t testing.TB, x index.Index, repository string) index.Lease {
	t.Helper()
	l, err := x.Acquire(context.Background(), repository)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func release(t testing.TB, x index.Index, l index.Lease) {
	t.Helper()
	if err := x.Release(context.Background(), l); err != nil {
		t.Fatal(err)
	}
}

// testLeases: one owner at a time for each repository, and none that has given
// up its lease writes any more.
func testLeases(t *testing.T, o Options) {
	x, ctx := o.open(t), t.Context()
	first := acquire(t, x, "a/b")
	other := acquire(t, x, "c/d") // another repository does not wait
	release(t, x, other)

	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if _, err := x.Acquire(short, "a/b"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("two owners at once: %v", err)
	}
	got := make(chan index.Lease)
	go func() {
		l, err := x.Acquire(ctx, "a/b")
		if err != nil {
			t.Error(err)
		}
		got <- l
	}()
	release(t, x, first)
	second := <-got
	if second.Fence <= first.Fence {
		t.Errorf("fence %d after %d", second.Fence, first.Fence)
	}
	release(t, x, first) // an old lease frees nothing
	if err := x.Prepare(ctx, first, storage.Intent{Untag: []string{"t"}}); !errors.Is(err, index.ErrStaleLease) {
		t.Errorf("prepared under an old lease: %v", err)
	}
	stale := index.Update{Put: []image.Description{{Digest: dgst("m"), Image: imageAt(at(1))}}}
	if _, err := x.Publish(ctx, first, stale); !errors.Is(err, index.ErrStaleLease) {
		t.Errorf("published under an old lease: %v", err)
	}
	if all := readAll(t, x, index.Query{}, 9); len(all) != 0 {
		t.Errorf("what an old owner published is there: %v", all)
	}
	if _, err := x.Publish(ctx, second, stale); err != nil {
		t.Errorf("the owner cannot publish: %v", err)
	}
	release(t, x, second)
	if _, err := x.Publish(ctx, second, stale); !errors.Is(err, index.ErrStaleLease) {
		t.Errorf("published without a lease: %v", err)
	}
	testOneOwner(t, x)
}

// testOneOwner lets many want one repository at the same time.
func testOneOwner(t *testing.T, x index.Index) {
	t.Helper()
	var wg sync.WaitGroup
	owners := 0 // guarded by the lease
	for range 32 {
		wg.Go(func() {
			for range 20 {
				l := acquire(t, x, "busy/one")
				owners++
				if owners != 1 {
					t.Error("two owners at once")
				}
				owners--
				release(t, x, l)
			}
		})
	}
	wg.Wait()
}

func abandoned(t testing.TB, x index.Index) (found []storage.Intent) {
	t.Helper()
	for intent, err := range x.Abandoned(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, intent)
	}
	return found
}

// testPrepared: what was prepared is found by the next owner and among the
// abandoned, until it is done; not while its owner is there.
func testPrepared(t *testing.T, o Options) {
	x, ctx := o.open(t), t.Context()
	intent := storage.Intent{
		Repository: "a/b", Put: dgst("m"), As: digest.SHA512.FromString("m"), Tags: []string{"t"},
		Untag: []string{"u"}, Delete: []digest.Digest{dgst("d")}, Unlink: []digest.Digest{dgst("l")},
	}
	l := acquire(t, x, "a/b")
	if l.Left != nil {
		t.Fatalf("left: %+v", l.Left)
	}
	for _, prepared := range []storage.Intent{{Untag: []string{"first"}}, intent} { // the later one replaces the first
		if err := x.Prepare(ctx, l, prepared); err != nil {
			t.Fatal(err)
		}
	}
	if found := abandoned(t, x); len(found) != 0 {
		t.Errorf("abandoned by who is there: %+v", found)
	}
	if err := x.Link(ctx, "a/b", map[digest.Digest]int64{dgst("x"): 1}, "", nil); err != nil {
		t.Fatal(err) // what happens to blobs meanwhile does not end it
	}
	release(t, x, l)
	found := abandoned(t, x)
	if len(found) != 1 || found[0].Put != intent.Put || found[0].As != intent.As || !slices.Equal(found[0].Tags, intent.Tags) ||
		!slices.Equal(found[0].Untag, intent.Untag) || !slices.Equal(found[0].Delete, intent.Delete) || !slices.Equal(found[0].Unlink, intent.Unlink) {
		t.Fatalf("abandoned: %+v", found)
	}
	next := acquire(t, x, "a/b")
	if next.Left == nil || next.Left.Fence != l.Fence || next.Left.Put != intent.Put || next.Left.Repository != "a/b" {
		t.Fatalf("left: %+v", next.Left)
	}
	if _, err := x.Publish(ctx, next, index.Update{Untag: []string{"u"}}); err != nil {
		t.Fatal(err)
	}
	release(t, x, next)
	if found := abandoned(t, x); len(found) != 1 {
		t.Fatalf("an update that is not the last ends it: %+v", found)
	}
	publish(t, x, change{"a/b", index.Update{Done: true}})
	if found := abandoned(t, x); len(found) != 0 {
		t.Fatalf("abandoned after the end: %+v", found)
	}
	if l := acquire(t, x, "a/b"); l.Left != nil {
		t.Fatalf("left after the end: %+v", l.Left)
	} else {
		release(t, x, l)
	}
}

// testNothingAbandoned has changes be made from beginning to end by several at once:
// nobody ever finds one that is abandoned.
func testNothingAbandoned(t *testing.T, o Options) {
	x, ctx := o.open(t), t.Context()
	const repositories, rounds = 4, 40
	var owners sync.WaitGroup
	for i := range repositories {
		owners.Go(func() {
			for range rounds {
				l, err := x.Acquire(ctx, fmt.Sprint("a/", i))
				if err == nil {
					err = x.Prepare(ctx, l, storage.Intent{Untag: []string{"t"}})
				}
				if err == nil {
					_, err = x.Publish(ctx, l, index.Update{Done: true})
				}
				if err == nil {
					err = x.Release(ctx, l)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() {
		owners.Wait()
		close(done)
	}()
	for {
		if found := abandoned(t, x); len(found) > 0 {
			t.Errorf("abandoned: %+v", found)
		}
		select {
		case <-done:
			return
		default:
		}
	}
}

// testDirty: a note is this process's own, and not abandoned; what another has
// left is tried where there is another.
func testDirty(t *testing.T, o Options) {
	x, ctx := o.open(t), t.Context()
	for range 2 {
		if err := x.MarkDirty(ctx, "a/b"); err != nil {
			t.Fatal(err)
		}
	}
	if found := abandoned(t, x); len(found) != 0 {
		t.Fatalf("abandoned by who is there: %+v", found)
	}
	for _, name := range []string{"a/b", "never/marked"} {
		if err := x.ClearDirty(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	if found := abandoned(t, x); len(found) != 0 {
		t.Fatalf("abandoned: %+v", found)
	}
}

// testRevisions: they grow with every update, in the order in which updates
// become visible.
func testRevisions(t *testing.T, o Options) {
	x := o.open(t)
	var mu sync.Mutex
	seen := make(map[index.Revision]bool)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			var last index.Revision
			for j := range 20 {
				tag := map[string]digest.Digest{"t": dgst(string(rune('a' + j)))}
				revision, err := tryPublish(x, change{string(rune('a'+i)) + "/x", index.Update{Tag: tag}})
				if err != nil || revision.N <= last.N || revision.Start != x.Last().Start {
					t.Errorf("revision %v after %v, %v", revision, last, err)
				}
				last = revision
				mu.Lock()
				if seen[revision] {
					t.Errorf("revision %v twice", revision)
				}
				seen[revision] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// testLinks: a blob is linked by itself unless a manifest refers to it already,
// and nobody says of a linked blob that it is missing.
func testLinks(t *testing.T, o Options) {
	x, ctx := o.open(t), t.Context()
	early, late := dgst("early"), dgst("late")
	link := func(d digest.Digest) error { return x.Link(ctx, "a/b", map[digest.Digest]int64{d: 7}, "", nil) }
	if err := link(early); err != nil {
		t.Fatal(err)
	}
	manifest := func(earlySize, lateSize int64) change {
		return change{"a/b", index.Update{Put: []image.Description{{
			Digest: dgst("m"), Blobs: []image.Blob{{Digest: early, Size: earlySize}, {Digest: late, Size: lateSize}},
		}}}}
	}
	if _, err := tryPublish(x, manifest(0, 0)); !errors.Is(err, index.ErrLinked) {
		t.Fatalf("a linked blob is said to be missing: %v", err)
	}
	publish(t, x, manifest(7, 0))
	if err := link(late); !errors.Is(err, index.ErrReferenced) {
		t.Fatalf("a blob that a manifest misses is linked by itself: %v", err)
	}
	if _, found, err := x.Linked(ctx, "a/b", late); found || err != nil {
		t.Fatalf("it is linked all the same, %v", err)
	}
	both := manifest(7, 7)
	both.Link = map[digest.Digest]int64{late: 7}
	publish(t, x, both)
	if size, found, err := x.Linked(ctx, "a/b", late); size != 7 || !found || err != nil {
		t.Fatalf("linked: %d, %v, %v", size, found, err)
	}
	if u, err := x.Usage(ctx, "a"); err != nil || u.Bytes != 3*storage.MinCounted {
		t.Fatalf("usage: %+v, %v", u, err)
	}
	gone := manifest(7, 0)
	gone.Unlink = []digest.Digest{late}
	publish(t, x, gone)
	if u, err := x.Usage(ctx, "a"); err != nil || u.Bytes != 2*storage.MinCounted || u.Uncollected != storage.MinCounted {
		t.Fatalf("usage after a blob went: %+v, %v", u, err)
	}
}
