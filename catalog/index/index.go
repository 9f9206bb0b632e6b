// Package index says what an index of the catalog is: the [Index] interface, and
// the types that go in and out of it.
package index

import (
	"context"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/storage"
)

// Index keeps what the catalog knows, in a form that answers without scanning.
// It is a view of storage and holds nothing that cannot be read there again.
// All methods are safe for concurrent use; writes to one repository are never
// concurrent, the catalog sees to that.
type Index interface {
	image.LayerCache

	// Entry returns an image of a repository, by any of its digests, or
	// ErrNotFound if it is not there or is no unikernel. Manifests that belong to
	// an index are found.
	Entry(ctx context.Context, repository string, dgst digest.Digest) (Entry, error)
	// Tag returns what a tag points to, or ErrNotFound.
	Tag(ctx context.Context, repository, tag string) (digest.Digest, error)
	// UUID returns the image with a UUID, or ErrNotFound.
	UUID(ctx context.Context, id uuid.UUID) (repository string, dgst digest.Digest, err error)
	// ByDigest returns the images with a digest in the repositories that come
	// after the given one by name, at most n; within limits them as in Query.
	ByDigest(ctx context.Context, dgst digest.Digest, within []string, after string, n int) ([]Entry, error)
	// List returns the next entries of a list, at most n, and how far it has
	// come: "" at the end. Filters may leave a batch empty before the end.
	List(ctx context.Context, q Query, after Cursor, n int) ([]Entry, Cursor, error)

	// State returns all that the index has of a repository.
	State(ctx context.Context, repository string) (State, error)
	// Relatives returns the indexes of the repository that refer to a manifest,
	// by any of its digests, and the stored manifests that it refers to, by
	// their canonical ones.
	Relatives(ctx context.Context, repository string, dgst digest.Digest) (parents, children []digest.Digest, err error)
	// Tags returns the tags that point to a manifest, sorted.
	Tags(ctx context.Context, repository string, dgst digest.Digest) ([]string, error)
	// Canonical returns the digest under which the repository holds a manifest,
	// or ErrNotFound, and Aliases the other digests of its bytes.
	Canonical(ctx context.Context, repository string, dgst digest.Digest) (digest.Digest, error)
	Aliases(ctx context.Context, repository string, canonical digest.Digest) ([]digest.Digest, error)
	// Referrers returns the manifests of the repository that have a subject, by
	// any of its digests, after the given one by digest, at most n.
	Referrers(ctx context.Context, repository string, subject, after digest.Digest, n int) ([]image.Description, error)
	// Linked returns the size of a blob that the repository links, in bytes.
	Linked(ctx context.Context, repository string, dgst digest.Digest) (size int64, found bool, err error)
	// Referring returns the manifests of the repository that refer to a blob.
	Referring(ctx context.Context, repository string, dgst digest.Digest) ([]digest.Digest, error)
	// Repositories returns the names of repositories that hold a manifest, after
	// the given one, at most n; within limits them as in Query.
	Repositories(ctx context.Context, within []string, after string, n int) ([]string, error)
	// TagNames returns the tags of a repository after the given one, at most n,
	// or ErrNotFound if the repository holds neither manifest nor blob.
	TagNames(ctx context.Context, repository, after string, n int) ([]string, error)
	// Holder returns a repository that links a blob, or ErrNotFound; within
	// limits where it looks as in Query.
	Holder(ctx context.Context, dgst digest.Digest, within []string) (string, error)
	// Usage returns what a namespace stores.
	Usage(ctx context.Context, namespace string) (Usage, error)
	// Unused returns those of the blobs that no manifest of the namespace
	// refers to.
	Unused(ctx context.Context, namespace string, blobs []digest.Digest) ([]digest.Digest, error)
	// InUse returns the size in bytes of a blob that manifests of a namespace
	// refer to, 0 if none does.
	InUse(ctx context.Context, namespace string, dgst digest.Digest) (int64, error)
	// Stats counts what is there.
	Stats(ctx context.Context) (Stats, error)

	// Begin writes down a change that is about to happen. When it returns, the
	// note survives a power cut. A later one for the same repository replaces it.
	Begin(ctx context.Context, c storage.Intent) error
	// Touch notes, as durably, that blobs of the repository are changing.
	Touch(ctx context.Context, repository string) error
	// Settle removes such notes.
	Settle(ctx context.Context, repositories []string) error
	// Pending returns the changes that were begun and not applied. Repositories that were only touched have an empty one.
	Pending(ctx context.Context) ([]storage.Intent, error)
	// Apply makes an update visible, all at once. When it returns, the update
	// survives a power cut.
	Apply(ctx context.Context, u Update) error

	Close() error
}

// Update is what a change does to the index.
type Update struct {
	Repository string
	// Put describes manifests that are new, or whose description is.
	Put []image.Description
	// Delete are the manifests that are gone; tags that still point to one go
	// with it.
	Delete []digest.Digest
	// Tag says where tags point from now on. Untag are the tags that are gone.
	Tag   map[string]digest.Digest
	Untag []string
	// Alias says which other digests of the same bytes stand for which
	// manifest; Unalias are those that no longer do.
	Alias   map[digest.Digest]digest.Digest
	Unalias []digest.Digest
	// Link are the blobs that the repository now links, with their sizes in
	// bytes; Unlink those that it no longer does.
	Link   map[digest.Digest]int64
	Unlink []digest.Digest
	// Done removes the note of the change.
	Done bool
}

// State is what the index has of one repository.
type State struct {
	Tags      map[string]digest.Digest
	Manifests map[digest.Digest]struct{}
	// Aliases are other digests of the same bytes, and the manifest that each
	// stands for.
	Aliases map[digest.Digest]digest.Digest
	// Links are the linked blobs with their sizes in bytes.
	Links map[digest.Digest]int64
}

// Stats counts what the index holds.
type Stats struct {
	// Unikernels and ROMs are the listed images by kind; an image that has
	// only ROMs is of the second.
	Unikernels int64 `json:"unikernels"`
	ROMs       int64 `json:"roms"`
	// Manifests counts all, indexes and those that are no unikernels included.
	Manifests int64 `json:"manifests"`
	// Repositories counts all that hold a manifest, ImageRepositories those
	// among them with a listed image.
	Repositories      int64 `json:"repositories"`
	ImageRepositories int64 `json:"image_repositories"`
}

// Usage is what a namespace stores.
type Usage struct {
	// Images counts the listed ones.
	Images int64 `json:"images"`
	// Bytes are those of the blobs that manifests refer to, each counted once.
	Bytes int64 `json:"bytes"`
}
