package catalog

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/berth-oci/berth/catalog/index"
)

// rebuildWorkers is how many repositories are read at once: what takes time is
// waiting for storage that is far away.
const rebuildWorkers = 8

// Rebuild reads all of storage into the index, which must be empty, or what a
// Rebuild left that was cut off: what is in it already is not described again. It calls
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
	if names, err = c.withKnown(ctx, names); err != nil {
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

// withKnown adds the repositories that the index has and storage does not.
func (c *Catalog) withKnown(ctx context.Context, names []string) ([]string, error) {
	const batch = 1000
	stored := make(map[string]bool, len(names))
	for _, name := range names {
		stored[name] = true
	}
	for after := ""; ; {
		known, err := c.Repositories(ctx, nil, after, batch)
		if err != nil || len(known) == 0 {
			return names, err
		}
		for _, name := range known {
			if !stored[name] {
				names = append(names, name)
			}
		}
		after = known[len(known)-1]
	}
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
	referring, err := t.referring(ctx, last)
	if err != nil {
		return err
	}
	p := publication{tx: t, update: u, last: last}
	return p.describeAll(ctx, append(added, referring...), "")
}

// referring are the manifests that refer to blobs which an update links or
// unlinks.
func (t *Tx) referring(ctx context.Context, u index.Update) (all []digest.Digest, err error) {
	for _, d := range append(slices.Collect(maps.Keys(u.Link)), u.Unlink...) {
		referring, err := t.catalog.index.Referring(ctx, t.lease.Repository, d)
		if err != nil {
			return nil, err
		}
		all = append(all, referring...)
	}
	return all, nil
}

// diffSets compares what is known with what is there.
func diffSets[K comparable, V any](known map[K]V, there []K) (added, gone []K) {
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
