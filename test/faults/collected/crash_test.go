package collected

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/berth-oci/berth/catalog/bolt"
	"github.com/berth-oci/berth/catalog/fsck"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/test/harness"
)

var errCrash = errors.New("the process is gone")

// crashing lets the n-th write of a sweep be the last thing that the process does:
// it fails, and so does all that comes after it.
func (w *world) crashing(n int) (crashed func() bool) {
	var mu sync.Mutex
	writes := 0
	w.steps.set(func(operation, _ string) error {
		if operation == "looked" || operation == "listed" || operation == "is idle" {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		if writes++; writes > n {
			return errCrash
		}
		return nil
	})
	return func() bool {
		mu.Lock()
		defer mu.Unlock()
		return writes > n
	}
}

// TestCrashes ends the process before each write of storage and index that a sweep
// makes, in turn: after the next start nothing is wrong, what is referred to is
// there, and the sweeps that follow take away all the rest.
func TestCrashes(t *testing.T) {
	stride := 9 // all where that is asked for
	if harness.Required("collect") {
		stride = 1
	}
	for _, quarantine := range []bool{false, true} {
		o := options{}
		if quarantine {
			o.quarantine = lease
		}
		for n := 0; ; n += stride {
			reached := false
			t.Run(fmt.Sprintf("quarantine %v, after %d writes", quarantine, n), func(t *testing.T) {
				reached = crashOnce(t, newWorld(t, o), n)
			})
			if !reached {
				if least := 6; n < least {
					t.Errorf("a sweep wrote %d times, want %d at least", n, least)
				}
				break
			}
		}
	}
}

func crashOnce(t *testing.T, w *world, n int) (reached bool) {
	w.push(one, layer)
	w.push("alice/kept", "kept")
	w.upload(two, "of two repositories")
	w.upload(one, "of two repositories")
	w.push(two, "with a referrer")
	subject := manifest("with a referrer")
	referrer := `{"schemaVersion":2,"mediaType":"` + imageType + `","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"` +
		dgst("with a referrer") + `","size":1},"layers":[],"subject":{"mediaType":"` + imageType + `","digest":"` + dgst(subject) + `","size":1}}`
	w.want(http.StatusCreated, "PUT", "/v2/"+two+"/manifests/"+dgst(referrer), referrer, "Content-Type", imageType)
	w.remove(one, manifest(layer))
	w.remove(two, subject)
	w.pass(2 * lease)
	crashed := w.crashing(n)
	for range 3 { // with a quarantine there is more than one sweep
		if _, err := w.collector.Sweep(t.Context(), nil); err != nil {
			break
		}
		w.pass(2 * lease)
	}
	reached = crashed()
	w.close()
	w.open()
	w.settled()
	w.check()
	for range 6 {
		w.pass(2 * lease)
		w.sweep()
	}
	w.check()
	if !w.isWhole("alice/kept", "kept") {
		t.Error("what is referred to is gone")
	}
	stats, err := w.index.Stats(t.Context())
	w.must(err)
	if stats.Uncollected != 0 || stats.Manifests != 1 {
		t.Errorf("in the end there is %+v", stats)
	}
	w.wantStored("kept", manifest("kept"))
	return reached
}

// wantStored wants exactly those bytes to be stored.
func (w *world) wantStored(contents ...string) {
	w.t.Helper()
	for _, folder := range []string{"docker/registry/v2/blobs", "berth/collected"} {
		want := 0
		if strings.HasSuffix(folder, "blobs") {
			want = len(contents)
		}
		found, err := filepath.Glob(filepath.Join(w.dir, "storage", folder, "sha256", "*", "*"))
		w.must(err)
		if len(found) != want {
			w.t.Errorf("%s has %d folders, want %d: %q", folder, len(found), want, found)
		}
	}
	for _, content := range contents {
		hex := strings.TrimPrefix(dgst(content), "sha256:")
		found, err := filepath.Glob(filepath.Join(w.dir, "storage/docker/registry/v2/blobs/sha256", hex[:2], hex, "data"))
		if w.must(err); len(found) != 1 {
			w.t.Errorf("%q is not stored", content)
		}
	}
}

// check has fsck look at everything: what nobody links is no fault.
func (w *world) check() {
	w.t.Helper()
	_, err := fsck.Run(w.t.Context(), fsck.Options{
		Store: w.store, Index: w.index, Catalog: w.catalog, Deep: true,
		Found: func(f fsck.Finding) {
			if f.Kind != fsck.Unlinked {
				w.t.Errorf("fsck has found %+v", f)
			}
		},
		Progress: func(fsck.Summary) {}, Log: slog.New(slog.DiscardHandler),
		Another: func(fn func(index.Index) error) error {
			errDone := errors.New("done")
			var failed error
			_, err := bolt.Build(filepath.Join(w.t.TempDir(), "catalog.db"), w.store.Identity(), func(x *bolt.Index) error {
				failed = fn(x)
				return errDone
			})
			if errors.Is(err, errDone) {
				err = nil
			}
			return errors.Join(failed, err)
		},
	})
	w.must(err)
}
