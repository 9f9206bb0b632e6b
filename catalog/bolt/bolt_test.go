package bolt

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory" // for indextest
	"github.com/opencontainers/go-digest"
	bbolt "go.etcd.io/bbolt"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/catalog/index/indextest"
	"github.com/berth-oci/berth/storage"
)

const place1 = "filesystem rootdirectory=/a"

func build(t testing.TB, fill func(*Index) error) *Index {
	t.Helper()
	x, err := Build(filepath.Join(t.TempDir(), "catalog.db"), place1, fill)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.Close() })
	return x
}

func empty(*Index) error { return nil }

func dgst(s string) digest.Digest { return digest.FromString(s) }

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "catalog.db")
	if _, err := Open(path, place1); !errors.Is(err, ErrNoIndex) {
		t.Fatalf("no file: %v", err)
	}
	boom := errors.New("boom")
	if _, err := Build(path, place1, func(*Index) error { return boom }); !errors.Is(err, boom) {
		t.Fatalf("failed build: %v", err)
	}
	if _, err := Open(path, place1); !errors.Is(err, ErrNoIndex) {
		t.Fatalf("a failed build left an index: %v", err)
	}
	if err := os.Remove(path + ".new"); err != nil {
		t.Fatalf("what it has done is not kept: %v", err)
	}
	x, err := Build(path, place1, empty)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, place1); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Fatalf("second open: %v", err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	if err := x.MarkDirty(t.Context(), "a/b"); !errors.Is(err, errClosed) {
		t.Fatalf("write after close: %v", err)
	}
	if _, err := Open(path, "s3 bucket=other"); !errors.Is(err, ErrNoIndex) {
		t.Fatalf("index of another storage: %v", err)
	}
	for version, want := range map[string]string{"6": "newer berth", "10": "newer berth", "0": ErrNoIndex.Error(), "2": ErrNoIndex.Error(), "4": ErrNoIndex.Error()} {
		setSchema(t, path, version)
		if _, err := Open(path, place1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("schema %s: %v, want %q", version, err, want)
		}
	}
}

func setSchema(t *testing.T, path, version string) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(tableNamesInFile[tableMeta]).Put(keySchema, []byte(version))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestSuite runs what every index passes.
func TestSuite(t *testing.T) {
	indextest.Run(t, indextest.Options{
		Open: func(t testing.TB) index.Index {
			// Unsynced: thousands of them, and none is to survive anything.
			x, err := open(filepath.Join(t.TempDir(), "catalog.db"), true)
			if err == nil {
				err = errors.Join(x.prepare(place1), x.beginFeed())
			}
			if err != nil {
				t.Fatal(err)
			}
			return x
		},
		Dump: dump,
		SetIdle: func(x index.Index, coalesce time.Duration, now func() index.Uptime) {
			x.(*Index).SetIdle(coalesce, now)
		},
	})
}

// TestAbandonedByAnotherProcess: what a process left when it ended is found by
// the next one.
func TestAbandonedByAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	x, err := Build(path, place1, empty)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	l, err := x.Acquire(ctx, "a/b")
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		x.Prepare(ctx, l, storage.Intent{Put: dgst("m"), Tags: []string{"t"}}),
		x.MarkDirty(ctx, "c/d"), x.Close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if x, err = Open(path, place1); err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	var found []storage.Intent
	for intent, err := range x.Abandoned(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, intent)
	}
	if len(found) != 2 || found[0].Put != dgst("m") || found[1].Repository != "c/d" || !found[1].Reread {
		t.Fatalf("abandoned: %+v", found)
	}
	next, err := x.Acquire(ctx, "a/b")
	if err != nil || next.Left == nil || next.Left.Fence != l.Fence || next.Fence <= l.Fence {
		t.Fatalf("lease %+v after %+v, %v", next, l, err)
	}
	if err := x.ClearDirty(ctx, "c/d"); err != nil {
		t.Fatal(err)
	}
}

// TestGroup checks that updates which share a transaction do not share errors.
func TestGroup(t *testing.T) {
	x := build(t, empty)
	boom := errors.New("boom")
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			err := x.update("test", func(s *session) error {
				if i%7 == 0 {
					return boom
				}
				return s.at(tableDirty).Put(fmt.Append(nil, i), nil)
			})
			if failed := errors.Is(err, boom); failed != (i%7 == 0) || !failed && err != nil {
				t.Errorf("update %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	got, err := x.abandoned(t.Context())
	if err != nil || len(got) != 85 {
		t.Fatalf("%d of 85 updates are there, %v", len(got), err)
	}
}

// TestRememberNeedsNoTransaction: what was found in a layer is written with the
// next update, and with it alone.
func TestRememberNeedsNoTransaction(t *testing.T) {
	x := build(t, empty)
	transactions := func() (n int) {
		_ = x.w.db.View(func(tx *bbolt.Tx) error { n = tx.ID(); return nil })
		return n
	}
	before := transactions()
	layer := dgst("layer")
	x.Remember(layer, image.PartKernel)
	time.Sleep(20 * time.Millisecond) // in which there would be one
	publishIn(t, x, "alice/app", index.Update{Link: map[digest.Digest]int64{layer: 1}})
	if n := transactions() - before; n != 1 {
		t.Errorf("%d transactions were made, want 1", n)
	}
	if parts, found := x.Recall(layer); !found || parts != image.PartKernel {
		t.Errorf("recalled is %v, %v", parts, found)
	}
}
