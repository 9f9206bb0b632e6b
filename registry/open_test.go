package registry

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"

	"github.com/berth-oci/berth/catalog"
	"github.com/berth-oci/berth/catalog/bolt"
	"github.com/berth-oci/berth/storage"
)

// watched is a registry that only watches uploads, with a catalog and a storage
// of its own.
func watched(t *testing.T) *Registry {
	t.Helper()
	store, err := storage.Open(t.Context(), "inmemory", nil)
	if err != nil {
		t.Fatal(err)
	}
	index, err := bolt.Build(filepath.Join(t.TempDir(), "catalog.db"), "here", func(*bolt.Index) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	c := catalog.New(index, store, slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		if err := errors.Join(c.Close(), index.Close(), store.Close()); err != nil {
			t.Error(err)
		}
	})
	r := &Registry{store: store, log: slog.New(slog.DiscardHandler), quotas: newQuotas(Options{Catalog: c})}
	r.quotas.limit = func(string) int64 { return 1 << 20 }
	return r
}

// TestUploadsThatWereRemoved: what is open at the start counts, and goes on
// counting, until it is removed by somebody who tells nobody.
func TestUploadsThatWereRemoved(t *testing.T) {
	r, ctx := watched(t), t.Context()
	const purged, kept, written = "10000000-0000-0000-0000-000000000001", "10000000-0000-0000-0000-000000000002", "10000000-0000-0000-0000-000000000003"
	folder := func(id string) string { return "/docker/registry/v2/repositories/alice/app/_uploads/" + id }
	for _, id := range []string{purged, kept, written} {
		for name, size := range map[string]int{"/startedat": 20, "/data": 10000} {
			if err := r.store.Driver().PutContent(ctx, folder(id)+name, make([]byte, size)); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := func(step string, reserved, uploads int64) {
		t.Helper()
		u, err := r.quotas.catalog.Usage(ctx, "alice")
		if err != nil || u.Reserved != reserved || u.Reservations != uploads || r.OpenUploads() != int(uploads) {
			t.Fatalf("%s: %+v, %d open, %v; want %d bytes of %d", step, u, r.OpenUploads(), err, reserved, uploads)
		}
	}
	if err := r.store.Uploads(ctx, func(u storage.OpenUpload) error { return r.countUpload(ctx, u) }); err != nil {
		t.Fatal(err)
	}
	want("found at the start", 30000, 3)
	if err := r.quotas.receive(ctx, "alice/app", written, 10000, 5000); err != nil {
		t.Fatal(err)
	}
	if err := r.countUpload(ctx, storage.OpenUpload{Upload: storage.Upload{Repository: "alice/app", ID: written}, Bytes: 10000}); err != nil {
		t.Fatal(err)
	}
	want("one has come further", 35000, 3)

	release, free := r.takeUpload(route{kind: kindUpload, name: "alice/app", upload: written})
	if !free {
		t.Fatal("nobody writes to it, and it is taken")
	}
	for _, id := range []string{purged, written} {
		if err := r.store.Driver().Delete(ctx, folder(id)); err != nil {
			t.Fatal(err)
		}
	}
	r.sweepUploads(ctx, time.Now().Add(-time.Hour))
	want("none has rested", 35000, 3)
	r.sweepUploads(ctx, time.Now().Add(time.Hour))
	want("one was removed, and one is being written", 25000, 2)
	release()
	r.sweepUploads(ctx, time.Now().Add(time.Hour))
	want("that one too", 10000, 1)
	if err := r.quotas.ended(ctx, "alice/app", kept); err != nil {
		t.Fatal(err)
	}
	want("all have ended", 0, 0)
}

// TestAbandonedUploads: one that no client asked for goes, with what it received;
// not one that is being written, or was asked for.
func TestAbandonedUploads(t *testing.T) {
	r, ctx := watched(t), t.Context()
	const left, written, asked = "10000000-0000-0000-0000-000000000001", "10000000-0000-0000-0000-000000000002", "10000000-0000-0000-0000-000000000003"
	for _, id := range []string{left, written, asked} {
		for name, size := range map[string]int{"/startedat": 20, "/data": 10000} {
			path := "/docker/registry/v2/repositories/alice/app/_uploads/" + id + name
			if err := r.store.Driver().PutContent(ctx, path, make([]byte, size)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := r.store.Uploads(ctx, func(u storage.OpenUpload) error { return r.countUpload(ctx, u) }); err != nil {
		t.Fatal(err)
	}
	abandoned := func(idle time.Duration, dry bool, want int) {
		t.Helper()
		n, bytes, err := r.Abandoned(ctx, idle, dry)
		if err != nil || n != want || bytes != int64(10000*want) {
			t.Fatalf("%d with %d bytes, %v; want %d", n, bytes, err, want)
		}
	}
	abandoned(time.Hour, false, 0)
	r.quotas.open.mu.Lock()
	for u, p := range r.quotas.open.all {
		p.client = p.client.Add(-2 * time.Hour)
		r.quotas.open.all[u] = p
	}
	r.quotas.open.mu.Unlock()
	r.sweepUploads(ctx, time.Now().Add(time.Hour)) // that it is counted again is no client
	if err := r.quotas.resumed(ctx, "alice/app", asked, 10000); err != nil {
		t.Fatal(err)
	}
	release, free := r.takeUpload(route{kind: kindUpload, name: "alice/app", upload: written})
	if !free {
		t.Fatal("nobody writes to it, and it is taken")
	}
	abandoned(time.Hour, true, 1)
	abandoned(time.Hour, false, 1)
	release()
	abandoned(time.Hour, false, 1)
	abandoned(time.Hour, false, 0)
	if u, err := r.quotas.catalog.Usage(ctx, "alice"); err != nil || u.Reservations != 1 || r.OpenUploads() != 1 {
		t.Errorf("left are %+v, %d open, %v", u, r.OpenUploads(), err)
	}
	if _, err := r.store.Upload(ctx, storage.Upload{Repository: "alice/app", ID: left}); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("what it received is still there: %v", err)
	}
}

// TestUploadsThatBeginAtOnce: of those that begin at the same time, no more are
// let in than may be open.
func TestUploadsThatBeginAtOnce(t *testing.T) {
	r := watched(t)
	const most = 5
	r.quotas.uploads = most
	var wg sync.WaitGroup
	var let, refused atomic.Int64
	for i := range 3 * most {
		wg.Go(func() {
			var later *tooMany
			switch err := r.quotas.begin(t.Context(), "alice/app", fmt.Sprint(i)); {
			case err == nil:
				let.Add(1)
			case errors.As(err, &later):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if let.Load() != most || refused.Load() != 2*most || r.OpenUploads() != most {
		t.Errorf("%d were let in, %d refused, %d are open; want %d, %d and %d", let.Load(), refused.Load(), r.OpenUploads(), most, 2*most, most)
	}
}
