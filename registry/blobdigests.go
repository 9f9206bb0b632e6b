package registry

import (
	"context"

	"github.com/distribution/distribution/v3"
	"github.com/opencontainers/go-digest"
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
