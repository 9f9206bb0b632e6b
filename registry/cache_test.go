package registry

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// TestContentCache: it stays within its bytes, keeps what was read last, and
// takes nothing that is large.
func TestContentCache(t *testing.T) {
	const limit = 64 << 10
	c := newContentCache(limit)
	digests := make([]digest.Digest, 0, 200)
	for i := range 200 {
		body := []byte(strings.Repeat(fmt.Sprint(i%10), 100+i*7))
		d := digest.FromBytes(body)
		digests = append(digests, d)
		c.put(d, cached{body, "type"})
		c.put(d, cached{body, "type"}) // counted once
		if i < 20 {
			if _, ok := c.get(digests[0]); !ok {
				t.Fatalf("the first is gone after %d", i)
			}
		}
		if c.bytes > limit {
			t.Fatalf("%d bytes after %d manifests", c.bytes, i+1)
		}
	}
	if m, ok := c.get(digests[199]); !ok || m.mediaType != "type" || digest.FromBytes(m.body) != digests[199] {
		t.Errorf("the last is not there: %+v", m.mediaType)
	}
	if _, ok := c.get(digests[0]); ok {
		t.Error("the first is still there")
	}
	sum := 0
	for _, m := range c.byUse.Values() {
		sum += m.bytes()
	}
	if sum != c.bytes {
		t.Errorf("%d bytes are counted, and %d are there", c.bytes, sum)
	}
	large := make([]byte, maxCachedOne+1)
	c.put(digest.FromBytes(large), cached{large, "type"})
	if _, ok := c.get(digest.FromBytes(large)); ok {
		t.Error("a large one is kept")
	}
}
