package fsck

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog"
	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
	"github.com/berth-oci/berth/storage/reference"
)

// Options say what to check, and how.
type Options struct {
	Store   *storage.Store
	Index   index.Index
	Catalog *catalog.Catalog // of both
	// Another calls fn with another index, which is empty, and removes it after.
	Another func(fn func(index.Index) error) error

	// Deep reads every blob; Pace, unless it is nil, is called after so many bytes
	// of one, and its error ends the check.
	Deep bool
	Pace func(bytes int) error
	// Repair mends, and moves into quarantine what cannot be mended.
	Repair bool

	// Found and Progress are told as it goes, one call at a time.
	Found    func(Finding)
	Progress func(Summary)
	Log      *slog.Logger
}

// check is one run.
type check struct {
	Options
	store   *storage.Store // as it is looked at: that changes nothing
	should  index.Index
	model   *catalog.Catalog
	summary Summary
	linked  map[digest.Digest]struct{} // by any repository
	spaces  map[string]bool            // the namespaces
}

// Run checks storage and index, and returns what it counted. An error means that
// it did not come to its end.
func Run(ctx context.Context, o Options) (Summary, error) {
	c := &check{
		Options: o, store: o.Store.Observing(), summary: Summary{Kinds: map[Kind]int{}},
		linked: map[digest.Digest]struct{}{}, spaces: map[string]bool{},
	}
	err := o.Another(func(x index.Index) error {
		c.should, c.model = x, catalog.New(x, c.store, slog.New(slog.DiscardHandler))
		return errors.Join(c.run(ctx), c.model.Close())
	})
	return c.summary, err
}

func (c *check) run(ctx context.Context) error {
	before, err := c.Index.Stats(ctx)
	if err != nil {
		return err
	}
	if c.Repair {
		err := c.Store.Restore(ctx, func(d digest.Digest) {
			c.tell(Finding{Kind: Quarantined, Digest: d, Detail: "the bytes are right", Done: mended})
		})
		if err != nil {
			return err
		}
	}
	names, err := c.repositories(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := c.repository(ctx, name); err != nil {
			return err
		}
		c.summary.Repositories++
		c.Progress(c.summary)
	}
	if err := c.blobs(ctx); err != nil {
		return err
	}
	return c.whole(ctx, names, before)
}

// repositories are those of storage and index.
func (c *check) repositories(ctx context.Context) (names []string, err error) {
	err = c.store.Repositories(ctx, func(name string) error {
		names = append(names, name)
		return ctx.Err()
	})
	const batch = 1000
	for after := ""; err == nil; {
		var more []string
		if more, err = c.Index.Repositories(ctx, nil, after, batch); len(more) == 0 {
			break
		}
		names = append(names, more...)
		after = more[len(more)-1]
	}
	slices.Sort(names)
	return slices.Compact(names), err
}

func (c *check) tell(f Finding) {
	c.summary.count(f)
	c.Found(f)
}

// A blob is linked in storage before the index has it: what looks wrong is looked
// at so many times, so far apart, before it is told.
const looks = 5

var recess = 100 * time.Millisecond // shorter in tests, where nobody pushes

// repository checks one, mends it if it is to be, and tells.
func (c *check) repository(ctx context.Context, name string) error {
	found, err := c.look(ctx, name)
	if err == nil && len(found) > 0 {
		found, err = c.confirm(ctx, name, found)
	}
	if err == nil && len(found) > 0 && c.Repair {
		found, err = c.repair(ctx, name, found)
	}
	if err != nil {
		return err
	}
	for _, f := range found {
		c.tell(f)
	}
	state, err := c.should.State(ctx, name)
	if err != nil {
		return err
	}
	c.summary.Manifests += len(state.Manifests)
	for d := range state.Manifests {
		c.linked[d] = struct{}{}
	}
	for d := range state.Links {
		c.linked[d] = struct{}{}
	}
	c.spaces[reference.Namespace(name)] = true
	return nil
}

// confirm looks again, while nobody changes the repository.
func (c *check) confirm(ctx context.Context, name string, found []Finding) ([]Finding, error) {
	err := c.Catalog.Alone(ctx, name, func() error {
		for range looks {
			again, err := c.look(ctx, name)
			if err != nil {
				return err
			}
			if found = both(found, again); len(found) == 0 {
				return nil
			}
			select {
			case <-time.After(recess):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	return found, err
}

// look returns what is wrong with a repository at the moment.
func (c *check) look(ctx context.Context, name string) ([]Finding, error) {
	flaws, err := c.store.Repository(name).Flaws(ctx)
	if err != nil {
		return nil, err
	}
	found := c.findingsOf(flaws)
	subjects, damaged, err := c.manifests(ctx, name, flaws)
	if err != nil {
		return nil, err
	}
	found = append(found, damaged...)
	if err := c.model.Reread(ctx, name); err != nil {
		return nil, err
	}
	differences, err := compare(ctx, c.Index, c.should, name, subjects)
	return append(found, differences...), err
}

func (c *check) findingsOf(flaws []storage.Flaw) (found []Finding) {
	for _, f := range flaws {
		one := Finding{Kind: Kind(f.Kind), Repository: f.Repository, Digest: f.Digest, Tag: f.Tag}
		if one.Kind == BytesMissing && c.Store.Quarantined(f.Target) {
			one.Kind = Quarantined
		}
		found = append(found, one)
	}
	return found
}

// manifests reads those of a repository, and returns what they have as subjects,
// and which are damaged.
func (c *check) manifests(ctx context.Context, name string, flaws []storage.Flaw) (subjects []digest.Digest, found []Finding, err error) {
	r := c.store.Repository(name)
	all, _, err := r.Manifests(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, d := range all {
		if slices.ContainsFunc(flaws, func(f storage.Flaw) bool { return f.Digest == d }) {
			continue // that is told already
		}
		content, _, err := r.Manifest(ctx, d)
		switch {
		case errors.Is(err, storage.ErrDamaged):
			found = append(found, Finding{Kind: BytesDamaged, Repository: name, Digest: d, Detail: "a manifest"})
			continue
		case errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrTooLarge):
			continue // gone meanwhile, or another registry has stored it
		case err != nil:
			return nil, nil, err
		}
		if document, err := image.Parse(content); err == nil && document.Subject != "" && !slices.Contains(subjects, document.Subject) {
			subjects = append(subjects, document.Subject)
		}
		if !slices.Contains(subjects, d) {
			subjects = append(subjects, d) // nothing may refer to it that does not
		}
	}
	return subjects, found, nil
}

// blobs looks through all that is stored, for what nobody links and, if it is to
// be read, for what is damaged.
func (c *check) blobs(ctx context.Context) error {
	return c.store.Blobs(ctx, "", func(d digest.Digest) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		c.summary.Blobs++
		if _, linked := c.linked[d]; !linked {
			_, err := c.store.Content().Stat(ctx, d) // a folder may be left of what is gone
			switch {
			case err == nil:
				c.tell(Finding{Kind: Unlinked, Digest: d})
			case !errors.Is(err, storage.ErrNotFound):
				return err
			}
		}
		if !c.Deep {
			return nil
		}
		store := c.store
		if c.Repair {
			store = c.Store
		}
		size, err := store.ExamineWith(ctx, d, storage.ByFsck, c.Pace)
		c.summary.Bytes += size
		c.Progress(c.summary)
		switch {
		case errors.Is(err, storage.ErrDamaged):
			return c.damaged(ctx, d)
		case errors.Is(err, storage.ErrNotFound):
			return nil // gone meanwhile
		}
		return err
	})
}

// damaged tells of a blob for every repository that has it.
func (c *check) damaged(ctx context.Context, d digest.Digest) error {
	holders, err := c.store.Holding(ctx, d)
	if err != nil {
		return err
	}
	if len(holders) == 0 {
		holders = []string{""}
	}
	f := Finding{Kind: BytesDamaged, Digest: d, Detail: "a blob"}
	if c.Repair {
		f.Done = quarantined
		// The process may end before the background has come to it.
		if err := c.Catalog.SettleDamage(ctx, d); err != nil {
			return err
		}
	}
	for _, f.Repository = range holders {
		c.tell(f)
	}
	return nil
}

// whole compares what concerns no single repository, unless something has
// changed meanwhile.
func (c *check) whole(ctx context.Context, names []string, before index.Stats) error {
	found, err := sums(ctx, c.Index, c.should, c.spaces)
	for range looks {
		if err != nil || len(found) == 0 {
			return err
		}
		var again []Finding
		if again, err = c.anew(ctx, names); err == nil {
			found = both(found, again)
		}
	}
	if err != nil {
		return err
	}
	if after, err := c.Index.Stats(ctx); err != nil || after != before && !c.Repair {
		return err
	}
	for _, f := range found {
		c.tell(f)
	}
	return nil
}

// anew reads everything again a little later, and compares what concerns no single
// repository.
func (c *check) anew(ctx context.Context, names []string) ([]Finding, error) {
	select {
	case <-time.After(recess):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for _, name := range names {
		if err := c.model.Reread(ctx, name); err != nil {
			return nil, err
		}
	}
	return sums(ctx, c.Index, c.should, c.spaces)
}
