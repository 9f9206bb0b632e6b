package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/registry/access"
	"github.com/berth-oci/berth/registry/budget"
	"github.com/berth-oci/berth/storage"
	"github.com/berth-oci/berth/storage/reference"
)

// Tx is one change of one repository, under way. See catalog.Tx, which fits it.
type Tx interface {
	// Resolve returns what a tag points to now, or storage.ErrNotFound.
	Resolve(ctx context.Context, tag string) (digest.Digest, error)
	// Put stores a manifest with its tags and publishes it: once it has returned
	// without an error, the next answer has it. m is the manifest as it came;
	// write stores its bytes, with the context that it gets, and an error of it is
	// returned as it is. reservation is what was set aside for it, see Reserve; it
	// ends with the change.
	Put(ctx context.Context, intent storage.Intent, m image.Manifest, reservation string, write func(context.Context) error) error
	// Size is the size in bytes of a blob that the repository links, or
	// storage.ErrNotFound, as storage says.
	Size(ctx context.Context, d digest.Digest) (int64, error)
	// BringBack brings a blob back that was collected and is still in quarantine, and
	// links it again, if the namespace had it last, and reports whether it did. The
	// caller relies on the digest, see storage.Push.
	BringBack(ctx context.Context, d digest.Digest) (bool, error)
	// Close ends the change, published or not.
	Close()
}

// Catalog makes changes, and answers from what was published. See
// catalog.Catalog, which fits it. All methods return storage.ErrNotFound for
// what is not there.
type Catalog interface {
	// Delete deletes a manifest with its tags and what only it holds, Untag a
	// tag, Clear everything in a repository, Unlink a blob with all its digests.
	Delete(ctx context.Context, repository string, dgst digest.Digest) error
	Untag(ctx context.Context, repository, tag string) error
	Clear(ctx context.Context, repository string) error
	Unlink(ctx context.Context, repository string, dgst digest.Digest) error
	// Link runs op, which links a blob by the digest that it is named and maybe by
	// its canonical one, and publishes what came of it. op returns the canonical
	// digest, or none if storage was left as it was. What it changes with the
	// context that it gets is durable at once, and is not seen before. reservation
	// is what was set aside for the blob, see Reserve; it ends in the instant in
	// which the blob counts.
	Link(ctx context.Context, repository string, named digest.Digest, reservation string, op func(context.Context) (digest.Digest, error)) error

	// NotePull counts a pull of a manifest, by any of its digests.
	NotePull(repository string, dgst digest.Digest)

	// Repositories returns the names of repositories after the given one,
	// sorted, at most n, of those in the namespaces; nil means of all.
	Repositories(ctx context.Context, within []string, after string, n int) ([]string, error)
	// Resolve returns what a tag points to, Canonical the digest under which a
	// manifest is stored that may have several.
	Resolve(ctx context.Context, repository, tag string) (digest.Digest, error)
	Canonical(ctx context.Context, repository string, dgst digest.Digest) (digest.Digest, error)
	// TagNames returns the tags of a repository after the given one, sorted, at
	// most n.
	TagNames(ctx context.Context, repository, after string, n int) ([]string, error)
	// Linked returns the size in bytes of a blob that a repository links.
	Linked(ctx context.Context, repository string, dgst digest.Digest) (size int64, found bool, err error)
	// Renew begins anew how long something of a repository has been idle that
	// nothing refers to; of anything else it writes nothing.
	Renew(ctx context.Context, repository string, d digest.Digest) error
	// MountSource returns a repository in the namespaces that links a blob.
	MountSource(ctx context.Context, dgst digest.Digest, within []string) (string, error)

	// Usage is what a namespace stores and has set aside. Idle is what those of
	// the blobs come to, in bytes, that count once a manifest refers to them, and
	// Adds what more counts once Link has linked blobs of these sizes.
	Usage(ctx context.Context, namespace string) (storage.Usage, error)
	Idle(ctx context.Context, namespace string, blobs []digest.Digest) (int64, error)
	Adds(ctx context.Context, repository string, blobs map[digest.Digest]int64) (int64, error)
	// Reserve sets room of a namespace aside, in place of what was set aside
	// before by the same key. It returns what else the namespace stores and has
	// set aside, and an error of the code storage.Quota or storage.TooMany, with
	// everything left as it was, if that exceeds what it may.
	Reserve(ctx context.Context, namespace string, r storage.Reservation) (others storage.Usage, err error)
}

// Options are what a registry needs.
type Options struct {
	// Store is where everything is; Section is distribution's storage section,
	// of which what stands beside the driver is read.
	Store   *storage.Store
	Section configuration.Storage
	// Secret signs the state of uploads. It must be the same after a restart
	// and on every replica.
	Secret string
	// PublicURL is put in front of locations and links; empty means that they
	// are relative. It may have a path, which whoever is in front takes off.
	PublicURL string
	// ReadOnly refuses every change.
	ReadOnly bool

	// Begin takes a repository for a change, and waits until it is free.
	Begin   func(ctx context.Context, repository string) (Tx, error)
	Catalog Catalog

	// Accounts says which namespaces and quotas there are. Who asks, access.Of
	// says: a gate is wrapped around the registry.
	Accounts *access.Accounts
	// Audit is told of every push, deletion and refusal; it may be nil.
	Audit *access.Audit

	// Referrers returns the manifests of a repository that have a subject and an
	// artifact type, unless that is "", after the given one by digest, at most n
	// and no more than a few hundred KiB of them, and where to go on after, "" at
	// the end.
	Referrers func(ctx context.Context, repository string, subject digest.Digest, artifactType string, after digest.Digest, n int) (referrers []image.Referrer, next digest.Digest, err error)
	// Memory bounds what is held of manifests and answers; nil does not.
	Memory *budget.Memory
	// OpenUploads is how many uploads a namespace may have that are not finished,
	// and Uncollected how many bytes that nothing refers to any more, before
	// nothing can be pushed to it; 0 stands for any. Refused is told of every push
	// that is refused for what its namespace has; it may be nil.
	OpenUploads int
	Uncollected int64
	Refused     func(Refusal)
	// MissingLayers takes manifests although layers of theirs are not stored.
	MissingLayers bool

	// RequestID is what error messages end in, if it is not empty.
	RequestID func(context.Context) string
	Log       *slog.Logger
}

// Registry serves /v2.
type Registry struct {
	app       *handlers.App
	store     *storage.Store
	readOnly  bool
	begin     func(context.Context, string) (Tx, error)
	catalog   Catalog
	audit     *access.Audit
	referrers func(ctx context.Context, repository string, subject digest.Digest, artifactType string, after digest.Digest, n int) ([]image.Referrer, digest.Digest, error)
	manifests *contentCache
	blobs     *contentCache // small ones
	sparse    bool
	redirects bool // clients may be sent to where the driver keeps a blob
	names     *names
	prefix    string // the path of the public URL
	quotas    *quotas
	memory    *budget.Memory
	leftovers leftovers
	uploads   sync.Map // the uploads that a request is writing to, by key
	requestID func(context.Context) string
	log       *slog.Logger
	stop      context.CancelFunc // what runs in the background
	watched   chan struct{}      // closed once it has ended
}

// New returns a registry. distribution reports a bad configuration by a panic;
// New returns it as an error.
func New(ctx context.Context, o Options) (g *Registry, err error) {
	if o.Secret == "" {
		return nil, errors.New("the registry needs a secret for the state of uploads")
	}
	g = &Registry{
		store: o.Store, readOnly: o.ReadOnly, begin: o.Begin, catalog: o.Catalog, audit: o.Audit,
		referrers: o.Referrers, sparse: o.MissingLayers, manifests: newContentCache(maxCached), blobs: newContentCache(maxCachedBlobs), memory: o.Memory, redirects: !redirectsDisabled(o.Section),
		names: &names{
			namespace: func(name string) bool { return o.Accounts.Current().Namespace(name) },
			folders:   make(map[string]struct{}),
		},
		quotas:    newQuotas(o),
		requestID: o.RequestID, log: o.Log,
	}
	if public, err := url.Parse(o.PublicURL); err == nil {
		g.prefix = public.Path
	}
	if err := g.learnFolders(ctx); err != nil {
		return nil, fmt.Errorf("list the official images: %w", err)
	}
	defer func() {
		if p := recover(); p != nil {
			g, err = nil, fmt.Errorf("the embedded registry does not start: %v", p)
		}
	}()
	g.app = handlers.NewApp(ctx, g.configuration(o))
	ctx, g.stop = context.WithCancel(ctx)
	g.watched = make(chan struct{})
	go g.watchUploads(ctx)
	return g, nil
}

// redirectsDisabled reports whether a storage section wants every byte to go
// through berth.
func redirectsDisabled(section configuration.Storage) bool {
	disabled, _ := section["redirect"]["disable"].(bool)
	return disabled
}

// configuration is what the embedded registry is told. It gets the driver that
// is already open, and neither accounts, nor notifications, nor a descriptor
// cache, which would be stale after deletions made beside it.
func (r *Registry) configuration(o Options) *configuration.Configuration {
	c := &configuration.Configuration{Storage: configuration.Storage{
		storage.OpenedDriver: o.Store.OpenedParameters(),
	}}
	for _, key := range []string{"delete", "maintenance", "tag"} {
		if parameters, ok := o.Section[key]; ok {
			c.Storage[key] = parameters
		}
	}
	c.HTTP.Secret = o.Secret
	c.HTTP.Host = strings.TrimSuffix(o.PublicURL, r.prefix)
	c.HTTP.RelativeURLs = true
	// What a manifest refers to is verified in verify.go.
	c.Validation.Disabled = true
	c.Middleware = map[string][]configuration.Middleware{
		"repository": {{Name: middlewareName, Options: configuration.Parameters{"registry": r}}},
	}
	return c
}

// Folder reports whether there are official images in a folder of that name.
func (r *Registry) Folder(name string) bool { return r.names.isFolder(name) }

// Used is how many bytes count against a namespace's quota: what is stored, and
// what has been received of uploads that are not finished.
func (r *Registry) Used(ctx context.Context, namespace string) (int64, error) {
	return r.quotas.used(ctx, namespace)
}

// Close stops what runs in the background.
func (r *Registry) Close() error {
	r.stop()
	<-r.watched
	return r.app.Shutdown()
}

// ServeHTTP implements http.Handler.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	a, p := r.parseRequest(req)
	if p != nil {
		r.fail(w, req, p)
		return
	}
	if methods := endpoints[a.kind].methods; !slices.Contains(methods, req.Method) {
		w.Header().Set("Allow", strings.Join(methods, ", "))
		r.fail(w, req, &problem{http.StatusMethodNotAllowed, "UNSUPPORTED", req.Method + " is not supported here"})
		return
	}
	if !r.allowed(w, req, &a) {
		return
	}
	plainRange(req)
	if a.write {
		req = req.WithContext(storage.AskedBy(req.Context(), a.caller.Name()))
	}
	switch {
	case r.readOnly && a.write:
		r.fail(w, req, &problem{http.StatusMethodNotAllowed, "UNSUPPORTED", "this registry is read-only at the moment"})
	case a.kind == kindManifest && req.Method == http.MethodPut:
		r.putManifest(w, req, &a)
	case a.kind == kindManifest && req.Method == http.MethodDelete:
		r.deleteManifest(w, req, &a)
	case a.kind == kindManifest:
		r.getManifest(w, req, &a)
	case a.kind == kindBlob && !a.write:
		r.getBlob(w, req, &a)
	case a.kind == kindBase:
		writeJSON(w, req, struct{}{})
	case a.kind == kindReferrers:
		r.listReferrers(w, req, &a)
	case a.kind == kindTags:
		r.listTags(w, req, &a)
	case a.kind == kindCatalog:
		r.listRepositories(w, req, &a)
	case a.kind == kindUploads || a.kind == kindUpload:
		r.upload(w, req, &a)
	default:
		status := r.forward(w, rebuild(req.WithContext(withRecord(req.Context(), &record{})), a.route), &a)
		if a.write {
			e := r.event(req, &a, "delete")
			e.Status = status
			r.record(req, e)
		}
	}
}

// learnFolders finds the official folders that there are already.
func (r *Registry) learnFolders(ctx context.Context) error {
	for after := ""; ; {
		names, err := r.catalog.Repositories(ctx, []string{reference.Official}, after, maxRepositories)
		if err != nil || len(names) == 0 {
			return err
		}
		for _, name := range names {
			r.names.stored(name)
		}
		after = names[len(names)-1]
	}
}

// forward lets distribution answer a request that was rebuilt, and returns the
// status of the answer.
func (r *Registry) forward(w http.ResponseWriter, req *http.Request, a *request) int {
	filtered := r.filter(w, a)
	r.app.ServeHTTP(filtered, req)
	return r.finish(filtered, req)
}
