package local

import (
	"context"
	"path"
	"strings"
	"sync"
	"sync/atomic"
)

// changes are what is being written: one change of a path at a time, and nobody
// reads what may yet be undone.
type changes struct {
	mu    sync.Mutex
	open  map[string]*change // by path; one of two paths is there twice
	count atomic.Int64       // of open, so that readers look without the lock
}

type change struct {
	paths []string
	shown bool // others can see it; guarded by changes.mu
	done  chan struct{}
}

func newChanges() *changes { return &changes{open: make(map[string]*change)} }

// begin returns once nobody else changes any of the paths, or what is above
// them. The caller ends the change.
func (c *changes) begin(ctx context.Context, paths ...string) (*change, error) {
	own := &change{paths: paths, done: make(chan struct{})}
	for {
		c.mu.Lock()
		other := c.conflict(paths)
		if other == nil {
			for _, p := range paths {
				c.open[p] = own
			}
			c.count.Store(int64(len(c.open)))
			c.mu.Unlock()
			return own, nil
		}
		c.mu.Unlock()
		select {
		case <-other.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (c *changes) conflict(paths []string) *change {
	for _, p := range paths {
		for at := p; at != "."; at = path.Dir(at) {
			if other := c.open[at]; other != nil {
				return other
			}
		}
	}
	return nil
}

// show says that from now on others may see the change.
func (c *changes) show(own *change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	own.shown = true
}

func (c *changes) end(own *change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range own.paths {
		delete(c.open, p)
	}
	c.count.Store(int64(len(c.open)))
	close(own.done)
}

// shown returns a change of a path, or of what is above it, that can be seen
// and may yet be undone; nil if there is none.
func (c *changes) shown(name string) *change {
	if c.count.Load() == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for at := name; at != "."; at = path.Dir(at) {
		if other := c.open[at]; other != nil && other.shown {
			return other
		}
	}
	return nil
}

// transient reports whether a name belongs to an upload in progress, of which
// nobody was told that it is kept.
func transient(name string) bool { return strings.Contains(name+"/", "/_uploads/") }

// within reports whether a name is a folder or below it.
func within(name, folder string) bool {
	return name == folder || strings.HasPrefix(name, folder+"/")
}
