package catalog

import (
	"context"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/berth-oci/berth/catalog/index"
)

// rebuildWorkers is how many repositories are read at once: what takes time is
// waiting for storage that is far away.
const rebuildWorkers = 8

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
			err := c.read(ctx, name)
			mu.Lock()
			defer mu.Unlock()
			done++
			progress(done, len(names))
			return err
		})
	}
	return g.Wait()
}

// read makes the index say of a repository what storage says.
func (c *Catalog) read(ctx context.Context, repository string) error {
	tx, err := c.Begin(ctx, repository)
	if err != nil {
		return err
	}
	defer tx.Close()
	return tx.reconcile(ctx)
}

// reconcile does the same within a change. It reads what is stored by name, and
// describes only manifests that the index does not have, or whose blobs came or
// went.
func (t *Tx) reconcile(ctx context.Context) error {
	known, err := t.catalog.index.State(ctx, t.lease.Repository)
	if err != nil {
		return err
	}
	stored := t.stored()
	tags, err := stored.Tags(ctx)
	if err != nil {
		return err
	}
	manifests, aliases, err := stored.Manifests(ctx)
	if err != nil {
		return err
	}
	links, err := t.links(ctx, known.Links)
	if err != nil {
		return err
	}
	var u index.Update
	added, gone := diffSets(known.Manifests, manifests)
	u.Delete = gone
	u.Tag, u.Untag = diffMaps(known.Tags, tags)
	u.Alias, u.Unalias = diffMaps(known.Aliases, aliases)
	last := index.Update{}
	last.Link, last.Unlink = diffMaps(known.Links, links)
	for _, d := range append(slices.Collect(maps.Keys(last.Link)), last.Unlink...) {
		referring, err := t.catalog.index.Referring(ctx, t.lease.Repository, d)
		if err != nil {
			return err
		}
		added = append(added, referring...)
	}
	p := publication{tx: t, update: u, gone: gone, last: last}
	return p.describeAll(ctx, added, "")
}

// diffSets compares what is known with what is there.
func diffSets[K comparable](known map[K]struct{}, there []K) (added, gone []K) {
	now := make(map[K]struct{}, len(there))
	for _, k := range there {
		now[k] = struct{}{}
		if _, ok := known[k]; !ok {
			added = append(added, k)
		}
	}
	for k := range known {
		if _, ok := now[k]; !ok {
			gone = append(gone, k)
		}
	}
	return added, gone
}

// diffMaps compares what is known with what is there.
func diffMaps[K, V comparable](known, there map[K]V) (changed map[K]V, gone []K) {
	changed = make(map[K]V)
	for k, v := range there {
		if old, ok := known[k]; !ok || old != v {
			changed[k] = v
		}
	}
	for k := range known {
		if _, ok := there[k]; !ok {
			gone = append(gone, k)
		}
	}
	return changed, gone
}
