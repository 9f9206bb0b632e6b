package registry

import (
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/opencontainers/go-digest"
)

const (
	// maxCached is what the cache of manifests holds at most, and maxCachedOne
	// the largest manifest in it, both in bytes; maxCachedBlobs and maxSmallBlob
	// are those for blobs: configs, of which every pull has one.
	maxCached      = 32 << 20
	maxCachedOne   = 1 << 20
	maxCachedBlobs = 8 << 20
	maxSmallBlob   = 16 << 10
	// entryBytes is what an entry takes beside its content, roughly.
	entryBytes = 512
)

// cached is content whose bytes have its digest, and the media type under which
// it is served. Both are never changed.
type cached struct {
	body      []byte
	mediaType string
}

func (c cached) bytes() int { return len(c.body) + entryBytes }

// contentCache holds what was read last, by its canonical digest, up to a number
// of bytes. It knows nothing of repositories: who asks it knows from the index
// that a repository has it.
type contentCache struct {
	mu    sync.Mutex
	byUse *simplelru.LRU[digest.Digest, cached] // guarded by mu
	bytes int                                   // guarded by mu
	max   int
}

func newContentCache(limit int) *contentCache {
	c := &contentCache{max: limit}
	// Bounded by bytes; so many entries do not fit.
	c.byUse, _ = simplelru.NewLRU(limit/entryBytes+1, func(_ digest.Digest, gone cached) { c.bytes -= gone.bytes() })
	return c
}

func (m *contentCache) get(d digest.Digest) (cached, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.byUse.Get(d)
}

func (m *contentCache) put(d digest.Digest, c cached) {
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
