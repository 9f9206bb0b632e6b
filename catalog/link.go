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
// is returned as it is. reservation, if it is not "", is what was set aside for
// the blob in the namespace (see [index.Index] Reserve); it ends in the instant in
// which the blob counts. Blobs of one repository are linked side by side; only
// one that a manifest refers to already waits for a change that is open.
func (c *Catalog) Link(ctx context.Context, repository, reservation string, op func() (digest.Digest, error)) error {
	if err := c.dirty.enter(ctx, repository); err != nil {
		return failed("note the change of", repository, err)
	}
	defer c.dirty.leave(repository)
	dgst, opErr := op()
	if dgst == "" {
		return opErr
	}
	// What has happened in storage is published also if the client is gone.
	if err := c.relink(context.WithoutCancel(ctx), repository, dgst, reservation); err != nil {
		c.leaveBlob(repository, dgst)
		return cmp.Or(opErr, failed("index blob "+dgst.String()+" of", repository, err))
	}
	return opErr
}

// relink makes the index say of one blob what storage says. One that is linked
// already has come again, and counts again if it did not.
func (c *Catalog) relink(ctx context.Context, repository string, dgst digest.Digest, reservation string) error {
	if c.store.Settling(dgst) {
		// A blob that has just been healed may be about to be taken off the index,
		// by a change that has still seen it missing: it is looked at after that.
		if err := c.relinkAlone(ctx, repository, dgst, ""); err != nil {
			return err
		}
	}
	change, _, err := c.linkChange(ctx, repository, dgst)
	if err != nil {
		return err
	}
	if len(change.Link) > 0 {
		err := c.index.Link(ctx, repository, change.Link, reservation)
		if !errors.Is(err, index.ErrReferenced) {
			return err
		}
	}
	if len(change.Link)+len(change.Unlink) == 0 {
		return nil
	}
	return c.relinkAlone(ctx, repository, dgst, reservation)
}

// relinkAlone does the same within a change of its own.
func (c *Catalog) relinkAlone(ctx context.Context, repository string, dgst digest.Digest, reservation string) error {
	tx, err := c.Begin(ctx, repository)
	if err != nil {
		return err
	}
	defer tx.Close()
	return tx.relink(ctx, dgst, reservation)
}

// relink makes the index say of one blob what storage says, and describes the
// manifests that refer to the blob again. It leaves alone what the index says already.
func (t *Tx) relink(ctx context.Context, dgst digest.Digest, reservation string) error {
	change, known, err := t.catalog.linkChange(ctx, t.lease.Repository, dgst)
	if err != nil || known {
		return err
	}
	referring, err := t.catalog.index.Referring(ctx, t.lease.Repository, dgst)
	if err != nil {
		return err
	}
	change.Reservation = reservation
	p := publication{tx: t, last: change}
	return p.describeAll(ctx, referring, "")
}

// linkChange is what the index must be told of a blob, and whether it says so
// already.
func (c *Catalog) linkChange(ctx context.Context, repository string, dgst digest.Digest) (change index.Update, known bool, err error) {
	was, linked, err := c.index.Linked(ctx, repository, dgst)
	if err != nil {
		return change, false, err
	}
	size, err := c.store.Repository(repository).Size(ctx, dgst)
	if err == nil && known && was != size {
		size, err = c.resized(ctx, repository, dgst)
	}
	switch {
	case notFound(err) && linked:
		change.Unlink = []digest.Digest{dgst}
		return change, false, nil
	case notFound(err):
		return change, true, nil
	case err != nil:
		return change, false, err
	}
	change.Link = map[digest.Digest]int64{dgst: size}
	return change, linked && was == size, nil
}
