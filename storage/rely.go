package storage

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
)

// Who is about to use what is stored under a digest relies on it: HEAD, mount,
// commit, the put of a manifest, and whoever brings something back from quarantine.
// Many may at the same time. Who takes something away, the sweep, the quarantine's
// end, a push that is undone, has the digest alone, or leaves it. So only who relies
// ever waits, and for nothing but the taking away of one thing, which waits for
// nobody: there are no deadlocks, whatever else is held, in whatever order.

// Guard names who relies on a digest, or has it alone.
type Guard string

// The guards, as storage/collect's model names them.
const (
	GuardHead   Guard = "head"
	GuardMount  Guard = "mount"
	GuardCommit Guard = "commit"
	GuardPut    Guard = "put"
	GuardSweep  Guard = "sweep"
	GuardEmpty  Guard = "empty"
)

// SwitchOff switches a guard off, which loses blobs: it is for tests that show
// what the guard is for. It is called before the store is used.
func (s *Store) SwitchOff(guards ...Guard) { s.reliance.off = append(s.reliance.off, guards...) }

// Rely waits until nobody takes away what is stored under some digests, or until
// ctx ends; from then on nobody does, until release is called.
func (s *Store) Rely(ctx context.Context, as Guard, digests ...digest.Digest) (release func(), err error) {
	r := &s.reliance
	r.count.Add(1)
	if slices.Contains(r.off, as) {
		return func() {}, nil
	}
	for i, d := range digests {
		if err := r.take(ctx, d); err != nil {
			r.leave(digests[:i]...)
			return nil, err
		}
	}
	return func() { r.leave(digests...) }, nil
}

// Relied is how often [Store.Rely] has been called: when it grows, somebody is
// writing, or is about to.
func (s *Store) Relied() uint64 { return s.reliance.count.Load() }

// Alone takes a digest for who takes away what is stored under it, unless somebody
// relies on it, reads it to see whether it is right, or has it alone. It does not
// wait. Until release is called, who wants to rely on it waits.
func (s *Store) Alone(as Guard, d digest.Digest) (release func(), ok bool) {
	if slices.Contains(s.reliance.off, as) {
		return func() {}, true
	}
	free, ok := s.guards.tryTake(d)
	if !ok {
		return nil, false
	}
	done, ok := s.reliance.exclude(d, 0)
	if !ok {
		free()
		return nil, false
	}
	return func() {
		done()
		free()
	}, true
}

// reliance is who relies on which digests.
type reliance struct {
	off   []Guard // for tests
	count atomic.Uint64

	mu   sync.Mutex
	held map[digest.Digest]*relied // guarded by mu
}

type relied struct {
	users int           // guarded by reliance.mu
	going chan struct{} // closed once it may be relied on again; nil if it may; guarded by reliance.mu
}

func (r *reliance) at(d digest.Digest) *relied {
	if r.held == nil {
		r.held = make(map[digest.Digest]*relied)
	}
	own := r.held[d]
	if own == nil {
		own = &relied{}
		r.held[d] = own
	}
	return own
}

func (r *reliance) take(ctx context.Context, d digest.Digest) error {
	for {
		r.mu.Lock()
		own := r.at(d)
		if own.going == nil {
			own.users++
			r.mu.Unlock()
			return nil
		}
		going := own.going
		r.mu.Unlock()
		select {
		case <-going:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *reliance) leave(digests ...digest.Digest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range digests {
		own := r.held[d]
		own.users--
		r.forget(d, own)
	}
}

// exclude takes a digest that nobody relies on but so many.
func (r *reliance) exclude(d digest.Digest, own int) (release func(), ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.at(d)
	if at.going != nil || at.users > own {
		r.forget(d, at)
		return nil, false
	}
	at.going = make(chan struct{})
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		close(at.going)
		at.going = nil
		r.forget(d, at)
	}, true
}

// forget forgets a digest that nobody holds. The caller holds mu.
func (r *reliance) forget(d digest.Digest, at *relied) {
	if at.users == 0 && at.going == nil {
		delete(r.held, d)
	}
}
