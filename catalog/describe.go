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

// describe reads a stored manifest and all that the index keeps of it.
func (t *Tx) describe(ctx context.Context, d digest.Digest) (image.Description, error) {
	bytes, modified, err := t.stored().Manifest(ctx, d)
	if errors.Is(err, storage.ErrTooLarge) {
		return image.Description{Digest: d}, nil // it can be deleted, and that is all
	}
	if err != nil {
		return image.Description{}, err
	}
	m := image.Manifest{Digest: d, Bytes: bytes, Modified: modified}
	return image.Describe(ctx, m, content{t.stored()}, t.catalog.index)
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
