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
	g.mu.Unlock()
	select {
	case <-own.free:
	case <-ctx.Done():
		g.leave(d, own)
		return nil, ctx.Err()
	}
	return func() {
		own.free <- struct{}{}
		g.leave(d, own)
	}, nil
}

// tryTake takes the guard of a digest if nobody has it or waits for it.
func (g *guards) tryTake(d digest.Digest) (release func(), ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held[d] != nil {
		return nil, false
	}
	if g.held == nil {
		g.held = make(map[digest.Digest]*guard)
	}
	own := &guard{free: make(chan struct{}, 1), users: 1}
	g.held[d] = own
	return func() {
		own.free <- struct{}{}
		g.leave(d, own)
	}, true
}

func (g *guards) leave(d digest.Digest, own *guard) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if own.users--; own.users == 0 {
		delete(g.held, d)
	}
}
