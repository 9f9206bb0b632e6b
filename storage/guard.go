package storage

import (
	"context"
	"sync"

	"github.com/opencontainers/go-digest"
)

// guards are one lock for each digest that somebody holds: whoever looks at
// bytes to move them away holds it, so that nobody else does at the same time.
type guards struct {
	mu   sync.Mutex
	held map[digest.Digest]*guard // guarded by mu
}

type guard struct {
	free  chan struct{} // holds a token while nobody holds the guard
	users int           // guarded by guards.mu
}

// take waits for the guard of a digest, or until ctx ends.
func (g *guards) take(ctx context.Context, d digest.Digest) (release func(), err error) {
	g.mu.Lock()
	own := g.use(d)
	g.mu.Unlock()
	select {
	case <-own.free:
		return func() { g.release(d, own) }, nil
	case <-ctx.Done():
		g.leave(d, own)
		return nil, ctx.Err()
	}
}

// tryTake takes the guard of a digest if nobody has it or waits for it.
func (g *guards) tryTake(d digest.Digest) (release func(), ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held[d] != nil {
		return nil, false
	}
	own := g.use(d)
	<-own.free
	return func() { g.release(d, own) }, true
}

// use is the guard of a digest, which has one more user. The caller holds mu.
func (g *guards) use(d digest.Digest) *guard {
	if g.held == nil {
		g.held = make(map[digest.Digest]*guard)
	}
	own := g.held[d]
	if own == nil {
		own = &guard{free: make(chan struct{}, 1)}
		own.free <- struct{}{}
		g.held[d] = own
	}
	own.users++
	return own
}

func (g *guards) release(d digest.Digest, own *guard) {
	own.free <- struct{}{}
	g.leave(d, own)
}

func (g *guards) leave(d digest.Digest, own *guard) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if own.users--; own.users == 0 {
		delete(g.held, d)
	}
}
