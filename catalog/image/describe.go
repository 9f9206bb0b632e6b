package image

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage"
)

// Bounds of one Describe, all above what a real image needs. None of them
// depends on what a [LayerCache] happens to hold: the same content gives the same
// description on an empty index and on a warm one.
const (
	// maxJSON is how many bytes of child manifests and configs are read.
	maxJSON = 16 << 20
	// maxChildren is how many manifests below an index are described.
	maxChildren = 512
	// maxDepth is how many indexes may stand inside each other, the first
	// one included.
	maxDepth = 4
	// maxArgs is how many bytes of JSON the arguments of all platforms have.
	// They are stored with the image, and many large configs cost little to
	// push.
	maxArgs = 1 << 20
	// maxROMs is how many ROMs are listed of all platforms together.
	maxROMs = 4096
	// maxUnpackedTotal is how much is decompressed to look into layers.
	maxUnpackedTotal = 1 << 30
)

// Describe reads a manifest and says all that the index keeps of it: which
// manifests and blobs it refers to, and, where any of its layers is a kernel,
// an initrd or a ROM, the unikernel image that it is.
//
// The result depends on m and on what content holds, and on nothing else.
// memory only saves work and may be nil. The caller bounds m.Bytes and the
// manifests that content returns (4 MiB, as the registry does); every other
// read is bounded here.
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

	json     int64
	args     int64
	unpacked int64
	children int
	roms     int

	sizes  map[digest.Digest]blobSize
	looked map[digest.Digest]findings
	found  []candidate
}

type blobSize struct {
	bytes  int64
	stored bool
}

func newDescriber(content Content, memory LayerCache) *describer {
	return &describer{
		content:  content,
		memory:   memory,
		json:     maxJSON,
		args:     maxArgs,
		unpacked: maxUnpackedTotal,
		children: maxChildren,
		roms:     maxROMs,
		sizes:    make(map[digest.Digest]blobSize),
		looked:   make(map[digest.Digest]findings),
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
	image, err := d.image(ctx, m, doc, kind)
	desc.Image = image
	return err
}

// blobs lists the config and the layers, each once.
func (d *describer) blobs(ctx context.Context, doc Document) ([]Blob, error) {
	var blobs []Blob
	for _, dgst := range digests(doc.Blobs()) {
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

// manifest reads a child manifest; ok is false if it is not stored, or if
// enough has been read.
func (d *describer) manifest(ctx context.Context, dgst digest.Digest) (doc Document, ok bool, err error) {
	if err := ctx.Err(); err != nil {
		return Document{}, false, err
	}
	if d.json <= 0 {
		return Document{}, false, nil
	}
	m, err := d.content.Manifest(ctx, dgst)
	if errors.Is(err, storage.ErrNotFound) {
		return Document{}, false, nil
	}
	if err != nil {
		return Document{}, false, fmt.Errorf("reading manifest %s: %w", dgst, err)
	}
	d.json -= int64(len(m.Bytes))
	if d.json < 0 {
		return Document{}, false, nil
	}
	doc = m.document()
	return doc, doc.object, nil
}
