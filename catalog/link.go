package catalog

import (
	"cmp"
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/index"
)

// Link runs op, which links one blob in storage, and publishes what came of it:
// when it returns without an error, the next answer has it. op returns the
// blob's digest, also with an error if storage may have changed. An error of op
// is returned as it is. Blobs of one repository are linked side by side; only
// one that a manifest refers to already waits for a change that is open.
func (c *Catalog) Link(ctx context.Context, repository string, op func() (digest.Digest, error)) error {
	if err := c.dirty.enter(ctx, repository); err != nil {
		return failed("note the change of", repository, err)
	}
	defer c.dirty.leave(repository)
	dgst, opErr := op()
	if dgst == "" {
		return opErr
	}
	// What has happened in storage is published also if the client is gone.
	if err := c.relink(context.WithoutCancel(ctx), repository, dgst); err != nil {
		c.leaveBlob(repository, dgst)
		return cmp.Or(opErr, failed("index blob "+dgst.String()+" of", repository, err))
	}
	return opErr
}

// relink makes the index say of one blob what storage says.
func (c *Catalog) relink(ctx context.Context, repository string, dgst digest.Digest) error {
	change, err := c.linkChange(ctx, repository, dgst)
	// A blob that has just been healed may be about to be taken off the index, by
	// a change that has still seen it missing: it is looked at after that.
	healed := c.store.Settling(dgst)
	if err != nil || change == nil && !healed {
		return err
	}
	if !healed && len(change.Unlink) == 0 {
		err := c.index.Link(ctx, repository, change.Link)
		if !errors.Is(err, index.ErrReferenced) {
			return err
		}
	}
	tx, err := c.Begin(ctx, repository)
	if err != nil {
		return err
	}
	defer tx.Close()
	return tx.relink(ctx, dgst)
}

// relink does the same within a change, and describes the manifests that refer
// to the blob again.
func (t *Tx) relink(ctx context.Context, dgst digest.Digest) error {
	change, err := t.catalog.linkChange(ctx, t.lease.Repository, dgst)
	if err != nil || change == nil {
		return err
	}
	referring, err := t.catalog.index.Referring(ctx, t.lease.Repository, dgst)
	if err != nil {
		return err
	}
	p := publication{tx: t, last: *change}
	return p.describeAll(ctx, referring, "")
}

// linkChange is what the index must be told of a blob, nil for nothing.
func (c *Catalog) linkChange(ctx context.Context, repository string, dgst digest.Digest) (*index.Update, error) {
	was, known, err := c.index.Linked(ctx, repository, dgst)
	if err != nil {
		return nil, err
	}
	size, err := c.store.Repository(repository).Size(ctx, dgst)
	if err == nil && known && was != size {
		size, err = c.resized(ctx, repository, dgst)
	}
	switch {
	case notFound(err) && known:
		return &index.Update{Unlink: []digest.Digest{dgst}}, nil
	case notFound(err):
		return nil, nil
	case err != nil:
		return nil, err
	case known && was == size:
		return nil, nil
	}
	return &index.Update{Link: map[digest.Digest]int64{dgst: size}}, nil
}
