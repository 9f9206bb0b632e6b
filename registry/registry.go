// Package registry serves everything under /v2: the distribution registry,
// embedded, behind a router of its own that lets through only what it has
// understood, and with a hook that tells the catalog of every change inside the
// request that makes it.
package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage"
)

// Change is one change of one repository, under way. See catalog.Change, which
// fits it.
type Change interface {
	// Intend notes what is about to happen; storage is touched only after.
	Intend(ctx context.Context, c storage.Change) error
	// Withdraw says that storage was left as it was.
	Withdraw(ctx context.Context) error
	// Commit shows what was intended. Once it has returned without an error,
	// the next answer has it.
	Commit(ctx context.Context) error
	// Deletion plans the deletion of a manifest and what goes with it;
	// Untagging that of a tag. Both return storage.ErrNotFound.
	Deletion(ctx context.Context, dgst digest.Digest) (storage.Change, error)
	Untagging(ctx context.Context, tag string) (storage.Change, error)
	// Blob runs op, which unlinks a blob, and shows what came of it.
	Blob(ctx context.Context, op func() (digest.Digest, error)) error
	// Close ends the change, shown or not.
	Close()
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
	// PublicURL is put in front of locations; empty means they are relative.
	PublicURL string
	// ReadOnly refuses every change.
	ReadOnly bool

	// Begin takes a repository for a change, and waits until it is free.
	Begin func(ctx context.Context, repository string) (Change, error)
	// Blob runs op, which links a blob, and shows what came of it. op returns
	// the blob's digest, or none if storage was left as it was.
	Blob func(ctx context.Context, repository string, op func() (digest.Digest, error)) error

	// RequestID is what error messages end in, if it is not empty.
	RequestID func(context.Context) string
	Log       *slog.Logger
}

// Registry serves /v2.
type Registry struct {
	app       *handlers.App
	store     *storage.Store
	readOnly  bool
	begin     func(context.Context, string) (Change, error)
	blob      func(context.Context, string, func() (digest.Digest, error)) error
	requestID func(context.Context) string
	log       *slog.Logger
}

// New returns a registry. distribution reports a bad configuration by a panic;
// New returns it as an error.
func New(ctx context.Context, o Options) (g *Registry, err error) {
	if o.Secret == "" {
		return nil, errors.New("the registry needs a secret for the state of uploads")
	}
	g = &Registry{
		store: o.Store, readOnly: o.ReadOnly, begin: o.Begin, blob: o.Blob,
		requestID: o.RequestID, log: o.Log,
	}
	defer func() {
		if p := recover(); p != nil {
			g, err = nil, fmt.Errorf("the embedded registry does not start: %v", p)
		}
	}()
	g.app = handlers.NewApp(ctx, g.configuration(o))
	return g, nil
}

// configuration is what the embedded registry is told. It gets the driver that
// is already open, and neither accounts, nor notifications, nor a descriptor
// cache, which would be stale after deletions made beside it.
func (g *Registry) configuration(o Options) *configuration.Configuration {
	c := &configuration.Configuration{Storage: configuration.Storage{
		storage.OpenedDriver: o.Store.OpenedParameters(),
	}}
	for _, key := range []string{"delete", "redirect", "maintenance", "tag"} {
		if parameters, ok := o.Section[key]; ok {
			c.Storage[key] = parameters
		}
	}
	c.HTTP.Secret = o.Secret
	c.HTTP.Host = o.PublicURL
	c.HTTP.RelativeURLs = true
	c.Catalog.MaxEntries = 1000
	c.Middleware = map[string][]configuration.Middleware{
		"repository": {{Name: middlewareName, Options: configuration.Parameters{"registry": g}}},
	}
	return c
}

// Close stops what runs in the background.
func (g *Registry) Close() error { return g.app.Shutdown() }

// ServeHTTP implements http.Handler.
func (g *Registry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	found, p := parse(r)
	if p != nil {
		g.fail(w, r, p)
		return
	}
	if methods := endpoints[found.kind].methods; !slices.Contains(methods, r.Method) {
		w.Header().Set("Allow", strings.Join(methods, ", "))
		g.fail(w, r, &problem{http.StatusMethodNotAllowed, "UNSUPPORTED", r.Method + " is not supported here"})
		return
	}
	reading := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case g.readOnly && !reading:
		g.fail(w, r, &problem{http.StatusMethodNotAllowed, "UNSUPPORTED", "this registry is read-only at the moment"})
	case found.kind == kindManifest && r.Method == http.MethodPut:
		g.putManifest(w, r, found)
	case found.kind == kindManifest && r.Method == http.MethodDelete:
		g.deleteManifest(w, r, found)
	default:
		g.forward(w, rebuild(r, found))
	}
}

// forward lets distribution answer a request that was rebuilt.
func (g *Registry) forward(w http.ResponseWriter, r *http.Request) {
	w.Header().Del("Docker-Distribution-API-Version") // distribution adds its own
	guarded := &guard{ResponseWriter: w}
	g.app.ServeHTTP(guarded, r)
	g.finish(guarded, r)
}

// unavailable answers a request that failed on our side.
func (g *Registry) unavailable(w http.ResponseWriter, r *http.Request, err error) {
	g.log.ErrorContext(r.Context(), "change failed", "error", err)
	g.fail(w, r, &problem{http.StatusServiceUnavailable, "UNAVAILABLE",
		"the registry could not complete this; what became of it is settled before the next answer; try again"})
}
