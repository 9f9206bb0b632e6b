package image

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage"
)

// maxROMs is how many ROMs are listed of an image, over all its platforms. Like
// every bound here it is above what a real image needs, and does not depend on
// what a [LayerCache] happens to hold: the same content gives the same
// description on an empty index and on a warm one.
const maxROMs = 4096

// Describe reads a manifest and says all that the index keeps of it: which
// manifests and blobs it refers to, and, where any of its layers is a kernel,
// an initrd or a ROM, the unikernel image that it is. What the manifests of an
// index are is not looked at: [Compose] makes an image of their descriptions.
//
// The result depends on m and on what content holds, and on nothing else.
// memory only saves work and may be nil. The caller bounds m.Bytes (4 MiB, as
// the registry does); every other read is bounded here.
//
// Whatever is wrong with the bytes gives empty fields and never an error: they
// are stored and served like any other content. Describe returns an error only
// if content failed with one that does not wrap [storage.ErrNotFound], or if
// ctx has ended; nothing can be concluded about the manifest then.
//
// Manifests are read as the OCI image specification 1.1 and Docker's image
// manifest version 2, schema 2 define them, and with the same tolerance as
// the distribution library shows when it verifies a push.
func Describe(ctx context.Context, m Manifest, content Content, memory LayerCache) (Description, error) {
	desc := Description{Digest: m.Digest, Size: int64(len(m.Bytes))}
	if err := ctx.Err(); err != nil {
		return Description{}, fmt.Errorf("describing %s: %w", m.Digest, err)
	}
	doc := m.document()
	if !doc.object {
		return desc, nil
	}
	d := newDescriber(content, memory)
	if err := d.describe(ctx, m, doc, &desc); err != nil {
		return Description{}, fmt.Errorf("describing %s: %w", m.Digest, err)
	}
	return desc, nil
}

// describer is one run of [Describe]: what it reads from, what it may still
// read, and what it has read already.
type describer struct {
	content Content
	memory  LayerCache

	roms int

	sizes  map[digest.Digest]blobSize
	looked map[digest.Digest]findings
}

type blobSize struct {
	bytes  int64
	stored bool
}

func newDescriber(content Content, memory LayerCache) *describer {
	return &describer{
		content: content,
		memory:  memory,
		roms:    maxROMs,
		sizes:   make(map[digest.Digest]blobSize),
		looked:  make(map[digest.Digest]findings),
	}
}

// describe fills desc from a manifest that could be parsed.
func (d *describer) describe(ctx context.Context, m Manifest, doc Document, desc *Description) error {
	kind := doc.kind()
	desc.MediaType = doc.MediaType()
	if kind != kindManifest {
		desc.Children = digests(doc.Manifests)
	}
	if kind != kindIndex {
		blobs, err := d.blobs(ctx, doc)
		if err != nil {
			return err
		}
		desc.Blobs = blobs
	}
	if desc.Subject = doc.Subject; desc.Subject != "" {
		desc.ArtifactType, desc.Annotations = doc.Referrer()
	}
	desc.Modified = m.Modified
	switch kind {
	case kindManifest:
		return d.image(ctx, doc, desc)
	case kindIndex:
		desc.Created, desc.Members = created(doc.created), membersOf(doc)
	case kindOther:
	}
	return nil
}

// blobs lists the config and the layers, each once.
func (d *describer) blobs(ctx context.Context, doc Document) ([]Blob, error) {
	var blobs []Blob
	for _, dgst := range doc.BlobDigests() {
		size, err := d.size(ctx, dgst)
		if err != nil {
			return nil, err
		}
		blobs = append(blobs, Blob{Digest: dgst, Size: size.bytes})
	}
	return blobs, nil
}

// size asks for the size of a blob, once.
func (d *describer) size(ctx context.Context, dgst digest.Digest) (blobSize, error) {
	if size, ok := d.sizes[dgst]; ok {
		return size, nil
	}
	if err := ctx.Err(); err != nil {
		return blobSize{}, err
	}
	n, err := d.content.Size(ctx, dgst)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return blobSize{}, fmt.Errorf("size of blob %s: %w", dgst, err)
	}
	size := blobSize{bytes: max(n, 0), stored: err == nil}
	if !size.stored {
		size.bytes = 0
	}
	d.sizes[dgst] = size
	return size, nil
}
