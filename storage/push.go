package storage

import (
	"context"
	"errors"
	"path"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
)

type pushKey struct{}

// Push is who stores bytes under their digest: distribution keeps what it finds
// there and throws the new bytes away. With a push in its context it finds only
// what is right; see [Store.ExamineWith] for what that costs.
type Push struct {
	store *Store
	as    Guard

	mu   sync.Mutex
	seen map[digest.Digest]bool // guarded by mu; true if the bytes came with this push
}

// BeginPush begins a push; it lasts until its End, which is after the index has what
// came of it: until then nothing takes away what it relies on.
func (s *Store) BeginPush(ctx context.Context, as Guard) (context.Context, *Push) {
	p := &Push{store: s, as: as, seen: make(map[digest.Digest]bool)}
	return context.WithValue(ctx, pushKey{}, p), p
}

func pushOf(ctx context.Context) *Push {
	p, _ := ctx.Value(pushKey{}).(*Push)
	return p
}

// Rely has the push rely on what is stored under some digests, see [Store.Rely].
func (p *Push) Rely(ctx context.Context, digests ...digest.Digest) error {
	for _, d := range digests {
		if err := p.rely(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

func (p *Push) rely(ctx context.Context, d digest.Digest) error {
	p.mu.Lock()
	_, already := p.seen[d]
	p.mu.Unlock()
	if already || slices.Contains(p.store.reliance.off, p.as) {
		return nil
	}
	if err := p.store.reliance.take(ctx, d); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, already := p.seen[d]; already {
		p.store.reliance.leave(d)
		return nil
	}
	p.seen[d] = false
	return nil
}

func (p *Push) brought(d digest.Digest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, relied := p.seen[d]; relied {
		p.seen[d] = true
	}
}

// End ends the push, however it went.
func (p *Push) End() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for d := range p.seen {
		p.store.reliance.leave(d)
	}
	clear(p.seen)
}

// Undo removes the bytes that came with a push to a repository that failed, if
// the repository does not link them and no other push has seen them.
func (p *Push) Undo(ctx context.Context, repository string) error {
	p.mu.Lock()
	var brought []digest.Digest
	for d, came := range p.seen {
		if came {
			brought = append(brought, d)
		}
	}
	p.mu.Unlock()
	var errs []error
	for _, d := range brought {
		errs = append(errs, p.undo(ctx, repository, d))
	}
	return errors.Join(errs...)
}

func (p *Push) undo(ctx context.Context, repository string, d digest.Digest) error {
	s := p.store
	release, err := s.guards.take(ctx, d)
	if err != nil {
		return err
	}
	defer release()
	done, alone := s.reliance.exclude(d, 1)
	if !alone {
		return nil
	}
	defer done()
	if s.Settling(d) {
		return nil
	}
	for _, link := range []string{layerLink(repository, d), revisionLink(repository, d)} {
		if linked, err := s.isFile(ctx, link); linked || err != nil {
			return err
		}
	}
	return s.remove(ctx, path.Dir(blobPath(d)))
}
