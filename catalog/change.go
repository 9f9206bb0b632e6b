package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
)

// Change is one change of one repository, from before storage is touched until
// it is shown. While it is open no other change of the repository happens.
// It is used by one goroutine.
type Change struct {
	catalog    *Catalog
	repository string
	unlock     func()
	intent     *storage.Intent // noted, and not shown yet
}

// Begin waits until the repository is free, and takes it. The caller closes
// the change in any case.
func (c *Catalog) Begin(ctx context.Context, repository string) (*Change, error) {
	unlock, err := c.locks.lock(ctx, repository)
	if err != nil {
		return nil, err
	}
	if err := c.repair(ctx, repository); err != nil {
		unlock()
		return nil, err
	}
	return &Change{catalog: c, repository: repository, unlock: unlock}, nil
}

// Intend notes what is about to happen. Storage may be touched once it has
// returned without an error.
func (ch *Change) Intend(ctx context.Context, s storage.Intent) error {
	s.Repository = ch.repository
	if err := ch.catalog.index.Begin(ctx, s); err != nil {
		return fmt.Errorf("note the change of %s: %w", ch.repository, err)
	}
	ch.intent = &s
	return nil
}

// Commit shows what was intended: when it returns without an error, the next
// answer has it.
func (ch *Change) Commit(ctx context.Context) error {
	if ch.intent == nil {
		return errors.New("nothing to commit")
	}
	update, err := ch.catalog.update(ctx, *ch.intent)
	if err == nil {
		err = ch.catalog.index.Apply(ctx, update)
	}
	if err != nil {
		return fmt.Errorf("index the change of %s: %w", ch.repository, err)
	}
	ch.intent = nil
	return nil
}

// Hide takes off the index what the change is about to untag and delete, before
// it is deleted: whatever the index shows is there. Commit follows once it is.
func (ch *Change) Hide(ctx context.Context) error {
	if ch.intent == nil {
		return errors.New("nothing to hide")
	}
	hiding := storage.Intent{Repository: ch.repository, Untag: ch.intent.Untag, Delete: ch.intent.Delete}
	update, err := ch.catalog.update(ctx, hiding)
	if err == nil {
		update.Done = false
		err = ch.catalog.index.Apply(ctx, update)
	}
	if err != nil {
		return fmt.Errorf("index the change of %s: %w", ch.repository, err)
	}
	return nil
}

// Close ends the change. One that was intended and not committed may have
// happened, or half of it: it is completed, and the repository read again,
// before the next answer.
func (ch *Change) Close() {
	if ch.intent != nil {
		ch.catalog.setStale(*ch.intent)
	}
	ch.unlock()
}

// Deletion plans the deletion of a manifest, by any of its digests: the tags that point to it, and
// every manifest below it that nothing else holds, no tag and no other index.
// It returns ErrNotFound if the manifest is not there.
func (ch *Change) Deletion(ctx context.Context, dgst digest.Digest) (storage.Intent, error) {
	plan := storage.Intent{Repository: ch.repository}
	index := ch.catalog.index
	dgst, err := index.Canonical(ctx, ch.repository, dgst)
	if err != nil {
		return plan, err
	}
	if plan.Untag, err = index.Tags(ctx, ch.repository, dgst); err != nil {
		return plan, err
	}
	plan.Delete = []digest.Digest{dgst}
	leaving := map[digest.Digest]bool{dgst: true}
	for i := 0; i < len(plan.Delete); i++ {
		_, children, err := index.Relatives(ctx, ch.repository, plan.Delete[i])
		if err != nil {
			return plan, err
		}
		for _, child := range children {
			held, err := ch.held(ctx, child, leaving)
			if err != nil {
				return plan, err
			}
			if !held && !leaving[child] {
				leaving[child] = true
				plan.Delete = append(plan.Delete, child)
			}
		}
	}
	return ch.withAliases(ctx, plan)
}

// withAliases adds the other digests of what is deleted: they go first, so that
// none is left without what it stands for.
func (ch *Change) withAliases(ctx context.Context, plan storage.Intent) (storage.Intent, error) {
	var all []digest.Digest
	for _, d := range plan.Delete {
		aliases, err := ch.catalog.index.Aliases(ctx, ch.repository, d)
		if err != nil {
			return plan, err
		}
		all = append(append(all, aliases...), d)
	}
	plan.Delete = all
	return plan, nil
}

// Untagging plans the deletion of a tag. It returns ErrNotFound if there
// is no such tag.
func (ch *Change) Untagging(ctx context.Context, tag string) (storage.Intent, error) {
	_, err := ch.catalog.index.Tag(ctx, ch.repository, tag)
	return storage.Intent{Repository: ch.repository, Untag: []string{tag}}, err
}

// held says whether a manifest has a tag, or an index that stays.
func (ch *Change) held(ctx context.Context, dgst digest.Digest, leaving map[digest.Digest]bool) (bool, error) {
	tags, err := ch.catalog.index.Tags(ctx, ch.repository, dgst)
	if err != nil || len(tags) > 0 {
		return true, err
	}
	parents, _, err := ch.catalog.index.Relatives(ctx, ch.repository, dgst)
	return slices.ContainsFunc(parents, func(p digest.Digest) bool {
		return !leaving[p]
	}), err
}

// Blob runs op, which links one blob in storage, and shows what came of it. op
// returns the blob's digest, also with an error if storage may have changed. An
// error of op is returned as it is. Blobs of one repository are linked side by
// side; only showing it waits for a change that is open.
func (c *Catalog) Blob(ctx context.Context, repository string, op func() (digest.Digest, error)) error {
	return c.blob(ctx, repository, op, func(ctx context.Context, dgst digest.Digest) error {
		unlock, err := c.locks.lock(ctx, repository)
		if err != nil {
			return err
		}
		defer unlock()
		return c.relink(ctx, repository, dgst)
	})
}

// Blob does the same within the change, so that no manifest that refers to the
// blob comes meanwhile: it is how a blob is unlinked.
func (ch *Change) Blob(ctx context.Context, op func() (digest.Digest, error)) error {
	return ch.catalog.blob(ctx, ch.repository, op, func(ctx context.Context, dgst digest.Digest) error {
		return ch.catalog.relink(ctx, ch.repository, dgst)
	})
}

func (c *Catalog) blob(ctx context.Context, repository string, op func() (digest.Digest, error), show func(context.Context, digest.Digest) error) error {
	if err := c.touched.enter(ctx, repository); err != nil {
		return fmt.Errorf("note the change of %s: %w", repository, err)
	}
	defer c.touched.leave(repository)
	dgst, failed := op()
	if dgst == "" {
		return failed
	}
	// What has happened in storage is shown also if the client is gone.
	if err := show(context.WithoutCancel(ctx), dgst); err != nil {
		c.setStale(storage.Intent{Repository: repository})
		return cmp.Or(failed, fmt.Errorf("index blob %s of %s: %w", dgst, repository, err))
	}
	return failed
}

// relink makes the index say of one blob what storage says, and describes the
// manifests that refer to it again. The caller holds the repository's lock.
func (c *Catalog) relink(ctx context.Context, repository string, dgst digest.Digest) error {
	was, known, err := c.index.Linked(ctx, repository, dgst)
	if err != nil {
		return err
	}
	size, err := c.store.Repository(repository).Size(ctx, dgst)
	there := err == nil
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	if there == known && size == was {
		return nil
	}
	u := index.Update{Repository: repository}
	if there {
		u.Link = map[digest.Digest]int64{dgst: size}
	} else {
		u.Unlink = []digest.Digest{dgst}
	}
	referring, err := c.index.Referring(ctx, repository, dgst)
	if err != nil {
		return err
	}
	if u.Put, err = c.describe(ctx, repository, referring, nil); err != nil {
		return err
	}
	return c.index.Apply(ctx, u)
}
