package registry

import (
	"context"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage"
)

// heldCatalog does not count one namespace until it may.
type heldCatalog struct {
	Catalog
	held    string
	entered chan string // the method that waits
	release chan struct{}
}

func (h *heldCatalog) wait(namespace, method string) {
	if namespace == h.held {
		h.entered <- method
		<-h.release
	}
}

func (h *heldCatalog) Reserve(_ context.Context, namespace string, _ storage.Reservation) (storage.Usage, error) {
	h.wait(namespace, "Reserve")
	return storage.Usage{}, nil
}

func (h *heldCatalog) Usage(_ context.Context, namespace string) (storage.Usage, error) {
	h.wait(namespace, "Usage")
	return storage.Usage{}, nil
}

func (h *heldCatalog) Idle(_ context.Context, namespace string, _ []digest.Digest) (int64, error) {
	h.wait(namespace, "Idle")
	return 10, nil
}

func (h *heldCatalog) Canonical(context.Context, string, digest.Digest) (digest.Digest, error) {
	return "", storage.ErrNotFound
}

// TestQuotasWaitForTheirNamespaceAlone: while one namespace cannot be counted,
// by a manifest, an upload and somebody who asks, all of that goes on in another.
func TestQuotasWaitForTheirNamespaceAlone(t *testing.T) {
	const limit = 1 << 20
	for _, held := range []string{"Idle", "Reserve", "Usage"} {
		t.Run(held, func(t *testing.T) {
			c := &heldCatalog{held: "a", entered: make(chan string, 10), release: make(chan struct{})}
			q := newQuotas(Options{Catalog: c})
			q.limit = func(string) int64 { return limit }
			var waiting sync.WaitGroup
			release := sync.OnceFunc(func() { close(c.release); waiting.Wait() })
			defer release()
			reserving := func(namespace string) []func() error {
				ctx, repository := t.Context(), namespace+"/app"
				return []func() error{
					func() error { return q.begin(ctx, repository, "upload") },
					func() error { return q.receive(ctx, repository, "upload", 0, 10) },
					func() error { return q.resumed(ctx, repository, "upload", 10) },
					func() error { return q.ended(ctx, repository, "upload") },
					func() error { _, err := q.hold(ctx, namespace, 10); return err },
				}
			}
			asking := func(namespace string) []func() error {
				return []func() error{
					func() error { return q.fits(t.Context(), namespace+"/app", "other", 10) },
					func() error { return q.pushable(t.Context(), namespace, true) },
					func() error { _, err := q.used(t.Context(), namespace); return err },
				}
			}
			manifest := func(namespace string) error {
				return q.admit(t.Context(), namespace+"/app", 10, digest.FromString("m"), &push{})
			}
			first := map[string][]func() error{
				"Idle":    {func() error { return manifest("a") }, func() error { return manifest("a") }},
				"Reserve": reserving("a"), "Usage": asking("a"),
			}[held]
			for _, fn := range first {
				waiting.Go(func() {
					if err := fn(); err != nil {
						t.Error(err)
					}
				})
			}
			for range first {
				select {
				case got := <-c.entered:
					if got != held {
						t.Errorf("%s waits, want %s", got, held)
					}
				case <-time.After(time.Minute):
					t.Fatal("nobody counts")
				}
			}

			all := append(append(reserving("b"), asking("b")...), func() error { return manifest("b") })
			for i, fn := range all {
				went := make(chan error, 1)
				go func() { went <- fn() }()
				select {
				case err := <-went:
					if err != nil {
						t.Errorf("%d: %v", i, err)
					}
				case <-time.After(time.Minute):
					t.Fatalf("%d: namespace b waits for namespace %s", i, c.held)
				}
			}
		})
	}
}

// TestDiskErrors: what the disk says is not something unknown.
func TestDiskErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{&fs.PathError{Op: "write", Path: "/secret", Err: syscall.EIO}, http.StatusServiceUnavailable},
		{storagedriver.Error{DriverName: "filesystem", Detail: &fs.PathError{Op: "write", Path: "/secret", Err: syscall.EIO}}, http.StatusServiceUnavailable},
		{storagedriver.Error{DriverName: "filesystem", Detail: syscall.ENOSPC}, http.StatusInsufficientStorage},
	} {
		rec := &record{}
		_ = note(withRecord(t.Context(), rec), c.err)
		if rec.err == nil {
			t.Errorf("%v is left to distribution", c.err)
			continue
		}
		status, body := answerTo(rec.err)
		if status != c.want || strings.Contains(body.Errors[0].Message, "secret") {
			t.Errorf("%v: %d %+v, want %d", c.err, status, body, c.want)
		}
	}
}
