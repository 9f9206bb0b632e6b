// Package images serves the images API over HTTP, in its three forms: the first
// version at /v1/images/list, the current one at /v1/images, /images and
// /v1/image-store, and the control plane's list, which the parameter details asks
// for. All answer from the same [Catalog]. Beside them it serves what else the
// platform's clients ask: users, quotas, metros (routes.go lists all).
//
// A request is read in full before anything is answered: the query (query.go)
// and the body (body.go) become what is asked for (reference.go). It is then
// either a lookup of named images (lookup.go), a list (list.go) or a page of one
// (page.go). Every answer is written as an envelope (envelope.go), its entries in
// one of the forms (v1.go, current.go, repositories.go).
//
// Lists and large lookups are written as they are read: memory does not grow
// with them, and no call to the catalog waits for a client. Whatever goes wrong
// after the first byte ends the connection, so that no client takes a cut list
// for a whole one.
package images

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/registry/access"
	"github.com/berth-oci/berth/registry/budget"
)

// Catalog answers which images there are. Any error but [index.ErrNotFound]
// means that it cannot answer now. All methods are called concurrently.
type Catalog interface {
	// Entry returns the image of a repository with a digest, also if it is a
	// manifest that belongs to an index there; else [index.ErrNotFound].
	Entry(ctx context.Context, repository string, dgst digest.Digest) (index.Entry, error)
	// Resolve returns what a tag points to, image or not, or [index.ErrNotFound].
	Resolve(ctx context.Context, repository, tag string) (digest.Digest, error)
	// Tagged returns the image that a tag points to, or [index.ErrNotFound].
	Tagged(ctx context.Context, repository, tag string) (index.Entry, error)
	// ByUUID returns the image with a UUID, or [index.ErrNotFound], which costs as
	// much whether it is not there or not within, as in [index.Query].
	ByUUID(ctx context.Context, id uuid.UUID, within []string) (index.Entry, error)
	// ByDigest returns the images with a digest in the repositories that come
	// after the given one, ordered by repository, at most n; none only at the
	// end.
	ByDigest(ctx context.Context, dgst digest.Digest, within []string, after string, n int) ([]index.Entry, error)
	// Usage returns what a namespace stores.
	Usage(ctx context.Context, namespace string) (index.Usage, error)
	// List returns the next entries of a list, at most n, and the cursor to go
	// on from: "" at the end. Before the end a batch may be empty. A cursor that
	// is too old is [index.ErrCursor].
	List(ctx context.Context, q index.Query, after index.Cursor, n int) ([]index.Entry, index.Cursor, error)
	// Repositories returns the names of repositories that hold a manifest, image
	// or not, after the given one, at most n; within limits them as in
	// [index.Query].
	Repositories(ctx context.Context, within []string, after string, n int) ([]string, error)
	// TagNames returns the tags of a repository after the given one, at most n,
	// or [index.ErrNotFound].
	TagNames(ctx context.Context, repository, after string, n int) ([]string, error)
	// The feed of changes; of it are used Last, Grown, Changes, Listed, History,
	// Pushed and Pulls.
	index.Feed
	// TagTime returns when a tag was last set, or [index.ErrNotFound].
	TagTime(ctx context.Context, repository, tag string) (time.Time, error)
}

// Options are the settings of the API. The zero value is usable.
type Options struct {
	// PublicHost is the registry's host, with its port if it has one, that
	// stands in front of an image's name in url. "" means the Host of each
	// request.
	PublicHost string
	// IndexHost, if it is not "", stands there instead, with the long name of the
	// image behind it: a metro's own index, by which images are also found.
	IndexHost string
	// Metros are what [GET /v1/metros] answers with; none means the one that is
	// asked.
	Metros []Metro
	// PublicURL is scheme and host under which clients reach this metro, "" for
	// those of each request.
	PublicURL string
	// CursorKey is 32 bytes that the cursors of pages are sealed with, so that
	// another process takes them. Nil means a random key.
	CursorKey []byte
	// MaxBody is the size in bytes of the largest body that is read; 0 means
	// 1 MiB. A larger one is answered with 413.
	MaxBody int64
	// Memory bounds what is held of bodies and answers; nil does not.
	Memory *budget.Memory
	// Log is where failures of the catalog go; nil means [slog.Default].
	Log *slog.Logger
	// RequestID returns the ID of the request that a context belongs to, for
	// error messages and the log. It may be nil, and may return "".
	RequestID func(context.Context) string
	// Accounts says which namespaces and quotas there are, nil for none. Who
	// asks, [access.Of] says: a gate is wrapped around the handler; without one
	// everybody sees everything.
	Accounts *access.Accounts
	// Folder reports whether there are official images in a folder of that name;
	// nil means that they are looked for. With it, nothing is asked for about a
	// name that the caller may not see.
	Folder func(name string) bool
	// Bookmarks is after how long a stream of changes tells, if nothing else does, how
	// far it has come; 0 means 15 seconds.
	Bookmarks time.Duration
	// Stopping ends when berth is about to stop: streams end then. Nil is never.
	Stopping <-chan struct{}
	// Streams counts the streams of changes; it may be nil.
	Streams *Streams
	// Used is how many bytes count against a namespace's quota; it is wanted
	// with Accounts.
	Used func(ctx context.Context, namespace string) (int64, error)
}

// defaultMaxBody is the limit of the images API's document.
const defaultMaxBody = 1 << 20

// New returns a handler for /images and for everything below /v1/. It answers
// GET and HEAD on the routes of the API, 405 with Allow to any other method there,
// and 404 to any other path; all in the API's envelope.
//
// The filters are those of the images API, and all that are given must hold.
// count, from, after, order and sortby order and page lists; they are checked but
// have no effect on lookups, which answer in the order that was asked.
//
// Where a list cannot be read to its end, the handler panics with
// [http.ErrAbortHandler], as [http.Handler] demands for an answer that must not
// look complete.
func New(c Catalog, opts Options) http.Handler {
	if opts.MaxBody <= 0 {
		opts.MaxBody = defaultMaxBody
	}
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	if opts.RequestID == nil {
		opts.RequestID = func(context.Context) string { return "" }
	}
	if opts.Bookmarks <= 0 {
		opts.Bookmarks = defaultBookmarks
	}
	if opts.Streams == nil {
		opts.Streams = &Streams{}
	}
	h := &handler{catalog: bounded{c, opts.Memory}, opts: opts, cursors: newCursors(opts.CursorKey)}
	h.hub = &hub{catalog: h.catalog, log: opts.Log, stats: opts.Streams}
	return h
}

type handler struct {
	catalog Catalog
	opts    Options
	cursors *cursors
	hub     *hub
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	// The path as it was sent: a route has one spelling.
	found, id := routeOf(r.URL.EscapedPath())
	if found == nil {
		h.fail(w, r, &failure{http.StatusNotFound, "path: " + shown(r.URL.Path) +
			" is not part of the API; want /v1/images, /v1/images/list or /v1/image-store (/v1/openapi.yaml has all)"})
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		h.fail(w, r, &failure{http.StatusMethodNotAllowed, "method: " + shown(r.Method) +
			" is not allowed here; want GET or HEAD (images are pushed and deleted through /v2/)"})
		return
	}
	c := &call{handler: h, w: w, r: r, start: start, id: id, render: found.render, brief: found.brief, hosts: hosts{h.opts.PublicHost, r.Host, h.opts.IndexHost}}
	if !found.public {
		var ok bool
		if c.caller, ok = h.identify(w, r, found.render != nil); !ok {
			return
		}
	}
	if err := found.answer(c); err != nil {
		h.fail(w, r, err)
	}
}

// call is one request that was understood.
type call struct {
	*handler
	w     http.ResponseWriter
	r     *http.Request
	start time.Time
	// id is the UUID in the path, "" for none.
	id string
	// hidden is what was spent on what does not exist for the caller: how long
	// that took would tell what does so for others.
	hidden time.Duration
	render render
	brief  bool
	hosts  hosts
	// caller is who asks. What it may not see does not exist for it.
	caller access.Caller
	query  query
	// items are what is looked up, in the order of the answer; nothing means
	// that a list is wanted.
	items []item
	// only, unless nil, are the UUIDs that what is asked by name may have.
	only map[uuid.UUID]struct{}
	// within are the items of the query where the body has items too: each
	// image must then match one of them as well; nil for none.
	within *selectors
	// seen, if there are several items, is what is known of images by now.
	seen *seen
	// readerNames are those of the repository readersOf by the accounts readersIn: see
	// readers.
	readersIn   *access.Snapshot
	readersOf   string
	readerNames []string
	// out is what an answer is written to once it has begun; nil before.
	out *stream
}

// read reads the query and the body. Whatever the client got wrong is a
// *failure.
func (c *call) read() error {
	var err error
	if c.query, err = parseQuery(c.r.URL.RawQuery, c.hosts); err != nil {
		return err
	}
	held := c.opts.Memory.Hold()
	defer held.Release()
	body, err := readBody(c.w, c.r, held, c.opts.MaxBody)
	if err != nil {
		return err
	}
	items, err := parseBody(body, c.hosts)
	if err != nil {
		return err
	}
	if c.id != "" {
		if len(items) > 0 {
			return malformed("body: the path has the uuid of an image; want no body here, or a lookup at /v1/images")
		}
		items = []item{{uuid: c.id}}
	}
	switch {
	case len(items) > 0:
		c.items, c.only = items, uuidSet(c.query.uuids)
		if c.within, err = newSelectors(c.query.items, c.hosts); err != nil {
			return err
		}
	case len(c.query.items) > 0:
		c.items, c.only = c.query.items, uuidSet(c.query.uuids)
	default:
		c.items = c.query.uuids
	}
	return nil
}
