package image_test

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/storage"
)

var errBroken = errors.New("disk on fire")

// TestStorageFails fails every single call in turn: none may be taken for an
// answer, and nothing that was cut short may be remembered.
func TestStorageFails(t *testing.T) {
	c := newContent()
	layer := c.blob(gzipped(tarOf(reg("unikraft/bin/kernel"), file{name: "unikraft/bin/initrd", kind: tar.TypeReg, data: string(randomBytes(1 << 20))})))
	plain := c.blob(tarOf(file{name: "unikraft/a", kind: tar.TypeReg, data: strings.Repeat("x", 1<<20)}, reg("unikraft/b")))
	child := c.image(object{"os": "fc"}, desc(ociTar, layer), desc(ociTar, plain))
	m := c.index(desc(ociManifest, child.Digest))
	calls := 0
	c.fail = func(string, digest.Digest) error { calls++; return nil }
	want := describe(t, c, m)
	total := calls
	if total < 20 || want.Image == nil {
		t.Fatalf("%d calls, image %v", total, want.Image)
	}
	for n := range total {
		for _, failure := range []error{errBroken, fmt.Errorf("deleted meanwhile: %w", storage.ErrNotFound)} {
			calls = 0
			var op string
			c.fail = func(o string, _ digest.Digest) error {
				if calls++; calls == n+1 {
					op = o
					return failure
				}
				return nil
			}
			memory := newMemory()
			d, err := whole(t.Context(), m, c, memory)
			if failure == errBroken && !errors.Is(err, errBroken) {
				t.Errorf("call %d, %s failed: got %+v and error %v", n, op, d, err)
			}
			if failure != errBroken && err != nil {
				t.Errorf("call %d, %s found nothing: %v", n, op, err)
			}
			if p, ok := memory.Recall(layer); ok && p&0xf != image.PartKernel|image.PartInitrd {
				t.Errorf("call %d, %s: remembers %b", n, op, p)
			}
		}
	}
}

// TestContextEnds stops at every call, and while a bomb is decompressed.
func TestContextEnds(t *testing.T) {
	c := newContent()
	imageOf := func(big int64) image.Manifest {
		layer := c.blob(rleBomb(append(tarOf(reg("unikraft/bin/kernel"))[:1024], claims("unikraft/big", big)...), 13<<3))
		return c.index(desc(ociManifest, c.image(object{"os": "fc"}, desc(ociTar, layer)).Digest))
	}
	m := imageOf(4 << 20)
	calls := 0
	c.fail = func(string, digest.Digest) error { calls++; return nil }
	describe(t, c, m)
	total := calls
	for n := range total {
		ctx, cancel := context.WithCancel(t.Context())
		calls = 0
		c.fail = func(string, digest.Digest) error {
			if calls++; calls == n {
				cancel()
			}
			return nil
		}
		memory := newMemory()
		if n == 0 {
			cancel()
		}
		if _, err := whole(ctx, m, c, memory); !errors.Is(err, context.Canceled) && n < total-1 {
			t.Errorf("ended at call %d: error %v", n, err)
		}
		cancel()
	}

	m = imageOf(1 << 40)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	reads, late := 0, 0
	c.fail = func(op string, dgst digest.Digest) error {
		if op != "read" || len(c.blobs[dgst]) < 100_000 {
			return nil
		}
		if ctx.Err() != nil {
			late++
		}
		if reads++; reads == 2 {
			<-ctx.Done() // there is more of the bomb to come
		}
		return nil
	}
	start := time.Now()
	if _, err := whole(ctx, m, c, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if reads < 2 || late > 0 {
		t.Errorf("of %d reads, %d came after the context had ended", reads, late)
	}
	inTime(t, time.Since(start), 3*time.Second)
}
