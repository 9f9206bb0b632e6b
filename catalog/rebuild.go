package catalog

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"
)

// repositoriesAtOnce is how many repositories are read at once. Each holds some
// names of its folders.
const repositoriesAtOnce = 8

// Progress is how far a [Catalog.Rebuild] has come.
type Progress struct {
	// Repositories that are done, of Found; Found grows until all have been
	// listed.
	Repositories, Found int
	// Manifests that have been looked at, of All, which is 0 where counting them
	// would take long.
	Manifests, All int64
}

// Rebuild reads all of storage into the index, which must be empty, or what a
// Rebuild left that was cut off: what is in it already is not described again, but
// looked for in storage by name. It takes no more memory for large repositories
// than for small ones. It calls progress as it goes, one call at a time.
func (c *Catalog) Rebuild(ctx context.Context, progress func(Progress)) error {
	r := rebuild{tell: progress}
	names, err := c.list(ctx, &r)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(repositoriesAtOnce)
	for _, name := range names {
		g.Go(func() error {
			err := c.readWith(ctx, name, func(manifests int) { r.add(Progress{Manifests: int64(manifests)}) })
			r.add(Progress{Repositories: 1})
			return err
		})
	}
	return g.Wait()
}

// rebuild adds up what has been done.
type rebuild struct {
	mu   sync.Mutex
	sum  Progress // guarded by mu
	tell func(Progress)
}

func (r *rebuild) add(p Progress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sum.Repositories += p.Repositories
	r.sum.Found += p.Found
	r.sum.Manifests += p.Manifests
	r.sum.All += p.All
	r.tell(r.sum)
}

// list are the repositories of storage, and those that the index has and storage
// does not.
func (c *Catalog) list(ctx context.Context, r *rebuild) (names []string, err error) {
	err = c.store.Repositories(ctx, func(name string) error {
		names = append(names, name)
		n, _, err := c.store.Repository(name).CountManifests(ctx)
		if err == nil {
			err = ctx.Err()
		}
		r.add(Progress{Found: 1, All: n})
		return err
	})
	if err != nil {
		return nil, err
	}
	const batch = 1000
	var stored map[string]bool
	for after := ""; ; {
		known, err := c.Repositories(ctx, nil, after, batch)
		if err != nil || len(known) == 0 {
			return names, err
		}
		if stored == nil {
			stored = make(map[string]bool, len(names))
			for _, name := range names {
				stored[name] = true
			}
		}
		for _, name := range known {
			if !stored[name] {
				names = append(names, name)
				r.add(Progress{Found: 1})
			}
		}
		after = known[len(known)-1]
	}
}
