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

	"github.com/distribution/distribution/v3"
	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"
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

func (h *heldCatalog) Reserve(_ context.Context, namespace, _ string, _, _ int64, _ time.Time) (int64, error) {
	h.wait(namespace, "Reserve")
	return 0, nil
}

func (h *heldCatalog) Unused(_ context.Context, namespace string, blobs []digest.Digest) ([]digest.Digest, error) {
	h.wait(namespace, "Unused")
	return blobs, nil
}

// oneBlob is a manifest of one blob, and knows its size.
type oneBlob struct{}

func (oneBlob) References() []distribution.Descriptor {
	return []distribution.Descriptor{{Digest: digest.FromString("blob")}}
}
func (oneBlob) Payload() (string, []byte, error) { return "", nil, nil }
func (oneBlob) Stat(_ context.Context, d digest.Digest) (distribution.Descriptor, error) {
	return distribution.Descriptor{Digest: d, Size: 10}, nil
}

// TestQuotasWaitForTheirNamespaceAlone: while one namespace cannot be counted,
// by a manifest, an upload and somebody who asks, all of that goes on in another.
func TestQuotasWaitForTheirNamespaceAlone(t *testing.T) {
	const limit = 1000
	for _, held := range []string{"Unused", "Reserve"} {
		t.Run(held, func(t *testing.T) {
			c := &heldCatalog{held: "a", entered: make(chan string, 10), release: make(chan struct{})}
			q := newQuotas(func(string) int64 { return limit }, c)
			var waiting sync.WaitGroup
			release := sync.OnceFunc(func() { close(c.release); waiting.Wait() })
			defer release()
			all := func(namespace string) []func() error {
				ctx := t.Context()
				return []func() error{
					func() error { return q.reserve(ctx, namespace, "upload", 0, 10) },
					func() error { return q.resumed(ctx, namespace, "upload", 10) },
					func() error { return q.room(ctx, namespace, 10) },
					func() error { _, err := q.used(ctx, namespace); return err },
					func() error { return q.ended(ctx, namespace, "upload") },
				}
			}
			push := func(namespace string) error {
				done, err := q.admit(t.Context(), namespace+"/app", oneBlob{}, oneBlob{})
				done()
				return err
			}
			first := []func() error{func() error { return push("a") }}
			if held == "Reserve" {
				first = all("a")
			}
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
			waiting.Go(func() { _ = push("a") }) // the next manifest of a waits too

			for i, fn := range append(all("b"), func() error { return push("b") }, func() error { return push("b") }) {
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
			release()
			if n := len(q.pushing); n != 0 {
				t.Errorf("%d namespaces are kept that nobody pushes to", n)
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
