package registry

import (
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/opencontainers/go-digest"
)

const (
	// maxCached is what the cache of manifests holds at most, and maxCachedOne
	// the largest manifest in it, both in bytes.
	maxCached    = 32 << 20
	maxCachedOne = 1 << 20
	// entryBytes is what an entry takes beside its manifest, roughly.
	entryBytes = 512
)

// cachedManifest is a manifest whose bytes have its digest, and the media type
// under which it is served. Both are never changed.
type cachedManifest struct {
	body      []byte
	mediaType string
}

func (c cachedManifest) bytes() int { return len(c.body) + entryBytes }

// manifestCache holds the manifests that were read last, by their canonical
// digest, up to a number of bytes. It knows nothing of repositories: who asks it
// knows from the index that a repository has the manifest.
type manifestCache struct {
	mu    sync.Mutex
	byUse *simplelru.LRU[digest.Digest, cachedManifest] // guarded by mu
	bytes int                                           // guarded by mu
	max   int
}

func newManifestCache(limit int) *manifestCache {
	c := &manifestCache{max: limit}
	// Bounded by bytes; so many entries do not fit.
	c.byUse, _ = simplelru.NewLRU(limit/entryBytes+1, func(_ digest.Digest, gone cachedManifest) { c.bytes -= gone.bytes() })
	return c
}

func (m *manifestCache) get(d digest.Digest) (cachedManifest, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.byUse.Get(d)
}

func (m *manifestCache) put(d digest.Digest, c cachedManifest) {
	if len(c.body) > maxCachedOne {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byUse.Contains(d) {
		return // the same bytes
	}
	m.byUse.Add(d, c)
	for m.bytes += c.bytes(); m.bytes > m.max; {
		m.byUse.RemoveOldest()
	}
}
