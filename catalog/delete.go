package catalog

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage"
)

// Delete deletes a manifest, by any of its digests, with the tags that point to
// it and every manifest below it that nothing else holds, no tag and no other
// index. It returns storage.ErrNotFound if the manifest is not there.
func (c *Catalog) Delete(ctx context.Context, repository string, dgst digest.Digest) error {
	return c.remove(ctx, repository, func(ctx context.Context, tx *Tx) (storage.Intent, error) {
		return tx.planDelete(ctx, dgst)
	})
}

// Untag deletes a tag. It returns storage.ErrNotFound if there is none.
func (c *Catalog) Untag(ctx context.Context, repository, tag string) error {
	return c.remove(ctx, repository, func(ctx context.Context, tx *Tx) (storage.Intent, error) {
		d, err := tx.target(ctx, tag)
		return storage.Intent{Untag: []string{tag}, Touch: []digest.Digest{d}}, err
	})
}

// Clear deletes every manifest and tag of a repository, all at once. It returns
// storage.ErrNotFound if there is none.
func (c *Catalog) Clear(ctx context.Context, repository string) error {
	return c.remove(ctx, repository, func(ctx context.Context, tx *Tx) (storage.Intent, error) {
		state, err := c.index.State(ctx, repository)
		if err == nil && len(state.Tags)+len(state.Manifests) == 0 {
			err = storage.ErrNotFound
		}
		return storage.Intent{
			Untag:  slices.Sorted(maps.Keys(state.Tags)),
			Delete: append(slices.Sorted(maps.Keys(state.Aliases)), slices.Sorted(maps.Keys(state.Manifests))...),
		}, err
	})
}

// Unlink takes a blob out of a repository with all its digests, whichever is
// named: what is deleted is the bytes. It returns storage.ErrNotFound if the
// repository does not have it.
func (c *Catalog) Unlink(ctx context.Context, repository string, dgst digest.Digest) error {
	return c.remove(ctx, repository, func(ctx context.Context, tx *Tx) (storage.Intent, error) {
		canonical, err := tx.stored().Canonical(ctx, dgst)
		if err != nil {
			return storage.Intent{}, err
		}
		aliases, err := tx.stored().BlobAliases(ctx, canonical)
		return storage.Intent{Unlink: append(aliases, canonical)}, err
	})
}

// remove does a deletion that is planned once the repository is taken.
func (c *Catalog) remove(ctx context.Context, repository string, plan func(context.Context, *Tx) (storage.Intent, error)) error {
	tx, err := c.Begin(ctx, repository)
	if err != nil {
		return err
	}
	defer tx.Close()
	intent, err := plan(ctx, tx)
	if err != nil {
		return err
	}
	return tx.remove(ctx, intent)
}

func (t *Tx) planDelete(ctx context.Context, dgst digest.Digest) (storage.Intent, error) {
	x, repository := t.catalog.index, t.lease.Repository
	var plan storage.Intent
	dgst, err := x.Canonical(ctx, repository, dgst)
	if err != nil {
		return plan, err
	}
	if plan.Untag, err = x.Tags(ctx, repository, dgst); err != nil {
		return plan, err
	}
	plan.Delete = []digest.Digest{dgst}
	leaving := map[digest.Digest]bool{dgst: true}
	for i := 0; i < len(plan.Delete); i++ {
		children, err := x.Children(ctx, repository, plan.Delete[i])
		if err != nil {
			return plan, err
		}
		for _, child := range children {
			if leaving[child] {
				continue
			}
			held, err := t.held(ctx, child, leaving)
			if err != nil {
				return plan, err
			}
			if !held {
				leaving[child] = true
				plan.Delete = append(plan.Delete, child)
			}
		}
	}
	return t.withAliases(ctx, plan)
}

// withAliases adds the other digests of what is deleted: they go first, so that
// none is left without what it stands for.
func (t *Tx) withAliases(ctx context.Context, plan storage.Intent) (storage.Intent, error) {
	var all []digest.Digest
	for _, d := range plan.Delete {
		aliases, err := t.catalog.index.Aliases(ctx, t.lease.Repository, d)
		if err != nil {
			return plan, err
		}
		all = append(append(all, aliases...), d)
	}
	plan.Delete = all
	return plan, nil
}

// held reports whether a manifest has a tag, or an index that stays.
func (t *Tx) held(ctx context.Context, dgst digest.Digest, leaving map[digest.Digest]bool) (bool, error) {
	tags, err := t.catalog.index.Tags(ctx, t.lease.Repository, dgst)
	if err != nil || len(tags) > 0 {
		return true, err
	}
	parents, err := t.catalog.index.Parents(ctx, t.lease.Repository, dgst)
	return slices.ContainsFunc(parents, func(p digest.Digest) bool { return !leaving[p] }), err
}

// notFound reports whether an error says that nothing is there.
func notFound(err error) bool { return errors.Is(err, storage.ErrNotFound) }
