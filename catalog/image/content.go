package image

import (
	"context"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
)

// Manifest is a stored manifest or index, as it was pushed.
type Manifest struct {
	Digest digest.Digest
	Bytes  []byte
	// Modified is the modification time of the stored bytes.
	Modified time.Time
	// Parsed is what [Parse] or [Read] made of these bytes, so that nobody reads
	// them twice; it may be empty.
	Parsed Document
}

func (m Manifest) document() Document {
	if m.Parsed.object {
		return m.Parsed
	}
	return Read(m.Bytes)
}

// Content reads what one repository holds. Its methods return an error that
// wraps storage.ErrNotFound for what is not there; any other error means that
// storage failed.
type Content interface {
	// Size is the size of a stored blob in bytes.
	Size(ctx context.Context, dgst digest.Digest) (int64, error)
	// Open reads a blob; the caller closes it. Seeking is cheap.
	Open(ctx context.Context, dgst digest.Digest) (io.ReadSeekCloser, error)
}

// Parts says which boot parts a tar layer contains, as a set of flags.
type Parts uint8

// The parts that a tar layer may contain, by the paths in
// unikraft/bin; PartOther says that it holds files of an ordinary container.
const (
	PartKernel Parts = 1 << iota
	PartInitrd
	PartROM
	PartOther
)

// LayerCache remembers what was found in a layer, so that a layer that many images
// share is looked into once. It is keyed by content and never goes stale.
type LayerCache interface {
	Recall(dgst digest.Digest) (Parts, bool)
	Remember(dgst digest.Digest, parts Parts)
}

// Description is all that the index keeps of a manifest.
type Description struct {
	Digest    digest.Digest `json:"-"`
	MediaType string        `json:"media_type,omitempty"`
	// Size is that of the manifest itself in bytes.
	Size int64 `json:"size"`
	// Image is nil where no layer is a kernel, an initrd or a ROM, and of an
	// index: see [Compose].
	Image *Image `json:"image,omitempty"`
	// Created is when the manifest says that it was made, or its config does,
	// in UTC; the zero time where neither does. Of what is no unikernel and no
	// index it is not looked for.
	Created time.Time `json:"-"`
	// Modified is when storage got the manifest, which stands for Created where
	// that is unknown.
	Modified time.Time `json:"-"`
	// LayerBytes is the sum of the layers of a manifest, by the sizes of the
	// stored blobs.
	LayerBytes int64 `json:"-"`
	// Members are what an index says of its manifests, in its order, the first
	// 512 of them.
	Members []Member `json:"-"`
	// Children are the manifests that an index refers to, each once, whether
	// they are stored or not.
	Children []digest.Digest `json:"children,omitempty"`
	// Blobs are the config and layers that a manifest refers to, each once.
	Blobs []Blob `json:"blobs,omitempty"`
	// Subject is what the manifest refers to as an artifact, "" for nothing;
	// ArtifactType and Annotations are then what its descriptor in the list of
	// referrers says (OCI distribution specification, "Listing Referrers"), as
	// far as [Document.Referrer] has it. They may be large and only that list
	// shows them: an index keeps them apart.
	Subject      digest.Digest     `json:"subject,omitempty"`
	ArtifactType string            `json:"-"`
	Annotations  map[string]string `json:"-"`
}

// Member is what an index says of one of its manifests.
type Member struct {
	Digest digest.Digest
	// OS and Architecture are "" where the index does not say.
	OS, Architecture string
	// Index reports whether it is said to be an index itself.
	Index bool
}

// Blob is a blob and its size in bytes, 0 if it is not stored.
type Blob struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
}
