package images

import (
	"context"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/registry/budget"
)

// readBytes is what images take, roughly, while they are read: an image may be
// several MiB, and a batch is hardly more.
const readBytes = 2 << 20

// bounded is a catalog of which no more is read at a time than there is room
// for.
type bounded struct {
	Catalog
	memory *budget.Memory
}

func (b bounded) Entry(ctx context.Context, repository string, dgst digest.Digest) (e index.Entry, err error) {
	free, err := b.memory.Work(ctx, readBytes)
	if err != nil {
		return e, err
	}
	defer free()
	return b.Catalog.Entry(ctx, repository, dgst)
}

func (b bounded) Tagged(ctx context.Context, repository, tag string) (e index.Entry, err error) {
	free, err := b.memory.Work(ctx, readBytes)
	if err != nil {
		return e, err
	}
	defer free()
	return b.Catalog.Tagged(ctx, repository, tag)
}

func (b bounded) ByUUID(ctx context.Context, id uuid.UUID, within []string) (e index.Entry, err error) {
	free, err := b.memory.Work(ctx, readBytes)
	if err != nil {
		return e, err
	}
	defer free()
	return b.Catalog.ByUUID(ctx, id, within)
}

func (b bounded) ByDigest(ctx context.Context, dgst digest.Digest, within []string, after string, n int) ([]index.Entry, error) {
	free, err := b.memory.Work(ctx, readBytes)
	if err != nil {
		return nil, err
	}
	defer free()
	return b.Catalog.ByDigest(ctx, dgst, within, after, n)
}

func (b bounded) Listed(ctx context.Context, repository string, digests []digest.Digest) ([]index.Entry, error) {
	free, err := b.memory.Work(ctx, readBytes)
	if err != nil {
		return nil, err
	}
	defer free()
	return b.Catalog.Listed(ctx, repository, digests)
}

func (b bounded) List(ctx context.Context, q index.Query, after index.Cursor, n int) ([]index.Entry, index.Cursor, error) {
	free, err := b.memory.Work(ctx, readBytes)
	if err != nil {
		return nil, "", err
	}
	defer free()
	return b.Catalog.List(ctx, q, after, n)
}
