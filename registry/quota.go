package registry

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/distribution/distribution/v3"
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/config/size"
	"github.com/berth-oci/berth/storage"
	"github.com/berth-oci/berth/storage/reference"
)

// quotas keeps namespaces within what they may store.
//
// What counts is the blobs that manifests of the namespace refer to, each once,
// and the bytes received of uploads that are not finished. An upload that
// nobody has continued for uploadRest no longer counts; continued, it does
// again. The catalog counts both in one look, namespace by namespace.
type quotas struct {
	limit   func(namespace string) int64 // in bytes; 0: none
	catalog Catalog

	mu      sync.Mutex
	pushing map[string]*pushing // by namespace; filtered by mu
}

// pushing lets one manifest at a time into a namespace that has a quota, so
// that what one adds is counted when the next is judged.
type pushing struct {
	sync.Mutex
	users int // filtered by quotas.mu
}

const uploadRest = time.Hour

// manifestKey is under what the bytes are set aside that a manifest adds: no
// upload has such an ID, and one manifest comes at a time.
const manifestKey = "manifest"

func newQuotas(limit func(string) int64, c Catalog) *quotas {
	return &quotas{limit: limit, catalog: c, pushing: make(map[string]*pushing)}
}

// exceeded is what a client is told, in words that nobody takes for a lack of
// rights.
func exceeded(namespace string, used, limit, needed int64) error {
	return &storage.Error{Code: storage.Quota, Message: fmt.Sprintf(
		"the storage quota of %s would be exceeded: %s of %s used, %s more needed; delete images that are no longer wanted, or ask for a larger quota",
		namespace, size.Text(used), size.Text(limit), size.Text(needed))}
}

// reserve sets aside what an upload has and so many bytes more, or returns an
// error if there is no room for them. In a namespace without a quota nothing is
// counted.
func (q *quotas) reserve(ctx context.Context, namespace, key string, has, more int64) error {
	limit := q.limit(namespace)
	if limit == 0 {
		return nil
	}
	others, err := q.catalog.Reserve(ctx, namespace, key, has+more, limit, time.Now().Add(uploadRest))
	if err != nil && storage.CodeOf(err) == storage.Quota {
		return exceeded(namespace, others+has, limit, more)
	}
	return err
}

// room returns an error if the namespace cannot take so many bytes more.
func (q *quotas) room(ctx context.Context, namespace string, needed int64) error {
	const key = "room" // no upload has such an ID
	if needed <= 0 || q.limit(namespace) == 0 {
		return nil
	}
	err := q.reserve(ctx, namespace, key, 0, needed)
	if err == nil {
		err = q.ended(ctx, namespace, key)
	}
	return err
}

// resumed notes how far an upload has come that goes on.
func (q *quotas) resumed(ctx context.Context, namespace, id string, bytes int64) error {
	if q.limit(namespace) == 0 {
		return nil
	}
	_, err := q.catalog.Reserve(ctx, namespace, id, bytes, -1, time.Now().Add(uploadRest))
	return err
}

// used is what counts against a namespace's quota.
func (q *quotas) used(ctx context.Context, namespace string) (int64, error) {
	const key = "used"
	return q.catalog.Reserve(ctx, namespace, key, 0, -1, time.Time{})
}

// ended notes that an upload has become a blob, or nothing.
func (q *quotas) ended(ctx context.Context, namespace, key string) error {
	_, err := q.catalog.Reserve(context.WithoutCancel(ctx), namespace, key, 0, -1, time.Time{})
	return err
}

// enter waits for the turn of a manifest in a namespace that has a quota.
func (q *quotas) enter(namespace string) (leave func()) {
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
// stored and counted, or is not; it is never nil.
func (q *quotas) admit(ctx context.Context, repository string, m distribution.Manifest, blobs distribution.BlobStatter) (done func(), err error) {
	namespace := reference.Namespace(repository)
	if q.limit(namespace) == 0 {
		return func() {}, nil
	}
	leave := q.enter(namespace)
	needed, err := q.adds(ctx, namespace, m, blobs)
	if err == nil && needed > 0 {
		err = q.reserve(ctx, namespace, manifestKey, 0, needed)
	}
	if err != nil {
		leave()
		return func() {}, err
	}
	return func() {
		// Memory of this process cannot fail to be freed; another index ends
		// the reservation by itself.
		_ = q.ended(ctx, namespace, manifestKey)
		leave()
	}, nil
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
	fresh, err := q.catalog.Unused(ctx, namespace, refs)
	if err != nil {
		return 0, err
	}
	for _, d := range fresh {
		desc, err := blobs.Stat(ctx, d)
		if errors.Is(err, distribution.ErrBlobUnknown) {
			continue // a manifest of an index, or missing: then it is refused for that
		}
		if err != nil {
			return 0, err
		}
		bytes += desc.Size
	}
	return bytes, nil
}
