package registry

import (
	"context"
	"errors"

	"github.com/distribution/distribution/v3"
	storagelib "github.com/distribution/distribution/v3/registry/storage"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage"
)

// Blobs under other digests than the canonical one ("Digests" in the image
// specification). distribution stores a blob under its sha256 and links it under
// the digest that it was pushed by too, but answers with the former, and a mount
// by another digest makes a link that points to itself. Here the client gets
// what it named, on every path.

// Stat describes a blob under the digest in the request.
func (h hookedBlobs) Stat(ctx context.Context, dgst digest.Digest) (distribution.Descriptor, error) {
	desc, err := h.BlobStore.Stat(ctx, dgst)
	desc.Digest = dgst
	return desc, err
}

// canonicalMount asks for a mount under the canonical digest, or for a plain
// upload if the source does not have the blob.
func (h hookedBlobs) canonicalMount(ctx context.Context, from reference.Canonical) ([]distribution.BlobCreateOption, error) {
	canonical, err := h.registry.store.Repository(from.Name()).Canonical(ctx, from.Digest())
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	source, err := reference.WithDigest(reference.TrimNamed(from), canonical)
	if err != nil {
		return nil, err
	}
	return []distribution.BlobCreateOption{storagelib.WithMountFrom(source)}, nil
}

// alias links a blob under another digest of its bytes.
func (h hookedBlobs) alias(ctx context.Context, alias, canonical digest.Digest) error {
	return h.named(ctx, alias, func() (digest.Digest, error) {
		return alias, h.registry.store.LinkBlob(ctx, h.repository, alias, canonical)
	})
}

// show lets the index know a link that is there already.
func (h hookedBlobs) show(ctx context.Context, dgst digest.Digest) error {
	return h.named(ctx, dgst, func() (digest.Digest, error) { return dgst, nil })
}

// named lets link give a blob another digest, if there is room for it.
func (h hookedBlobs) named(ctx context.Context, alias digest.Digest, link func() (digest.Digest, error)) error {
	key, err := h.holdLink(ctx, alias, storage.MinCounted)
	if err != nil {
		return err
	}
	defer func() { _ = h.registry.quotas.released(ctx, h.namespace(), key) }()
	return h.registry.catalog.Link(ctx, h.repository, key, link)
}
