// Package index says what an index of the catalog is: the [Index] interface, and
// the types that go in and out of it.
//
// An index is a view of storage. It shows only what was published, and what a
// change is about to do it knows before storage is touched:
//
//	Acquire   the repository is this owner's alone
//	Prepare   what is about to happen is durable; storage is touched only after,
//	          unless it gets what has happened together with a note of it
//	Publish   what has happened is durable and visible, all at once
//	Release   the repository is free again
//
// What was prepared and not published is found again: by the next Acquire of
// the repository, and by Abandoned.
//
// # What a namespace keeps
//
// The sums of [Usage] change in the same instant as what they are made of, and
// are never counted by looking at all of a namespace. A blob has one of four
// states in a namespace:
//
//	fresh    Link brought it, and no manifest has referred to it since: it counts
//	in use   a manifest refers to it that found it stored: it counts
//	idle     it is linked, and no manifest refers to it any more, or it came by an
//	         Update: it is uncollected
//	gone     nothing links it or refers to it any more, and its bytes are still
//	         stored: it is uncollected
//
// A blob counts its size, and [storage.MinCounted] more for every further
// repository of the namespace that links it. Link makes fresh what is idle or
// gone. A manifest counts in every repository that has it, a tag and a further
// digest of a manifest [storage.MinCounted]. The bytes of a manifest that has
// left the last repository of a namespace are gone too. A link by another digest
// than the canonical one counts [storage.MinCounted], since the bytes are linked
// by that one as well, and has a state of its own: what refers to it does not refer
// to the other.
//
// An index that is built from storage has nothing fresh and nothing gone; in
// all else its sums are those of an index that was there all the time.
package index

import (
	"context"
	"iter"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/storage"
)

// Reader answers from what was last published. It neither locks nor repairs,
// and never waits for a writer. Its methods are called concurrently, each is
// one consistent view, and costs what its answer does. They return ErrNotFound
// where it says so; any other error means that the index cannot be read.
type Reader interface {
	// Entry returns an image of a repository, by any of its digests, or
	// ErrNotFound if it is not there or is no unikernel. Manifests that belong to
	// an index are found.
	Entry(ctx context.Context, repository string, dgst digest.Digest) (Entry, error)
	// Tagged returns the image that a tag points to, or ErrNotFound.
	Tagged(ctx context.Context, repository, tag string) (Entry, error)
	// ByUUID returns the image with a UUID, or ErrNotFound. within limits it as in
	// Query, and what is not within costs as much as what is not there: how long
	// it took must not tell of images that are somebody else's.
	ByUUID(ctx context.Context, id uuid.UUID, within []string) (Entry, error)
	// ByDigest returns the images with a digest in the repositories that come
	// after the given one by name, at most n, and no more once they come to
	// [BatchBytes]; none only at the end. within limits them as in Query.
	ByDigest(ctx context.Context, dgst digest.Digest, within []string, after string, n int) ([]Entry, error)
	// List returns the next entries of a list, at most n, and no more once they
	// come to [BatchBytes], and how far it has come: "" at the end. Filters may
	// leave a batch empty before the end. An
	// image that exists during the whole of a list is in it exactly once. A cursor
	// that is too old for that is ErrCursor.
	List(ctx context.Context, q Query, after Cursor, n int) ([]Entry, Cursor, error)

	// Resolve returns what a tag points to, unikernel or not, or ErrNotFound.
	Resolve(ctx context.Context, repository, tag string) (digest.Digest, error)
	// Canonical returns the digest under which the repository holds a manifest,
	// by any of its digests, or ErrNotFound.
	Canonical(ctx context.Context, repository string, dgst digest.Digest) (digest.Digest, error)
	// Referrers returns the manifests of the repository that have a subject, by
	// any of its digests, and an artifact type, unless that is "": those after
	// the given one by digest, at most n, and no more once their annotations
	// come to [BatchBytes]. next is where to go on after, "" at the end; before
	// it, a batch may be empty.
	Referrers(ctx context.Context, repository string, subject digest.Digest, artifactType string, after digest.Digest, n int) (referrers []image.Referrer, next digest.Digest, err error)
	// Repositories returns the names of repositories that hold a manifest, after
	// the given one, at most n; within limits them as in Query.
	Repositories(ctx context.Context, within []string, after string, n int) ([]string, error)
	// TagTime returns when a tag was last set, in UTC, as storage says, or
	// ErrNotFound.
	TagTime(ctx context.Context, repository, tag string) (time.Time, error)
	// TagNames returns the tags of a repository after the given one, at most n,
	// or ErrNotFound if the repository holds neither manifest nor blob.
	TagNames(ctx context.Context, repository, after string, n int) ([]string, error)
	// Linked returns the size in bytes of a blob that the repository links, by any
	// of its digests that it was linked under.
	Linked(ctx context.Context, repository string, dgst digest.Digest) (size int64, found bool, err error)
	// MountSource returns a repository that links a blob, or ErrNotFound; within
	// limits where it looks as in Query.
	MountSource(ctx context.Context, dgst digest.Digest, within []string) (string, error)

	// Usage returns what a namespace stores, and what is set aside in it, as sums
	// of one instant: see the states of a blob below.
	Usage(ctx context.Context, namespace string) (Usage, error)
	// Idle returns what those of the blobs come to, in bytes, that are idle in a
	// namespace: so much more counts once a manifest refers to all of them.
	Idle(ctx context.Context, namespace string, blobs []digest.Digest) (int64, error)
	// Adds returns by how much more counts in the namespace of a repository, in
	// bytes, once Link has linked blobs of these sizes.
	Adds(ctx context.Context, repository string, blobs map[digest.Digest]int64) (int64, error)
	// Stats counts what is there.
	Stats(ctx context.Context) (Stats, error)
}

// BatchBytes is how many bytes of what an index holds, roughly, a batch is made
// of: one that has reached it is not added to. What is larger by itself comes
// alone.
const BatchBytes = 64 << 10

// Planner is what a change is planned from. It reads like [Reader].
type Planner interface {
	// State returns all that the index has of a repository.
	State(ctx context.Context, repository string) (State, error)
	// ManifestsAfter, AliasesAfter, LinksAfter and TagsAfter return what State has,
	// in order, for who walks along it: what comes after a digest or a tag, at most
	// n; none only at the end.
	ManifestsAfter(ctx context.Context, repository string, after digest.Digest, n int) ([]digest.Digest, error)
	AliasesAfter(ctx context.Context, repository string, after digest.Digest, n int) ([]Alias, error)
	LinksAfter(ctx context.Context, repository string, after digest.Digest, n int) ([]image.Blob, error)
	TagsAfter(ctx context.Context, repository, after string, n int) ([]Tag, error)
	// Parents returns the indexes of the repository that refer to a manifest, by
	// any of its digests; the manifest itself need not be there.
	Parents(ctx context.Context, repository string, dgst digest.Digest) ([]digest.Digest, error)
	// Children returns the stored manifests that an index refers to, by their
	// canonical digests.
	Children(ctx context.Context, repository string, dgst digest.Digest) ([]digest.Digest, error)
	// Tags returns the tags that point to a manifest, sorted.
	Tags(ctx context.Context, repository string, dgst digest.Digest) ([]string, error)
	// Aliases returns the other digests of a manifest's bytes.
	Aliases(ctx context.Context, repository string, canonical digest.Digest) ([]digest.Digest, error)
	// Referring returns the manifests of the repository that refer to a blob.
	Referring(ctx context.Context, repository string, dgst digest.Digest) ([]digest.Digest, error)
}

// Index keeps what the catalog knows, in a form that answers without scanning.
// All methods are safe for concurrent use, and none outlives its call. A method
// that returns an error may still have done what it was asked for: a write may
// be durable although nobody could be told.
type Index interface {
	Reader
	Planner
	Idler
	Feed
	image.LayerCache

	// Acquire waits until the repository is free, or ctx ends, and takes it. What
	// an earlier owner prepared and did not publish is in the lease.
	Acquire(ctx context.Context, repository string) (Lease, error)
	// Prepare writes down what is about to happen. When it returns without an
	// error, that survives a power cut. A later one replaces it. It refuses a
	// lease that is no longer the repository's with ErrStaleLease.
	Prepare(ctx context.Context, l Lease, intent storage.Intent) error
	// Publish makes an update of the repository visible, all at once, with its
	// record in the feed, unless it changes nothing of which there is one. When it
	// returns without an error, the update survives a power cut; the revision is
	// that of its record, or else the last one. It refuses a lease that is no longer the repository's with
	// ErrStaleLease, and an update that says of a blob that it is missing,
	// which has been linked meanwhile, with ErrLinked.
	Publish(ctx context.Context, l Lease, u Update) (Revision, error)
	// Release frees the repository. What was prepared and not published is
	// abandoned. Releasing an old lease does nothing.
	Release(ctx context.Context, l Lease) error

	// Link publishes blobs that the repository now links, with their sizes in
	// bytes, without a lease and side by side with everything else. Those that
	// are linked already come again. If a manifest of the repository already
	// refers to one of them that is not linked, nothing is published and the
	// error is ErrReferenced: the links then go with the descriptions that they
	// change, in an update. reservation, unless it is "", ends with it, see
	// Reserve. When it returns without an error, the blobs are shown; that they
	// survive a power cut is said later, by a call of written without an error. With
	// one, they are shown no longer. written is called once for each Link that
	// returns no error, also before it returns, and does not block; if it is nil,
	// Link waits for what it would say.
	Link(ctx context.Context, repository string, blobs map[digest.Digest]int64, reservation string, written func(error)) error
	// MarkDirty notes that all of a repository has to be read again from storage.
	// When it returns without an error, the note survives a power cut. ClearDirty
	// removes the note. Of blobs that are being linked storage has notes.
	MarkDirty(ctx context.Context, repository string) error
	ClearDirty(ctx context.Context, repository string) error

	// Reserve sets room of a namespace aside, in place of what was set aside
	// before by the same key. It returns what else the namespace stores and has
	// set aside. If the limit would be exceeded, or there are too many
	// reservations, everything is left as it was, and the error has the code
	// storage.Quota or storage.TooMany. What a Link or an update adds that ends
	// its reservation is counted once, at any instant: never twice, never not at
	// all.
	Reserve(ctx context.Context, namespace string, r storage.Reservation) (others Usage, err error)

	// Abandoned returns what was prepared by owners that are gone, never by one
	// that holds its lease, and, as intents that say nothing but Reread, the
	// repositories that an earlier process marked dirty.
	Abandoned(ctx context.Context) iter.Seq2[storage.Intent, error]

	// Close waits for what is under way. Nothing is called after it.
	Close() error
}

var (
	// ErrNotFound is returned where nothing has the name, digest or UUID.
	ErrNotFound = storage.ErrNotFound
	// ErrStaleLease is returned where a lease has been given up or taken over.
	ErrStaleLease error = &storage.Error{Code: storage.Conflict, Message: "the repository has another owner by now"}
	// ErrLinked is returned where an update says that a blob is missing which
	// has been linked meanwhile: what refers to it has to be described again.
	ErrLinked error = &storage.Error{Code: storage.Conflict, Message: "a blob has been linked meanwhile"}
	// ErrCursor is returned where a list cannot be gone on with from a cursor: too
	// much has changed since.
	ErrCursor error = &storage.Error{Code: storage.Conflict, Message: "the list was read too slowly: too many images have moved since"}
	// ErrReferenced is returned where a blob cannot be linked by itself, since a
	// manifest refers to it already.
	ErrReferenced error = &storage.Error{Code: storage.Conflict, Message: "a manifest refers to the blob already"}
)

// Lease is the right to change a repository, until it is released.
type Lease struct {
	Repository string
	// Fence grows with every lease of a repository, also over restarts.
	Fence uint64
	// Left is what an earlier owner prepared and did not publish, nil for
	// nothing. Its Fence is that owner's.
	Left *Prepared
}

// Prepared is an intent, and the fence of the lease that prepared it.
type Prepared struct {
	storage.Intent
	Fence uint64 `json:"fence,omitempty"`
}

// Update is what a change does to the index.
type Update struct {
	// Put describes manifests that are new, or whose description is.
	Put []image.Description
	// Delete are the manifests that are gone; tags that still point to one go
	// with it.
	Delete []digest.Digest
	// Orphan are manifests that lived as long as something that is gone: those
	// that have no tag, are in no index, and have no subject that is there, are idle
	// from now on, until they are put or tagged again, or what they lived by comes.
	Orphan []digest.Digest
	// Tag says where tags point from now on, and Moved when each was set, as
	// storage says. Untag are the tags that are gone.
	Tag   map[string]digest.Digest
	Moved map[string]time.Time
	Untag []string
	// Alias says which other digests of the same bytes stand for which
	// manifest; Unalias are those that no longer do.
	Alias   map[digest.Digest]digest.Digest
	Unalias []digest.Digest
	// Link are the blobs that the repository now links, with their sizes in
	// bytes; Unlink those that it no longer does.
	Link   map[digest.Digest]int64
	Unlink []digest.Digest
	// Reservation is the key of what was set aside in the repository's namespace
	// for this update, which ends with it; "" for nothing.
	Reservation string
	// Done ends the change: what was prepared is not to be completed any more.
	Done bool
	// By is the account that asked for it, "" for none, and At when: zero for what
	// nobody has asked for. Tags are set by it, at that time.
	By string
	At time.Time
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

// Alias is another digest of the bytes of a manifest.
type Alias struct{ Digest, Canonical digest.Digest }

// Tag is what a tag points to.
type Tag struct {
	Name   string
	Digest digest.Digest // as it was pushed
	// Moved is when it was last set, in UTC, as storage says.
	Moved time.Time
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
	// Bytes and Uncollected are the sums of all namespaces, see [Usage].
	Bytes       int64 `json:"bytes"`
	Uncollected int64 `json:"uncollected"`
}

// Usage is what a namespace keeps.
type Usage = storage.Usage
