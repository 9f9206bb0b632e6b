package storage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// What the collector sweeps waits here, before it is removed for good:
//
//	/berth/collected/<algorithm>/<two hex digits>/<hex>
//
// No other registry looks into it.
const collectedPath = "/berth/collected"

func collectedOf(d digest.Digest) string {
	return path.Join(collectedPath, d.Algorithm().String(), d.Encoded()[:2], d.Encoded())
}

// sweepers are how many blobs are taken away at once where a driver does not make
// several changes in one: what takes time is waiting for storage that is far away.
const sweepers = 8

// AtOnce is how many things are best taken away in one go: where changes are made
// together they share their syncs; elsewhere who wants one of them would wait for all.
func (s *Store) AtOnce() int {
	const together, eachByItself = 256, 4 * sweepers
	if s.SharesSyncs() {
		return together
	}
	return eachByItself
}

// SharesSyncs reports whether who changes something waits for the same syncs as
// everybody who does at that time, as on a disk.
func (s *Store) SharesSyncs() bool { return s.joint != nil }

// Sweep takes away what is stored under some digests, with keep into the
// collector's quarantine, and returns the size of what was there, in bytes. The
// caller has the digests alone. It may be repeated, also after a crash in the
// middle.
func (s *Store) Sweep(ctx context.Context, digests []digest.Digest, keep bool) (sizes map[digest.Digest]int64, err error) {
	if sizes, err = s.SizesOf(ctx, digests, false); err != nil {
		return nil, err
	}
	if keep {
		err = s.each(ctx, slices.Sorted(maps.Keys(sizes)), func(ctx context.Context, d digest.Digest) error {
			return s.driver.Move(ctx, blobPath(d), collectedOf(d))
		})
		if err != nil {
			return nil, fmt.Errorf("move what is swept into quarantine: %w", translate(err))
		}
	}
	// With the folders, which are as many. Those of what a crash has moved are
	// removed too.
	err = s.each(ctx, digests, func(ctx context.Context, d digest.Digest) error {
		return s.remove(ctx, path.Dir(blobPath(d)))
	})
	if err != nil {
		return nil, fmt.Errorf("remove what is swept: %w", translate(err))
	}
	for _, d := range digests {
		s.verified.forget(d)
	}
	return sizes, nil
}

// each runs fn for digests, all at once where the driver can.
func (s *Store) each(ctx context.Context, digests []digest.Digest, fn func(context.Context, digest.Digest) error) error {
	if s.joint != nil {
		return s.Together(ctx, func(ctx context.Context) error {
			for _, d := range digests {
				if err := fn(ctx, d); err != nil {
					return err
				}
			}
			return nil
		})
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(sweepers)
	for _, d := range digests {
		g.Go(func() error { return fn(ctx, d) })
	}
	return g.Wait()
}

// EmptyCollected removes for good what the collector has in quarantine of some
// digests, and returns the sizes in bytes. The caller has the digests alone.
func (s *Store) EmptyCollected(ctx context.Context, digests []digest.Digest) (sizes map[digest.Digest]int64, err error) {
	if sizes, err = s.SizesOf(ctx, digests, true); err != nil {
		return nil, err
	}
	err = s.each(ctx, slices.Sorted(maps.Keys(sizes)), func(ctx context.Context, d digest.Digest) error { return s.remove(ctx, collectedOf(d)) })
	if err != nil {
		return nil, fmt.Errorf("empty the quarantine: %w", translate(err))
	}
	return sizes, nil
}

// collected is the size of what the collector has in quarantine of a digest.
func (s *Store) collected(ctx context.Context, d digest.Digest) (size int64, found bool, err error) {
	info, err := s.driver.Stat(ctx, collectedOf(d))
	switch {
	case notFound(err):
		return 0, false, nil
	case err != nil:
		return 0, false, fmt.Errorf("look into the quarantine for %s: %w", d, translate(err))
	}
	return info.Size(), !info.IsDir(), nil
}

// Collected calls fn with every digest of which the collector has something in
// quarantine, and returns the first error.
func (s *Store) Collected(ctx context.Context, fn func(d digest.Digest) error) error {
	return s.blobsBelow(ctx, collectedPath, "", fn)
}

// BringBack brings bytes back from the collector's quarantine, unless they are
// stored anyway, and reports whether they are now. The caller relies on the digest.
func (s *Store) BringBack(ctx context.Context, d digest.Digest) (bool, error) {
	if d.Validate() != nil {
		return false, nil
	}
	release, err := s.guards.take(ctx, d) // of several, one does
	if err != nil {
		return false, err
	}
	defer release()
	if there, err := s.isFile(ctx, blobPath(d)); there || err != nil {
		return there, err
	}
	_, found, err := s.collected(ctx, d)
	if err != nil || !found {
		return false, err
	}
	if err := s.driver.Move(ctx, collectedOf(d), blobPath(d)); err != nil {
		return false, fmt.Errorf("bring %s back from quarantine: %w", d, translate(err))
	}
	s.arrived(ctx, d)
	return true, s.remove(ctx, collectedOf(d))
}

// UnlinkBlobs removes the links of a repository to blobs, with their folders.
func (s *Store) UnlinkBlobs(ctx context.Context, repository string, digests []digest.Digest) error {
	err := s.each(ctx, digests, func(ctx context.Context, d digest.Digest) error {
		return s.remove(ctx, path.Dir(layerLink(repository, d)))
	})
	if err != nil {
		return fmt.Errorf("unlink blobs of %s: %w", repository, translate(err))
	}
	return nil
}

// SizesOf are those of the digests under which something is stored, in bytes; with
// collected, in the collector's quarantine.
func (s *Store) SizesOf(ctx context.Context, digests []digest.Digest, collected bool) (map[digest.Digest]int64, error) {
	sizes := make(map[digest.Digest]int64, len(digests))
	for _, d := range digests {
		if collected {
			size, found, err := s.collected(ctx, d)
			if err != nil {
				return nil, err
			}
			if found {
				sizes[d] = size
			}
			continue
		}
		info, err := s.content.Stat(ctx, d)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look at %s: %w", d, err)
		}
		sizes[d] = info.Size
	}
	return sizes, nil
}

// settler is a driver that gives back room of what was removed only after a while,
// and sooner if it is asked to.
type settler interface{ Settle() }

// Settle has the driver give back the room of what was removed. It does not wait.
func (s *Store) Settle() {
	if s.settler != nil {
		s.settler.Settle()
	}
}
