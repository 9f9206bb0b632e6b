package bolt

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	bbolt "go.etcd.io/bbolt"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// maxBytesPerChange is what a change of one image with one tag may take of the
// file, and its record of that.
const maxBytesPerChange = 300

// TestRecordBytes makes the largest record of the usual kind: an index with one
// manifest is pushed, under the longest names there are, and takes a tag from
// another image.
func TestRecordBytes(t *testing.T) {
	x := build(t, empty)
	repository := "n/" + strings.Repeat("a", 253)
	tag := strings.Repeat("t", 128)
	by := strings.Repeat("b", 40)
	at := time.Now()
	child := image.Description{Digest: dgst("child"), Image: &image.Image{Created: at, Kernel: true}}
	parent := image.Description{Digest: dgst("parent"), Children: []digest.Digest{child.Digest}, Members: []image.Member{{Digest: child.Digest}}}
	old := image.Description{Digest: dgst("old"), Image: &image.Image{Created: at, Kernel: true}}
	change := func(u index.Update) {
		t.Helper()
		u.By, u.At = by, at
		publishIn(t, x, repository, u)
	}
	change(index.Update{Put: []image.Description{old}, Tag: map[string]digest.Digest{tag: old.Digest}})
	change(index.Update{Put: []image.Description{child}})
	change(index.Update{Put: []image.Description{parent}, Tag: map[string]digest.Digest{tag: parent.Digest}})
	all, err := x.Changes(t.Context(), index.Revision{Start: x.Last().Start}, 9)
	must(t, err)
	last := all[len(all)-1]
	if len(last.Entries) != 3 || len(last.Tags) != 1 || last.Tags[0].Previous != old.Digest || last.By != by || last.Repository != repository {
		t.Fatalf("%+v", last)
	}
	longest := 0
	must(t, x.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(tableNamesInFile[tableChanges]).ForEach(func(_, v []byte) error {
			longest = max(longest, len(v))
			return nil
		})
	}))
	t.Logf("%d bytes", longest)
	if longest > maxBytesPerChange || longest < 100 {
		t.Errorf("a record of %d bytes", longest)
	}
}

// TestBytesPerChange moves tags thousands of times, which changes nothing else:
// what the file grows by is the feed.
func TestBytesPerChange(t *testing.T) {
	const images, n = 100, 5000
	x := build(t, func(x *Index) error { buildAll(t, x, 0, images); return nil })
	x.db.NoSync = true
	used := func() int64 {
		var size int64
		must(t, x.db.View(func(tx *bbolt.Tx) error {
			size = tx.Size() - int64(x.db.Stats().FreePageN*os.Getpagesize())
			return nil
		}))
		return size
	}
	move := func(i int) {
		s := sampleOf(i % images)
		d := s.index.Digest
		if i/images%2 == 1 {
			d = s.manifest.Digest
		}
		publishIn(t, x, s.repository, index.Update{Tag: map[string]digest.Digest{s.tag: d}, By: "some-account", At: time.Now()})
	}
	for i := range 2 * images { // what is kept with each tag is there from then on
		move(i)
	}
	before := used()
	for i := range n {
		move(i)
	}
	each := (used() - before) / n
	t.Logf("%d bytes for each change", each)
	if each > maxBytesPerChange || each < 50 {
		t.Errorf("%d bytes for each change, want at most %d", each, maxBytesPerChange)
	}
}

func publishIn(t testing.TB, x *Index, repository string, u index.Update) index.Revision {
	t.Helper()
	ctx := context.Background()
	l, err := x.Acquire(ctx, repository)
	if err != nil {
		t.Fatal(err)
	}
	r, err := x.Publish(ctx, l, u)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Release(ctx, l); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestGivenOutOnceDurable: a commit that readers see and that nobody knows to be
// synced yet is not given out. The next start gives it out.
func TestGivenOutOnceDurable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	x, err := Build(path, place1, empty)
	must(t, err)
	first := publishIn(t, x, "a/b", index.Update{Tag: map[string]digest.Digest{"t": dgst("1")}})
	// As Publish does it, and without what comes after the commit.
	must(t, x.w.do(func(tx *bbolt.Tx) error {
		r, err := (&session{tx: tx}).change("a/b")
		if err != nil {
			return err
		}
		return r.publish(index.Update{Tag: map[string]digest.Digest{"t": dgst("2")}})
	}))
	if d, err := x.Resolve(t.Context(), "a/b", "t"); err != nil || d != dgst("2") {
		t.Fatalf("the commit is not visible: %v, %v", d, err)
	}
	if changes, err := x.Changes(t.Context(), first, 9); err != nil || len(changes) != 0 || x.Last() != first {
		t.Errorf("given out: %v, %v", changes, err)
	}
	select {
	case <-x.Grown(first):
		t.Error("woken")
	default:
	}
	if changes, _, err := x.History(t.Context(), "a/b", index.Revision{}, 9); err != nil || len(changes) != 1 {
		t.Errorf("history: %v, %v", changes, err)
	}
	must(t, x.Close())
	x, err = Open(path, place1)
	must(t, err)
	defer x.Close()
	if changes, err := x.Changes(t.Context(), first, 9); err != nil || len(changes) != 1 {
		t.Errorf("after a start: %v, %v", changes, err)
	}
}

// TestStart: an index that is made has another start, one that is opened keeps it,
// and one of a berth that had no feed gets one.
func TestStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	seen := make(map[uint64]bool)
	for range 3 {
		x, err := Build(path, place1, func(x *Index) error { push(t, x, sampleOf(1)); return nil })
		must(t, err)
		r := x.Last()
		if r.Start == 0 || seen[r.Start] || r.N != 0 {
			t.Errorf("built: %v", r)
		}
		seen[r.Start] = true
		r = publishIn(t, x, "a/b", index.Update{Tag: map[string]digest.Digest{"t": dgst("1")}})
		must(t, x.Close())
		x, err = Open(path, place1)
		must(t, err)
		if x.Last() != r {
			t.Errorf("opened: %v, want %v", x.Last(), r)
		}
		must(t, x.Close())
	}
	db, err := bbolt.Open(path, 0o600, nil)
	must(t, err)
	must(t, db.Update(func(tx *bbolt.Tx) error {
		for _, tb := range []table{tableChanges, tableFormer} {
			if err := tx.DeleteBucket(tableNamesInFile[tb]); err != nil {
				return err
			}
		}
		return tx.Bucket(tableNamesInFile[tableMeta]).Delete(keyStart)
	}))
	must(t, db.Close())
	x, err := Open(path, place1)
	must(t, err)
	defer x.Close()
	r := x.Last()
	if r.Start == 0 || seen[r.Start] || r.N != 0 {
		t.Errorf("of a berth without a feed: %v", r)
	}
	if next := publishIn(t, x, "a/b", index.Update{Tag: map[string]digest.Digest{"t": dgst("2")}}); next.N != 1 || next.Start != r.Start {
		t.Errorf("its first change is %v", next)
	}
}

// TestNamesOfFormerRepositories: the name of a repository that is gone is kept as
// long as there are records of it, and no longer.
func TestNamesOfFormerRepositories(t *testing.T) {
	x := build(t, empty)
	former := func() (n int) {
		must(t, x.db.View(func(tx *bbolt.Tx) error {
			n = tx.Bucket(tableNamesInFile[tableFormer]).Stats().KeyN
			return nil
		}))
		return n
	}
	for i := range 10 {
		name := fmt.Sprint("gone/r", i)
		publishIn(t, x, name, index.Update{Put: []image.Description{{Digest: dgst("m")}}})
		publishIn(t, x, name, index.Update{Delete: []digest.Digest{dgst("m")}})
	}
	if n := former(); n != 10 {
		t.Errorf("%d names are kept, want 10", n)
	}
	for left := 9; left >= 0; left-- {
		_, err := x.Trim(t.Context(), int64(2*left), time.Time{}, 100)
		must(t, err)
		if n := former(); n != left {
			t.Errorf("%d names are kept, want %d", n, left)
		}
	}
}
