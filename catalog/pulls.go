package catalog

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/index"
)

const (
	// flushPulls is how often pulls are written to the index, and maxPulled of how
	// many images they are kept until then: of more than that some are not counted.
	flushPulls = 10 * time.Minute
	maxPulled  = 10_000
	// pullsStep is of how many images one transaction writes the pulls.
	pullsStep = 500
)

// pulls counts pulls in memory. They are written together, now and then: nobody who
// pulls waits for a write, and a crash loses those of the last minutes.
type pulls struct {
	mu    sync.Mutex
	count map[pulled]int64 // guarded by mu
	last  time.Time        // when they were written; of the task in the background
}

type pulled struct {
	repository string
	digest     digest.Digest
}

// NotePull counts a pull of a manifest, by any of its digests.
func (c *Catalog) NotePull(repository string, dgst digest.Digest) {
	p := pulled{repository, dgst}
	c.pulls.mu.Lock()
	defer c.pulls.mu.Unlock()
	if _, known := c.pulls.count[p]; known || len(c.pulls.count) < maxPulled {
		c.pulls.count[p]++
	}
}

// writePulls writes what has been counted into the index.
func (c *Catalog) writePulls(ctx context.Context, now time.Time) error {
	c.pulls.mu.Lock()
	count := c.pulls.count
	c.pulls.count = make(map[pulled]int64)
	c.pulls.mu.Unlock()
	c.pulls.last = now
	all := make([]index.Pulls, 0, len(count))
	for p, n := range count {
		all = append(all, index.Pulls{Repository: p.repository, Digest: p.digest, Count: n, Last: now})
	}
	for some := range slices.Chunk(all, pullsStep) {
		if err := c.index.AddPulls(ctx, some); err != nil {
			return err
		}
	}
	return nil
}
