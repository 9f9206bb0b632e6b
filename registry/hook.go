package registry

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/distribution/distribution/v3"
	repositorymiddleware "github.com/distribution/distribution/v3/registry/middleware/repository"
	storagelib "github.com/distribution/distribution/v3/registry/storage"
	distributionreference "github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/storage"
	"github.com/berth-oci/berth/storage/reference"
)

// middlewareName is under which distribution finds the hook.
const middlewareName = "berth"

func init() {
	err := repositorymiddleware.Register(middlewareName,
		func(_ context.Context, repository distribution.Repository, options map[string]any) (distribution.Repository, error) {
			return hookedRepository{repository, options["registry"].(*Registry)}, nil
		})
	if err != nil {
		panic(err)
	}
}

// hookedRepository tells the catalog of every change that distribution makes,
// inside the request that makes it.
type hookedRepository struct {
	distribution.Repository
	registry *Registry
}

func (h hookedRepository) Manifests(ctx context.Context, options ...distribution.ManifestServiceOption) (distribution.ManifestService, error) {
	inner, err := h.Repository.Manifests(ctx, append(options, storagelib.SkipLayerVerification())...)
	return hookedManifests{inner, h}, err
}

func (h hookedRepository) Tags(ctx context.Context) distribution.TagService {
	return hookedTags{h.Repository.Tags(ctx)}
}

func (h hookedRepository) Blobs(ctx context.Context) distribution.BlobStore {
	return hookedBlobs{h.Repository.Blobs(ctx), h.registry, h.Named().Name()}
}

type hookedManifests struct {
	distribution.ManifestService
	repository hookedRepository
}

// Put stores a manifest, tags it and publishes it, all in one change.
func (h hookedManifests) Put(ctx context.Context, manifest distribution.Manifest, options ...distribution.ManifestServiceOption) (dgst digest.Digest, err error) {
	in := recordOf(ctx).push
	if in == nil {
		return "", errors.New("manifests and tags change only through the manifest endpoint")
	}
	_, payload, err := manifest.Payload()
	if err != nil {
		return "", err
	}
	registry, name := h.repository.registry, h.repository.Named().Name()
	intent := storage.Intent{Put: digest.FromBytes(payload), As: in.as, Tags: in.tags}
	pushing, stored := registry.store.BeginPush(ctx, storage.GuardPut)
	defer stored.End()
	if err := registry.verify(ctx, stored, manifest, in); err != nil {
		return "", note(ctx, err)
	}
	if err := registry.quotas.admit(ctx, name, int64(len(payload)), intent.Put, in); err != nil {
		return "", note(ctx, err)
	}
	pushed := image.Manifest{Bytes: payload, Parsed: in.document}
	err = in.tx.Put(pushing, intent, pushed, in.key, func(ctx context.Context) error {
		dgst, err = h.ManifestService.Put(ctx, manifest, options...)
		return err
	})
	if err != nil {
		registry.undo(ctx, stored, name)
	}
	return dgst, note(ctx, err)
}

// Delete is not how manifests are deleted: see deleteManifest.
func (h hookedManifests) Delete(context.Context, digest.Digest) error {
	return distribution.ErrUnsupported
}

type hookedTags struct{ distribution.TagService }

// Tag is not how tags are set: see hookedManifests.Put.
func (h hookedTags) Tag(context.Context, string, distribution.Descriptor) error {
	return distribution.ErrUnsupported
}

// Untag is not how tags are deleted: see deleteManifest.
func (h hookedTags) Untag(context.Context, string) error { return distribution.ErrUnsupported }

type hookedBlobs struct {
	distribution.BlobStore
	registry   *Registry
	repository string
}

// Create starts an upload, or mounts a blob of another repository.
func (h hookedBlobs) Create(ctx context.Context, options ...distribution.BlobCreateOption) (writer distribution.BlobWriter, err error) {
	var wanted distribution.CreateOptions
	for _, option := range options {
		if err := option.Apply(&wanted); err != nil {
			return nil, err
		}
	}
	if !wanted.Mount.ShouldMount {
		writer, err = h.BlobStore.Create(ctx, options...)
		return h.begin(ctx, writer, err)
	}
	mounted, err := h.mount(ctx, wanted.Mount.From)
	switch {
	case err != nil:
		return nil, note(ctx, err)
	case mounted:
		return nil, distribution.ErrBlobMounted{From: wanted.Mount.From, Descriptor: v1.Descriptor{
			MediaType: "application/octet-stream", Digest: wanted.Mount.From.Digest(),
		}}
	}
	// Without a source it is a plain upload.
	writer, err = h.BlobStore.Create(ctx)
	return h.begin(ctx, writer, err)
}

func (h hookedBlobs) namespace() string { return reference.Namespace(h.repository) }

// begin counts an upload that has begun, or ends it if there is no room.
func (h hookedBlobs) begin(ctx context.Context, writer distribution.BlobWriter, err error) (distribution.BlobWriter, error) {
	if err == nil {
		if err = h.registry.quotas.begin(ctx, h.repository, writer.ID()); err != nil {
			err = errors.Join(err, writer.Close())
			h.registry.discard(ctx, h.repository, writer.ID())
		}
	}
	return h.wrap(ctx, writer, err)
}

// mount links a blob of another repository, if that has it.
func (h hookedBlobs) mount(ctx context.Context, from distributionreference.Canonical) (mounted bool, err error) {
	named := from.Digest()
	relies, err := h.registry.store.Rely(ctx, storage.GuardMount, named)
	if err != nil {
		return false, err
	}
	defer relies()
	size, found, err := h.registry.catalog.Linked(ctx, from.Name(), named)
	if err != nil || !found {
		return false, err
	}
	source := h.registry.store.Repository(from.Name())
	canonical, err := source.Canonical(ctx, named)
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	reliesToo, err := h.registry.store.Rely(ctx, storage.GuardMount, canonical)
	if err != nil {
		return false, err
	}
	defer reliesToo()
	key, err := h.holdLink(ctx, canonical, size)
	if err != nil {
		return false, err
	}
	defer func() { _ = h.registry.quotas.released(ctx, h.namespace(), key) }()
	alias, err := h.holdAlias(ctx, named)
	if err != nil {
		return false, err
	}
	defer func() { _ = h.registry.quotas.released(ctx, h.namespace(), alias) }()
	err = h.registry.catalog.Link(ctx, h.repository, named, key, func(ctx context.Context) (digest.Digest, error) {
		_, err := source.Size(ctx, canonical)
		if errors.Is(err, storage.ErrNotFound) {
			return "", nil
		}
		if err == nil {
			mounted = true
			err = h.registry.store.LinkBlob(ctx, h.repository, canonical, canonical)
		}
		if err == nil && named != canonical {
			err = h.registry.store.LinkBlob(ctx, h.repository, named, canonical)
		}
		return canonical, err
	})
	return mounted, err
}

// holdLink sets aside what a further link will add.
func (h hookedBlobs) holdLink(ctx context.Context, dgst digest.Digest, size int64) (key string, err error) {
	adds, err := h.registry.catalog.Adds(ctx, h.repository, map[digest.Digest]int64{dgst: size})
	if err != nil {
		return "", err
	}
	return h.registry.quotas.hold(ctx, h.namespace(), adds)
}

// holdAlias sets aside what a link by another digest than the canonical one adds.
func (h hookedBlobs) holdAlias(ctx context.Context, named digest.Digest) (key string, err error) {
	if named.Algorithm() == digest.Canonical {
		return "", nil
	}
	return h.holdLink(ctx, named, storage.MinCounted)
}

// Resume goes on with an upload.
func (h hookedBlobs) Resume(ctx context.Context, id string) (distribution.BlobWriter, error) {
	writer, err := h.BlobStore.Resume(ctx, id)
	if err == nil {
		err = h.registry.quotas.resumed(ctx, h.repository, id, writer.Size())
	}
	return h.wrap(ctx, writer, err)
}

func (h hookedBlobs) wrap(ctx context.Context, writer distribution.BlobWriter, err error) (distribution.BlobWriter, error) {
	if err != nil {
		return nil, note(ctx, err)
	}
	if h.registry.quotas.limit(h.namespace()) > 0 {
		writer = &meteredWriter{writer, ctx, h.registry.quotas, h.repository}
	}
	return hookedWriter{writer, ctx, h}, nil
}

// Delete unlinks a blob by all its digests, whichever the client names: what is
// deleted is the bytes ("Deleting Blobs"). No manifest that refers to it comes
// meanwhile.
func (h hookedBlobs) Delete(ctx context.Context, dgst digest.Digest) error {
	err := h.registry.catalog.Unlink(ctx, h.repository, dgst)
	if errors.Is(err, storage.ErrNotFound) {
		return distribution.ErrBlobUnknown
	}
	return note(ctx, err)
}

type hookedWriter struct {
	distribution.BlobWriter
	ctx   context.Context
	blobs hookedBlobs
}

// Commit ends an upload: the blob is stored, linked and shown.
func (h hookedWriter) Commit(ctx context.Context, provisional distribution.Descriptor) (canonical distribution.Descriptor, err error) {
	storage.Finishing(h.ctx) // under which it was opened
	named := provisional.Digest
	alias, err := h.blobs.holdAlias(ctx, named)
	if err != nil {
		return canonical, note(ctx, err)
	}
	pushing, stored := h.blobs.registry.store.BeginPush(ctx, storage.GuardCommit)
	defer stored.End()
	if err := stored.Rely(ctx, named); err != nil {
		return canonical, note(ctx, err)
	}
	err = h.blobs.registry.catalog.Link(pushing, h.blobs.repository, named, h.ID(), func(ctx context.Context) (_ digest.Digest, err error) {
		canonical, err = h.BlobWriter.Commit(ctx, provisional)
		return canonical.Digest, err
	})
	_ = h.blobs.registry.quotas.released(ctx, h.blobs.namespace(), alias)
	var wrong distribution.ErrBlobInvalidDigest
	switch {
	case errors.As(err, &wrong):
		// Refused before anything was stored. distribution wants to cancel
		// the upload then, and cannot: it has closed the file.
		recordOf(ctx).discard = h.ID()
	case err != nil:
		h.blobs.registry.undo(ctx, stored, h.blobs.repository)
	default:
		err = h.blobs.registry.quotas.ended(ctx, h.blobs.repository, h.ID())
	}
	// It was linked under both; the client knows the one it named.
	canonical.Digest = named
	return canonical, note(ctx, err)
}

// Write implements io.Writer. A full disk is noted: distribution would call it
// something unknown.
func (h hookedWriter) Write(p []byte) (int, error) {
	n, err := h.BlobWriter.Write(p)
	return n, note(h.ctx, err)
}

// pieceSize is how many bytes of an upload are written at once. Each piece costs a
// look at deadlines, quotas and room beside the system's calls, and distribution's
// have 32 KiB.
const pieceSize = 256 << 10

var pieces = sync.Pool{New: func() any { return new([pieceSize]byte) }}

// ReadFrom implements io.ReaderFrom, which distribution looks for. What has come
// before r fails is written.
func (h hookedWriter) ReadFrom(r io.Reader) (written int64, err error) {
	if !h.blobs.registry.store.WritesAtOnce() {
		written, err = h.BlobWriter.ReadFrom(r)
		return written, note(h.ctx, err)
	}
	piece := pieces.Get().(*[pieceSize]byte)
	defer pieces.Put(piece)
	for {
		n, failed := 0, error(nil)
		for n < len(piece) && failed == nil {
			var more int
			more, failed = r.Read(piece[n:])
			n += more
		}
		if n > 0 {
			n, err = h.Write(piece[:n])
			written += int64(n)
		}
		switch {
		case err != nil:
			return written, err
		case failed == io.EOF:
			return written, nil
		case failed != nil:
			return written, note(h.ctx, failed)
		}
	}
}

// Close ends a chunk: what was received is flushed.
func (h hookedWriter) Close() error { return note(h.ctx, h.BlobWriter.Close()) }

// Cancel ends the upload, which then counts no longer.
func (h hookedWriter) Cancel(ctx context.Context) error {
	err := h.BlobWriter.Cancel(ctx)
	return errors.Join(err, h.blobs.registry.quotas.ended(ctx, h.blobs.repository, h.ID()))
}
