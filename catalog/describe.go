package catalog

import (
	"context"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/storage"
)

// stored is the repository in storage.
func (t *Tx) stored() storage.Repository { return t.catalog.store.Repository(t.lease.Repository) }

// describe reads a stored manifest and all that the index keeps of it; in says
// what is known of its blobs.
func (t *Tx) describe(ctx context.Context, d digest.Digest, in image.Content) (image.Description, error) {
	bytes, modified, err := t.stored().Manifest(ctx, d)
	if errors.Is(err, storage.ErrTooLarge) {
		return image.Description{Digest: d}, nil // it can be deleted, and that is all
	}
	if err != nil {
		return image.Description{}, err
	}
	m := image.Manifest{Digest: d, Bytes: bytes, Modified: modified}
	return image.Describe(ctx, m, in, t.catalog.index)
}

// content lets Describe read a repository in storage.
type content struct{ repository storage.Repository }

// Size implements image.Content.
func (c content) Size(ctx context.Context, d digest.Digest) (int64, error) {
	return c.repository.Size(ctx, d)
}

// Open implements image.Content.
func (c content) Open(ctx context.Context, d digest.Digest) (io.ReadSeekCloser, error) {
	return c.repository.Open(ctx, d)
}

// sizedContent is content whose sizes the Tx has asked for, or asks for.
type sizedContent struct {
	content
	tx *Tx
}

// Size implements image.Content.
func (c sizedContent) Size(ctx context.Context, d digest.Digest) (int64, error) {
	return c.tx.Size(ctx, d)
}

// linkedContent is content where the index says already of every link what storage
// says, so that it need not be asked again.
type linkedContent struct{ tx *Tx }

// Size implements image.Content.
func (c linkedContent) Size(ctx context.Context, d digest.Digest) (int64, error) {
	size, err := c.linked(ctx, d)
	if size == 0 && err == nil {
		return c.tx.stored().Size(ctx, d)
	}
	return size, err
}

// linked is the size of a blob, 0 if the index does not know.
func (c linkedContent) linked(ctx context.Context, d digest.Digest) (int64, error) {
	size, _, err := c.tx.catalog.index.Linked(ctx, c.tx.lease.Repository, d)
	return size, err
}

// Open implements image.Content.
func (c linkedContent) Open(ctx context.Context, d digest.Digest) (io.ReadSeekCloser, error) {
	size, err := c.linked(ctx, d)
	if err != nil {
		return nil, err
	}
	if size == 0 || d.Algorithm() != digest.Canonical {
		return c.tx.stored().Open(ctx, d)
	}
	f, _, err := c.tx.catalog.store.Content().Open(ctx, d)
	return f, err
}
