package registry

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/config/size"
	"github.com/berth-oci/berth/storage/reference"
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

	// mu also orders what is read of stored: a manifest that ends is stored
	// before it is no longer set aside, so that it is always counted.
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

// exceeded is what a client is told, in words that nobody takes for a lack of
// rights.
func exceeded(namespace string, used, limit, needed int64) error {
	return errcode.ErrorCodeDenied.WithMessage(fmt.Sprintf(
		"the storage quota of %s would be exceeded: %s of %s used, %s more needed; delete images that are no longer wanted, or ask for a larger quota",
		namespace, size.Text(used), size.Text(limit), size.Text(needed)))
}

// room returns an error if the namespace cannot take so many bytes more.
func (q *quotas) room(ctx context.Context, namespace string, needed int64) error {
	limit := q.limit(namespace)
	if limit == 0 || needed <= 0 {
		return nil
	}
	return q.twice(namespace, func() error {
		used, err := q.committed(ctx, namespace)
		if err == nil && used+needed > limit {
			err = exceeded(namespace, used, limit, needed)
		}
		return err
	})
}

// reserve counts so many bytes more for an upload that has some already, or
// returns an error if there is no room for them. In a namespace without a quota
// nothing is counted.
func (q *quotas) reserve(ctx context.Context, namespace, id string, has, more int64) error {
	limit := q.limit(namespace)
	if limit == 0 {
		return nil
	}
	return q.twice(namespace, func() error {
		q.mu.Lock()
		defer q.mu.Unlock()
		stored, err := q.stored(ctx, namespace)
		if err != nil {
			return unavailable(err)
		}
		delete(q.uploads[namespace], id)
		others := stored + q.uploading(namespace)
		if others+has+more > limit {
			q.set(namespace, id, has)
			return exceeded(namespace, others+has, limit, more)
		}
		q.set(namespace, id, has+more)
		return nil
	})
}

// twice looks again before it believes that there is no room: a manifest that
// is being stored counts for a moment both as what it takes and as what it
// took.
func (q *quotas) twice(namespace string, look func() error) error {
	if look() == nil {
		return nil
	}
	q.mu.Lock()
	busy := q.pushing[namespace] != nil
	q.mu.Unlock()
	if busy {
		q.enter(namespace)()
	}
	return look()
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
	q.mu.Lock()
	defer q.mu.Unlock()
	stored, err := q.stored(ctx, namespace)
	if err != nil {
		return 0, unavailable(err)
	}
	bytes := stored + q.uploading(namespace)
	if m := q.uploads[namespace][manifestID]; m != nil {
		bytes -= m.bytes // it is stored, or it is not
	}
	return bytes, nil
}

// committed is used and what is set aside for a manifest.
func (q *quotas) committed(ctx context.Context, namespace string) (int64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	stored, err := q.stored(ctx, namespace)
	if err != nil {
		return 0, unavailable(err)
	}
	return stored + q.uploading(namespace), nil
}

// manifestID is under what the bytes are counted that are set aside for a
// manifest: no upload has such an ID, and one manifest comes at a time.
const manifestID = "manifest"

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
	namespace := reference.Namespace(repository)
	if q.limit(namespace) == 0 {
		return func() {}, nil
	}
	leave := q.enter(namespace)
	needed, err := q.adds(ctx, namespace, m, blobs)
	var used int64
	if err == nil {
		used, err = q.committed(ctx, namespace)
	}
	if limit := q.limit(namespace); err == nil && needed > 0 && used+needed > limit {
		err = exceeded(namespace, used, limit, needed)
	}
	if err != nil {
		leave()
		return nil, err
	}
	q.received(namespace, manifestID, needed)
	return func() { q.ended(namespace, manifestID); leave() }, nil
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
