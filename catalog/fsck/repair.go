package fsck

import (
	"context"
	"errors"
	"slices"

	"github.com/berth-oci/berth/storage"
)

// repair mends what is wrong with a repository, and returns what was wrong, with
// what has become of it.
func (c *check) repair(ctx context.Context, name string, found []Finding) ([]Finding, error) {
	for i, f := range found {
		if f.Kind != BytesDamaged {
			continue
		}
		if _, err := c.Store.Examine(ctx, f.Digest, storage.ByFsck); err != nil && !errors.Is(err, storage.ErrNotFound) {
			return nil, err
		}
		found[i].Done = quarantined
	}
	var done []Finding
	err := c.Catalog.Alone(ctx, name, func() (err error) {
		done, err = c.mend(ctx, name)
		return err
	})
	for _, f := range done {
		at := slices.IndexFunc(found, func(other Finding) bool {
			return f.Kind == other.Kind && f.Digest == other.Digest && f.Tag == other.Tag
		})
		if at < 0 {
			found = append(found, f)
		} else {
			found[at].Done = f.Done
		}
	}
	left := found
	for _, remake := range []func(context.Context, string) error{c.Catalog.Reread, c.Catalog.Remake} {
		if err == nil && (len(done) > 0 || slices.ContainsFunc(left, Finding.InIndex)) {
			err = remake(ctx, name)
			if err == nil {
				done = nil
				left, err = c.look(ctx, name)
			}
		}
	}
	if err != nil {
		return nil, err
	}
	for i, f := range found {
		if f.InIndex() && !slices.ContainsFunc(left, f.same) {
			found[i].Done = mended
		}
	}
	return found, nil
}

// mend mends the flaws of a repository, and what comes of that: a tag may have
// lost what it points to.
func (c *check) mend(ctx context.Context, name string) (done []Finding, err error) {
	const rounds = 3
	for range rounds {
		flaws, err := c.store.Repository(name).Flaws(ctx)
		if err != nil {
			return done, err
		}
		again := false
		for i, f := range c.findingsOf(flaws) {
			isMended, isMoved, err := c.Store.Mend(ctx, flaws[i])
			switch {
			case err != nil:
				return done, err
			case isMended:
				f.Done = mended
			case isMoved:
				f.Done = quarantined
			default:
				continue
			}
			done, again = append(done, f), true
		}
		if !again {
			break
		}
	}
	return done, nil
}
