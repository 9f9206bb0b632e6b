package local

import (
	"context"
	"path"
	"strings"
	"sync"
)

// changes are the paths that are being changed: each by one at a time, so that
// what happens to it in the file tree has the order that it has in the journal.
type changes struct {
	mu   sync.Mutex
	open map[string]*change // by path; one of several paths is there several times
}

type change struct {
	paths []string
	done  chan struct{}
}

func newChanges() *changes { return &changes{open: make(map[string]*change)} }

// begin returns once nobody else changes any of the paths, or what is above or
// below them: it takes all of them at once, so that no two wait for each other.
// The caller ends the change.
func (c *changes) begin(ctx context.Context, paths ...string) (*change, error) {
	own := &change{paths: paths, done: make(chan struct{})}
	for {
		c.mu.Lock()
		other := c.conflict(paths)
		if other == nil {
			for _, p := range paths {
				c.open[p] = own
			}
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
		for below, other := range c.open {
			if within(below, p) {
				return other
			}
		}
	}
	return nil
}

func (c *changes) end(own *change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range own.paths {
		delete(c.open, p)
	}
	close(own.done)
}

// transient reports whether a name belongs to an upload in progress, of which
// nobody was told that it is kept.
func transient(name string) bool { return strings.Contains(name+"/", "/_uploads/") }

// within reports whether a name is a folder or below it.
func within(name, folder string) bool {
	return name == folder || strings.HasPrefix(name, folder) && name[len(folder)] == '/'
}
