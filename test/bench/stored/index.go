package stored

import (
	"context"
	"errors"
	"path/filepath"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/berth-oci/berth/catalog/bolt"
	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
	_ "github.com/berth-oci/berth/storage/local" // the driver
)

// Index makes the index of a data folder that holds so many images. Their
// storage stays empty: questions are answered from the index alone. progress is
// told how many are done.
func Index(ctx context.Context, data string, images int, progress func(done int)) error {
	store, err := storage.Open(ctx, "filesystem", map[string]any{"rootdirectory": filepath.Join(data, "storage")})
	if err != nil {
		return err
	}
	if err := store.Close(); err != nil {
		return err
	}
	x, err := bolt.Build(filepath.Join(data, "catalog.db"), store.Identity(), func(x *bolt.Index) error {
		return publishAll(ctx, x, images, progress)
	})
	if err != nil {
		return err
	}
	return x.Close()
}

// writers is how many repositories are published at once: an index takes what
// waits into one transaction.
const writers = 16

func publishAll(ctx context.Context, x index.Index, images int, progress func(done int)) error {
	var mu sync.Mutex
	done := 0
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(writers)
	for n := 0; n < images && inner.Err() == nil; n += PerRepository {
		g.Go(func() error {
			if err := publish(inner, x, images, n); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			done = min(done+PerRepository, images)
			progress(done)
			return nil
		})
	}
	return errors.Join(g.Wait(), ctx.Err())
}

// publish puts the repository that begins with an image into the index.
func publish(ctx context.Context, x index.Index, images, first int) error {
	u := index.Update{Tag: map[string]digest.Digest{}, Link: map[digest.Digest]int64{}}
	for n := first; n < min(first+PerRepository, images); n++ {
		c := contentOf(n)
		for _, m := range []image.Manifest{c.manifest, c.index} {
			description, err := image.Describe(ctx, m, c, nil)
			if err != nil {
				return err
			}
			u.Put = append(u.Put, description)
		}
		u.Tag[place(images, n).Tag] = c.index.Digest
		for _, b := range c.blobs() {
			u.Link[b.digest] = b.size
		}
	}
	lease, err := x.Acquire(ctx, place(images, first).Repository)
	if err != nil {
		return err
	}
	if _, err := x.Publish(ctx, lease, u); err != nil {
		return err
	}
	return x.Release(ctx, lease)
}
