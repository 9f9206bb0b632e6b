package registry

import (
	"context"
	"errors"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/registry/api/errcode"
	repositorymiddleware "github.com/distribution/distribution/v3/registry/middleware/repository"
	storagelib "github.com/distribution/distribution/v3/registry/storage"
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/storage"
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

func (r hookedRepository) Manifests(ctx context.Context, options ...distribution.ManifestServiceOption) (distribution.ManifestService, error) {
	inner, err := r.Repository.Manifests(ctx, append(options, storagelib.SkipLayerVerification())...)
	return hookedManifests{inner, r}, err
}

func (r hookedRepository) Tags(ctx context.Context) distribution.TagService {
	return hookedTags{r.Repository.Tags(ctx)}
}

func (r hookedRepository) Blobs(ctx context.Context) distribution.BlobStore {
	return hookedBlobs{r.Repository.Blobs(ctx), r.registry, r.Named().Name()}
}

// push is a manifest on its way in; the request's context holds it under
// pushKey.
type push struct {
	Change
	counted func() // ends what the quota has set aside for it
	// as is another digest under which the client pushes, and tags are the tags
	// that it sets.
	as   digest.Digest
	tags []string
	// document is what the manifest says.
	document image.Document
}

type pushKey struct{}

// end is called once the push is over, in whichever way.
func (p *push) end() {
	p.Close()
	p.counted()
}

func pushOf(ctx context.Context) (*push, error) {
	p, ok := ctx.Value(pushKey{}).(*push)
	if !ok {
		return nil, errors.New("manifests and tags change only through the manifest endpoint")
	}
	return p, nil
}

// unavailable is what a client is told when the index cannot be written: what
// it did is not done, and may be tried again.
func unavailable(err error) error {
	return errcode.ErrorCodeUnavailable.WithMessage("the index of images cannot be written at the moment; try again").WithDetail(err.Error())
}

type hookedManifests struct {
	distribution.ManifestService
	repository hookedRepository
}

// Put stores a manifest, tags it and shows it, all in one change.
func (m hookedManifests) Put(ctx context.Context, manifest distribution.Manifest, options ...distribution.ManifestServiceOption) (digest.Digest, error) {
	in, err := pushOf(ctx)
	if err != nil {
		return "", err
	}
	_, payload, err := manifest.Payload()
	if err != nil {
		return "", err
	}
	registry, name := m.repository.registry, m.repository.Named().Name()
	if err := registry.verify(ctx, name, manifest, in.document); err != nil {
		return "", refused(ctx, err)
	}
	in.counted, err = registry.quotas.admit(ctx, name, manifest, m.repository.Repository.Blobs(ctx))
	if err != nil {
		in.counted = func() {}
		return "", refused(ctx, err)
	}
	intent := storage.Intent{Repository: name, Put: digest.FromBytes(payload), As: in.as, Tags: in.tags}
	if err := in.Intend(ctx, intent); err != nil {
		return "", unavailable(err)
	}
	dgst, err := m.ManifestService.Put(ctx, manifest, options...)
	if err != nil {
		return "", err
	}
	ctx = context.WithoutCancel(ctx)
	if err := registry.store.Complete(ctx, intent); err != nil {
		return "", err
	}
	if err := in.Commit(ctx); err != nil {
		return "", unavailable(err)
	}
	return dgst, nil
}

// refused notes why a manifest is refused: distribution has room for one error.
func refused(ctx context.Context, err error) error {
	refusalOf(ctx).err = err
	return err
}

// Delete is not how manifests are deleted: see deleteManifest.
func (m hookedManifests) Delete(context.Context, digest.Digest) error {
	return distribution.ErrUnsupported
}

type hookedTags struct{ distribution.TagService }

// Tag is not how tags are set: see hookedManifests.Put.
func (t hookedTags) Tag(context.Context, string, distribution.Descriptor) error {
	return distribution.ErrUnsupported
}

// Untag is not how tags are deleted: see deleteManifest.
func (t hookedTags) Untag(context.Context, string) error { return distribution.ErrUnsupported }

type hookedBlobs struct {
	distribution.BlobStore
	registry   *Registry
	repository string
}

// Create starts an upload, or mounts a blob of another repository.
func (b hookedBlobs) Create(ctx context.Context, options ...distribution.BlobCreateOption) (writer distribution.BlobWriter, err error) {
	var wanted distribution.CreateOptions
	for _, option := range options {
		if err := option.Apply(&wanted); err != nil {
			return nil, err
		}
	}
	if !wanted.Mount.ShouldMount {
		writer, err = b.BlobStore.Create(ctx, options...)
		return b.wrap(ctx, writer, err)
	}
	from, named := wanted.Mount.From, wanted.Mount.From.Digest()
	if named.Algorithm() != digest.Canonical {
		if options, err = b.canonicalMount(ctx, from); err != nil {
			return nil, err
		}
	}
	err = b.registry.catalog.Blob(ctx, b.repository, func() (digest.Digest, error) {
		var err error
		writer, err = b.BlobStore.Create(ctx, options...)
		var mounted distribution.ErrBlobMounted
		if errors.As(err, &mounted) {
			return mounted.Descriptor.Digest, err
		}
		return "", err
	})
	var mounted distribution.ErrBlobMounted
	if errors.As(err, &mounted) && mounted.Descriptor.Digest != named {
		if err := b.alias(ctx, named, mounted.Descriptor.Digest); err != nil {
			return nil, err
		}
		mounted.Descriptor.Digest = named
		err = mounted
	}
	return b.wrap(ctx, writer, err)
}

// Resume goes on with an upload.
func (b hookedBlobs) Resume(ctx context.Context, id string) (distribution.BlobWriter, error) {
	writer, err := b.BlobStore.Resume(ctx, id)
	if err == nil {
		b.registry.quotas.received(namespaceOf(b.repository), id, writer.Size())
	}
	return b.wrap(ctx, writer, err)
}

func (b hookedBlobs) wrap(ctx context.Context, writer distribution.BlobWriter, err error) (distribution.BlobWriter, error) {
	if err != nil {
		return nil, err
	}
	if namespace := namespaceOf(b.repository); b.registry.quotas.limit(namespace) > 0 {
		writer = &meteredWriter{writer, ctx, b.registry.quotas, namespace}
	}
	return hookedWriter{writer, b}, nil
}

// Delete unlinks a blob by all its digests, whichever the client names: what is
// deleted is the bytes ("Deleting Blobs"). No manifest that refers to it comes
// meanwhile.
func (b hookedBlobs) Delete(ctx context.Context, dgst digest.Digest) error {
	change, err := b.registry.begin(ctx, b.repository)
	if err != nil {
		return unavailable(err)
	}
	defer change.Close()
	stored := b.registry.store.Repository(b.repository)
	canonical, err := stored.Canonical(ctx, dgst)
	if errors.Is(err, storage.ErrNotFound) {
		return distribution.ErrBlobUnknown
	}
	if err != nil {
		return unavailable(err)
	}
	names, err := stored.BlobAliases(ctx, canonical)
	if err != nil {
		return unavailable(err)
	}
	for _, name := range append(names, canonical) {
		err := change.Blob(ctx, func() (digest.Digest, error) {
			return name, b.registry.store.UnlinkBlob(ctx, b.repository, name)
		})
		if err != nil {
			return unavailable(err)
		}
	}
	return nil
}

type hookedWriter struct {
	distribution.BlobWriter
	blobs hookedBlobs
}

// Commit ends an upload: the blob is stored, linked and shown.
func (w hookedWriter) Commit(ctx context.Context, provisional distribution.Descriptor) (canonical distribution.Descriptor, err error) {
	err = w.blobs.registry.catalog.Blob(ctx, w.blobs.repository, func() (digest.Digest, error) {
		var err error
		canonical, err = w.BlobWriter.Commit(ctx, provisional)
		var wrong distribution.ErrBlobInvalidDigest
		if errors.As(err, &wrong) {
			// Refused before anything was stored. distribution wants to cancel
			// the upload then, and cannot: it has closed the file.
			refusalOf(ctx).discard = w.ID()
			return "", err
		}
		if err != nil {
			return provisional.Digest, err
		}
		return canonical.Digest, nil
	})
	if err == nil && canonical.Digest != provisional.Digest {
		// It was linked under both; the client knows the one it named.
		if err := w.blobs.show(ctx, provisional.Digest); err != nil {
			return canonical, err
		}
		canonical.Digest = provisional.Digest
	}
	return canonical, err
}
