package bolt

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	bbolt "go.etcd.io/bbolt"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// imagesPerRepository is how many images a repository has of those that tests
// make by the thousand.
const imagesPerRepository = 10

// sample is the n-th of many images: an index with a tag, a manifest, a config
// and two layers, all its own.
type sample struct {
	repository, tag string
	links           map[digest.Digest]int64
	manifest, index image.Description
}

func sampleOf(n int) sample {
	const (
		ociManifest = "application/vnd.oci.image.manifest.v1+json"
		ociIndex    = "application/vnd.oci.image.index.v1+json"
		tar         = "application/vnd.oci.image.layer.v1.tar"
	)
	part := func(what string) digest.Digest { return digest.FromString(fmt.Sprint(what, n)) }
	repo := n / imagesPerRepository
	modified := time.Date(2026, 1, 1, 0, 0, n, 123456789, time.UTC)
	created := time.Date(2025, 6, 1, 0, 0, n*7919%30_000_000, 0, time.UTC)
	blobs := []image.Blob{{Digest: part("config"), Size: 900}, {Digest: part("kernel"), Size: 2_100_000 + int64(n)}, {Digest: part("initrd"), Size: 9_000_000 + int64(n)}}
	args := []string{"/usr/bin/server", "--listen", ":8080", "--config", "/etc/server/config.yaml"}
	platform := image.Platform{
		Digest: part("manifest"), OS: "kraftcloud", Architecture: "x86_64", Size: blobs[1].Size + blobs[2].Size,
		Kernel: &image.Part{Digest: blobs[1].Digest, Size: blobs[1].Size, MediaType: tar},
		Initrd: &image.Part{Digest: blobs[2].Digest, Size: blobs[2].Size, MediaType: tar},
		ROMs:   []image.Part{}, Args: args,
	}
	s := sample{
		repository: fmt.Sprintf("user-%d/service-%d", repo%1000, repo), tag: fmt.Sprint("v1.", n%imagesPerRepository),
		links: make(map[digest.Digest]int64),
		manifest: image.Description{
			Digest: platform.Digest, MediaType: ociManifest, Size: 1116, Blobs: blobs, Created: created, Modified: modified, LayerBytes: platform.Size,
			Image: &image.Image{
				Created: created, Size: platform.Size, Kernel: true, Initrd: true, Args: args,
				Env: map[string]string{
					"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "PORT": "8080", "HOME": "/", "MODE": fmt.Sprint("production-", n),
				},
				Labels:    map[string]string{"cloud.unikraft.v1.instances/scale_to_zero.policy": "on"},
				Platforms: []image.Platform{platform},
			},
		},
		index: image.Description{
			Digest: part("index"), MediaType: ociIndex, Size: 576, Modified: modified, Children: []digest.Digest{platform.Digest},
			Members: []image.Member{{Digest: platform.Digest, OS: "kraftcloud", Architecture: "x86_64"}},
		},
	}
	for _, blob := range blobs {
		s.links[blob.Digest] = blob.Size
	}
	return s
}

// push does what a push of the image does to the index.
func push(t testing.TB, x *Index, s sample) {
	ctx := context.Background()
	for d, size := range s.links {
		if err := x.Link(ctx, s.repository, map[digest.Digest]int64{d: size}, "", nil); err != nil {
			t.Error(err)
		}
	}
	for _, u := range []index.Update{
		{Put: []image.Description{s.manifest}, Done: true},
		{Put: []image.Description{s.index}, Tag: map[string]digest.Digest{s.tag: s.index.Digest}, Done: true},
	} {
		l, err := x.Acquire(ctx, s.repository)
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := x.Publish(ctx, l, u); err != nil {
			t.Error(err)
		}
		if err := x.Release(ctx, l); err != nil {
			t.Error(err)
		}
	}
}

// pushAll pushes images from one to another, side by side and in no order.
func pushAll(t testing.TB, x *Index, from, to int) {
	const clients, step = 64, 7919 // a prime, so that all come
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := from + c; i < to; i += clients {
				push(t, x, sampleOf(from+(i-from)*step%(to-from)))
			}
		})
	}
	wg.Wait()
}

// buildAll publishes images as Rebuild does, a repository in one update.
func buildAll(t testing.TB, x *Index, from, to int) {
	ctx := context.Background()
	var wg sync.WaitGroup
	next := make(chan int)
	for range 4 {
		wg.Go(func() {
			for n := range next {
				u := index.Update{Tag: map[string]digest.Digest{}, Link: map[digest.Digest]int64{}, Done: true}
				first := sampleOf(n)
				for i := n; i < min(n+imagesPerRepository, to); i++ {
					s := sampleOf(i)
					u.Put = append(u.Put, s.manifest, s.index)
					u.Tag[s.tag] = s.index.Digest
					for d, size := range s.links {
						u.Link[d] = size
					}
				}
				l, err := x.Acquire(ctx, first.repository)
				if err == nil {
					_, err = x.Publish(ctx, l, u)
				}
				if err != nil {
					t.Error(err)
				}
				if err := x.Release(ctx, l); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for n := from; n < to; n += imagesPerRepository {
		next <- n
	}
	close(next)
	wg.Wait()
}

// maxBytesPerImage is what an image may take of the file.
const maxBytesPerImage = 3 << 10

// TestBytesPerImage makes an index of two thousand images, by pushes and from
// storage: its file holds so much for each, free pages included.
func TestBytesPerImage(t *testing.T) {
	n := 2000
	if s := os.Getenv("BERTH_TEST_IMAGES"); s != "" {
		if _, err := fmt.Sscan(s, &n); err != nil {
			t.Fatal(err)
		}
	}
	for name, fill := range map[string]func(testing.TB, *Index, int, int){"pushed": pushAll, "built": buildAll} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "catalog.db")
			begin := time.Now()
			x, err := Build(path, place1, func(x *Index) error { fill(t, x, 0, n); return nil })
			if err != nil {
				t.Fatal(err)
			}
			took := time.Since(begin)
			st, err := x.Stats(t.Context())
			if err != nil || st.Manifests != 2*int64(n) || st.Unikernels != int64(n) {
				t.Fatalf("%+v, %v", st, err)
			}
			// Pages that are free, and by how much the file grows at once, are much
			// only of what is small.
			var used int64
			if err := x.db.View(func(tx *bbolt.Tx) error {
				used = tx.Size()
				if n < 100_000 {
					used -= int64(x.db.Stats().FreePageN * os.Getpagesize())
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if err := x.Close(); err != nil {
				t.Fatal(err)
			}
			each := used / int64(n)
			t.Logf("%d images: %d bytes each, %.0f a second", n, each, float64(n)/took.Seconds())
			if each > maxBytesPerImage {
				t.Errorf("%d bytes for each image, want at most %d", each, maxBytesPerImage)
			}
		})
	}
}
