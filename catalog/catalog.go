// Package catalog knows what an image is: it reads unikernels out of manifests
// ([Describe]), keeps what it read in an [Index], and answers from there.
//
// Storage is the truth and the index a view of it. Every change of a repository
// goes through [Catalog.Begin], which gives one change at a time to each
// repository, and notes in the index what is about to happen before storage is
// touched. Where a change ends without being shown (the index cannot be
// written, storage fails half-way), the repository is read from storage again
// before anything is answered about it; after a crash, [Catalog.Recover] first
// completes the change that was under way.
package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
)

// Catalog answers which images there are, and is told of every change.
type Catalog struct {
	index index.Index
	store *storage.Store
	log   *slog.Logger
	locks *locks

	// mu guards stale: the repositories that may differ from storage, each
	// with the change that was cut in two there, if it was one.
	mu    sync.Mutex
	stale map[string]storage.Intent

	touched *touched
}

// New returns a catalog of what is in store, kept in index. Close it before
// the index.
func New(index index.Index, store *storage.Store, log *slog.Logger) *Catalog {
	c := &Catalog{
		index: index, store: store, log: log,
		locks: newLocks(), stale: make(map[string]storage.Intent),
	}
	c.touched = newTouched(index, log)
	return c
}

// Close writes down that nothing is in flight any more. Changes must have ended.
func (c *Catalog) Close() error { return c.touched.close() }

// Recover brings the index up to storage after a crash: it completes every
// change that was begun and not shown, and reads the repository again. It must
// have returned before the first answer.
func (c *Catalog) Recover(ctx context.Context) error {
	pending, err := c.index.Pending(ctx)
	if err != nil {
		return fmt.Errorf("read unfinished changes: %w", err)
	}
	for _, change := range pending {
		if err := c.store.Complete(ctx, change); err != nil {
			return fmt.Errorf("complete the change of %s: %w", change.Repository, err)
		}
		if err := c.reconcile(ctx, change.Repository); err != nil {
			return err
		}
		if err := c.index.Settle(ctx, []string{change.Repository}); err != nil {
			return err
		}
		c.log.Info("repository repaired after an unclean stop", "repository", change.Repository)
	}
	return nil
}

// Rebuild reads all of storage into the index, which must be empty. It calls
// progress as it goes, one call at a time, with the number of repositories read
// and of those found.
func (c *Catalog) Rebuild(ctx context.Context, progress func(done, all int)) error {
	var names []string
	err := c.store.Repositories(ctx, func(name string) error {
		names = append(names, name)
		progress(0, len(names))
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	done := 0
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(rebuildWorkers)
	for _, name := range names {
		g.Go(func() error {
			err := c.reconcile(ctx, name)
			mu.Lock()
			defer mu.Unlock()
			done++
			progress(done, len(names))
			return err
		})
	}
	return g.Wait()
}

// rebuildWorkers is how many repositories are read at once: what takes time is
// waiting for storage that is far away.
const rebuildWorkers = 8

// Ready returns an error if the index cannot answer.
func (c *Catalog) Ready(ctx context.Context) error {
	if err := c.heal(ctx, everything); err != nil {
		return err
	}
	_, err := c.index.Stats(ctx)
	return err
}

// Stats counts what is there.
func (c *Catalog) Stats(ctx context.Context) (index.Stats, error) { return c.index.Stats(ctx) }

// Entry returns an image by repository and digest, or ErrNotFound.
func (c *Catalog) Entry(ctx context.Context, repository string, dgst digest.Digest) (index.Entry, error) {
	if err := c.heal(ctx, only(repository)); err != nil {
		return index.Entry{}, err
	}
	return c.index.Entry(ctx, repository, dgst)
}

// Tagged returns the image that a tag points to, or ErrNotFound.
func (c *Catalog) Tagged(ctx context.Context, repository, tag string) (index.Entry, error) {
	if err := c.heal(ctx, only(repository)); err != nil {
		return index.Entry{}, err
	}
	for {
		dgst, err := c.index.Tag(ctx, repository, tag)
		if err != nil {
			return index.Entry{}, err
		}
		entry, err := c.index.Entry(ctx, repository, dgst)
		if err == nil && slices.Contains(entry.Tags, tag) {
			return entry, nil
		}
		if err != nil && !errors.Is(err, index.ErrNotFound) {
			return index.Entry{}, err
		}
		// The tag moved between the two reads, or points to no unikernel.
		if again, err2 := c.index.Tag(ctx, repository, tag); err2 != nil || again == dgst {
			return index.Entry{}, cmp.Or(err2, err, index.ErrNotFound)
		}
	}
}

// ByUUID returns the image with a UUID, or ErrNotFound.
func (c *Catalog) ByUUID(ctx context.Context, id uuid.UUID) (index.Entry, error) {
	if err := c.heal(ctx, everything); err != nil {
		return index.Entry{}, err
	}
	repository, dgst, err := c.index.UUID(ctx, id)
	if err != nil {
		return index.Entry{}, err
	}
	return c.index.Entry(ctx, repository, dgst)
}

// ByDigest returns the images with a digest in the repositories after the
// given one by name, at most n; namespaces limit them as in [Query].
func (c *Catalog) ByDigest(ctx context.Context, dgst digest.Digest, namespaces []string, after string, n int) ([]index.Entry, error) {
	if err := c.heal(ctx, within(namespaces)); err != nil {
		return nil, err
	}
	return c.index.ByDigest(ctx, dgst, namespaces, after, n)
}

// List returns the next entries of a list, at most n, and how far it has come:
// "" at the end.
func (c *Catalog) List(ctx context.Context, q index.Query, after index.Cursor, n int) ([]index.Entry, index.Cursor, error) {
	if err := c.heal(ctx, within(q.Within)); err != nil {
		return nil, "", err
	}
	return c.index.List(ctx, q, after, n)
}

// heal completes and reads again from storage what the index could not be
// told, of the repositories that an answer is about.
func (c *Catalog) heal(ctx context.Context, about func(repository string) bool) error {
	c.mu.Lock()
	var stale []string
	for repository := range c.stale {
		if about(repository) {
			stale = append(stale, repository)
		}
	}
	c.mu.Unlock()
	for _, repository := range stale {
		unlock, err := c.locks.lock(ctx, repository)
		if err != nil {
			return err
		}
		err = c.repair(ctx, repository)
		unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// everything, within and only say what an answer is about.
func everything(string) bool { return true }

func only(name string) func(string) bool {
	return func(repository string) bool { return repository == name }
}

func within(namespaces []string) func(string) bool {
	return func(repository string) bool { return index.Within(namespaces, repository) }
}

// repair completes what was begun in a repository, and reads it again, if it
// is stale. The caller holds its lock.
func (c *Catalog) repair(ctx context.Context, repository string) error {
	c.mu.Lock()
	change, stale := c.stale[repository]
	delete(c.stale, repository) // what goes wrong meanwhile puts it on again
	c.mu.Unlock()
	if !stale {
		return nil
	}
	err := c.store.Complete(ctx, change)
	if err == nil {
		err = c.reconcile(ctx, repository)
	}
	if err != nil {
		c.setStale(change)
		return fmt.Errorf("read %s again from storage: %w", repository, err)
	}
	return nil
}

// setStale marks a repository. A change that was cut in two is not forgotten
// for one that was not.
func (c *Catalog) setStale(change storage.Intent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.stale[change.Repository]; !ok || old.Empty() {
		c.stale[change.Repository] = change
	}
}

// settleAfter is how long a repository's blobs must have been left alone before
// the note about them is removed.
const settleAfter = 10 * time.Second
