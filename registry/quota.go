package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/opencontainers/go-digest"
)

// quotas keeps namespaces within what they may store.
//
// What counts is the blobs that manifests of the namespace refer to, each once,
// and the bytes received of uploads that are not finished. An upload that
// nobody has continued for uploadRest no longer counts; continued, it does
// again.
type quotas struct {
	limit  func(namespace string) int64 // in bytes; 0: none
	stored func(ctx context.Context, namespace string) (int64, error)
	unused func(ctx context.Context, namespace string, blobs []digest.Digest) ([]digest.Digest, error)

	mu      sync.Mutex
	uploads map[string]map[string]*upload // by namespace and ID; guarded by mu
	pushing map[string]*pushing           // by namespace; guarded by mu
}

type upload struct {
	bytes int64
	last  time.Time
}

// pushing lets one manifest at a time into a namespace that has a quota, so
// that what one adds is counted when the next is judged.
type pushing struct {
	sync.Mutex
	users int // guarded by quotas.mu
}

const uploadRest = time.Hour

func newQuotas(limit func(string) int64, c Catalog) *quotas {
	return &quotas{
		limit: limit, stored: c.StoredBytes, unused: c.Unused,
		uploads: make(map[string]map[string]*upload), pushing: make(map[string]*pushing),
	}
}

func namespaceOf(repository string) string {
	namespace, _, _ := strings.Cut(repository, "/")
	return namespace
}

// exceeded is what a client is told, in words that nobody takes for a lack of
// rights.
func exceeded(namespace string, used, limit, needed int64) error {
	return errcode.ErrorCodeDenied.WithMessage(fmt.Sprintf(
		"the storage quota of %s would be exceeded: %s of %s used, %s more needed; delete images that are no longer wanted, or ask for a larger quota",
		namespace, size(used), size(limit), size(needed)))
}

// size writes bytes for people, exactly where it matters.
func size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, exp := float64(n)/unit, 0
	for value >= unit && exp < 4 {
		value, exp = value/unit, exp+1
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTP"[exp])
}

// room returns an error if the namespace cannot take so many bytes more.
func (q *quotas) room(ctx context.Context, namespace string, needed int64) error {
	limit := q.limit(namespace)
	if limit == 0 || needed <= 0 {
		return nil
	}
	stored, err := q.stored(ctx, namespace)
	if err != nil {
		return unavailable(err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if used := stored + q.uploading(namespace); used+needed > limit {
		return exceeded(namespace, used, limit, needed)
	}
	return nil
}

// reserve counts up to so many bytes more for an upload that has some already,
// and returns how many there is room for. A namespace without a quota has room
// for all, and nothing is counted.
func (q *quotas) reserve(ctx context.Context, namespace, id string, has, wanted int64) (int64, error) {
	limit := q.limit(namespace)
	if limit == 0 {
		return wanted, nil
	}
	stored, err := q.stored(ctx, namespace)
	if err != nil {
		return 0, unavailable(err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.uploads[namespace], id)
	free := max(0, limit-stored-q.uploading(namespace)-has)
	granted := min(wanted, free)
	q.set(namespace, id, has+granted)
	return granted, nil
}

// received notes how far an upload has come.
func (q *quotas) received(namespace, id string, bytes int64) {
	if q.limit(namespace) == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.set(namespace, id, bytes)
}

func (q *quotas) set(namespace, id string, bytes int64) {
	if q.uploads[namespace] == nil {
		q.uploads[namespace] = make(map[string]*upload)
	}
	q.uploads[namespace][id] = &upload{bytes, time.Now()}
}

// used is what counts against a namespace's quota.
func (q *quotas) used(ctx context.Context, namespace string) (int64, error) {
	stored, err := q.stored(ctx, namespace)
	q.mu.Lock()
	defer q.mu.Unlock()
	return stored + q.uploading(namespace), err
}

// uploading is how many bytes of unfinished uploads a namespace has. The caller
// holds the lock.
func (q *quotas) uploading(namespace string) (bytes int64) {
	for id, u := range q.uploads[namespace] {
		if time.Since(u.last) > uploadRest {
			delete(q.uploads[namespace], id)
			continue
		}
		bytes += u.bytes
	}
	return bytes
}

// ended notes that an upload has become a blob, or nothing.
func (q *quotas) ended(namespace, id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if delete(q.uploads[namespace], id); len(q.uploads[namespace]) == 0 {
		delete(q.uploads, namespace)
	}
}

// enter waits for the turn of a manifest in a namespace that has a quota.
func (q *quotas) enter(namespace string) (leave func()) {
	if q.limit(namespace) == 0 {
		return func() {}
	}
	q.mu.Lock()
	p := q.pushing[namespace]
	if p == nil {
		p = &pushing{}
		q.pushing[namespace] = p
	}
	p.users++
	q.mu.Unlock()
	p.Lock()
	return func() {
		p.Unlock()
		q.mu.Lock()
		defer q.mu.Unlock()
		if p.users--; p.users == 0 {
			delete(q.pushing, namespace)
		}
	}
}

// admit makes room for the blobs of a manifest that nothing in its namespace
// refers to yet, or returns an error. done is called once the manifest is
// stored and counted, or is not.
func (q *quotas) admit(ctx context.Context, repository string, m distribution.Manifest, blobs distribution.BlobStatter) (done func(), err error) {
	namespace := namespaceOf(repository)
	if q.limit(namespace) == 0 {
		return func() {}, nil
	}
	leave := q.enter(namespace)
	needed, err := q.adds(ctx, namespace, m, blobs)
	if err == nil {
		err = q.room(ctx, namespace, needed)
	}
	if err != nil {
		leave()
		return nil, err
	}
	const id = "manifest" // no upload has such an ID, and one manifest comes at a time
	q.received(namespace, id, needed)
	return func() { q.ended(namespace, id); leave() }, nil
}

// adds is how many bytes a manifest would add to its namespace.
func (q *quotas) adds(ctx context.Context, namespace string, m distribution.Manifest, blobs distribution.BlobStatter) (bytes int64, err error) {
	seen := make(map[digest.Digest]bool)
	var refs []digest.Digest
	for _, d := range m.References() {
		if !seen[d.Digest] && d.Digest.Validate() == nil {
			seen[d.Digest] = true
			refs = append(refs, d.Digest)
		}
	}
	fresh, err := q.unused(ctx, namespace, refs)
	if err != nil {
		return 0, unavailable(err)
	}
	for _, d := range fresh {
		desc, err := blobs.Stat(ctx, d)
		if errors.Is(err, distribution.ErrBlobUnknown) {
			continue // a manifest of an index, or missing: then it is refused for that
		}
		if err != nil {
			return 0, unavailable(err)
		}
		bytes += desc.Size
	}
	return bytes, nil
}

// meteredWriter counts what an upload receives, and stops it where the quota
// ends: also one that declares no length.
type meteredWriter struct {
	distribution.BlobWriter
	ctx       context.Context
	quotas    *quotas
	namespace string
}

// ReadFrom takes no more than there is room for. An upload that wants more is
// cancelled, so that nothing of it is left to count.
func (w *meteredWriter) ReadFrom(r io.Reader) (total int64, err error) {
	const piece = 1 << 20
	for {
		room, err := w.quotas.reserve(w.ctx, w.namespace, w.ID(), w.Size(), piece)
		if err != nil {
			return total, err
		}
		n, err := w.BlobWriter.ReadFrom(io.LimitReader(r, room))
		w.quotas.received(w.namespace, w.ID(), w.Size())
		if total += n; err != nil || n < room {
			return total, err
		}
		if room == piece {
			continue
		}
		// No room is left; that is fine if nothing more comes.
		if extra, _ := io.CopyN(io.Discard, r, 1); extra == 0 {
			return total, nil
		}
		return total, w.stop()
	}
}

// Write does the same for one piece.
func (w *meteredWriter) Write(p []byte) (int, error) {
	room, err := w.quotas.reserve(w.ctx, w.namespace, w.ID(), w.Size(), int64(len(p)))
	if err != nil {
		return 0, err
	}
	if room < int64(len(p)) {
		return 0, w.stop()
	}
	return w.BlobWriter.Write(p)
}

func (w *meteredWriter) stop() error {
	limit := w.quotas.limit(w.namespace)
	used, err := w.quotas.used(w.ctx, w.namespace)
	if err != nil {
		return err
	}
	over := exceeded(w.namespace, used, limit, 1)
	if r, ok := w.ctx.Value(refusalKey{}).(*refusal); ok {
		r.err = over
	}
	return errors.Join(over, w.Cancel(context.WithoutCancel(w.ctx)))
}

// Cancel ends the upload.
func (w *meteredWriter) Cancel(ctx context.Context) error {
	w.quotas.ended(w.namespace, w.ID())
	return w.BlobWriter.Cancel(ctx)
}

// Commit makes the upload a blob, which counts once a manifest refers to it.
func (w *meteredWriter) Commit(ctx context.Context, d distribution.Descriptor) (distribution.Descriptor, error) {
	canonical, err := w.BlobWriter.Commit(ctx, d)
	if err == nil {
		w.quotas.ended(w.namespace, w.ID())
	}
	return canonical, err
}

// refusal is where a request's context notes that an upload was stopped.
type refusal struct {
	// err is why, if distribution would tell the client that something unknown
	// went wrong.
	err error
	// discard is the upload whose remains are to be removed, once distribution
	// has let go of it.
	discard string
}

type refusalKey struct{}
