package storage

import (
	"context"
	"errors"
	"path"
	"sync"

	"github.com/opencontainers/go-digest"
)

type pushKey struct{}

// Push is who stores bytes under their digest: distribution keeps what it finds
// there and throws the new bytes away. With a push in its context it finds only
// what is right; see [Store.ExamineWith] for what that costs.
type Push struct {
	store *Store

	mu   sync.Mutex
	seen map[digest.Digest]bool // guarded by mu; true if the bytes came with this push
}

// BeginPush begins a push; it lasts until its End.
func (s *Store) BeginPush(ctx context.Context) (context.Context, *Push) {
	p := &Push{store: s, seen: make(map[digest.Digest]bool)}
	return context.WithValue(ctx, pushKey{}, p), p
}

func pushOf(ctx context.Context) *Push {
	p, _ := ctx.Value(pushKey{}).(*Push)
	return p
}

// pushes are the digests that pushes have looked for and may rely on.
type pushes struct {
	mu    sync.Mutex
	count map[digest.Digest]int // guarded by mu
}

// rely notes that the push may rely on what is stored under a digest. Who wants
// to remove it again holds the guard of the digest, as this does for a moment.
func (p *Push) rely(ctx context.Context, d digest.Digest) error {
	release, err := p.store.guards.take(ctx, d)
	if err != nil {
		return err
	}
	defer release()
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, already := p.seen[d]; already {
		return nil
	}
	p.seen[d] = false
	p.store.pushes.mu.Lock()
	defer p.store.pushes.mu.Unlock()
	if p.store.pushes.count == nil {
		p.store.pushes.count = make(map[digest.Digest]int)
	}
	p.store.pushes.count[d]++
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
	p.store.pushes.mu.Lock()
	defer p.store.pushes.mu.Unlock()
	for d := range p.seen {
		if p.store.pushes.count[d]--; p.store.pushes.count[d] == 0 {
			delete(p.store.pushes.count, d)
		}
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
	s.pushes.mu.Lock()
	alone := s.pushes.count[d] == 1
	s.pushes.mu.Unlock()
	if !alone || s.Settling(d) {
		return nil
	}
	for _, link := range []string{layerLink(repository, d), revisionLink(repository, d)} {
		if linked, err := s.isFile(ctx, link); linked || err != nil {
			return err
		}
	}
	return s.remove(ctx, path.Dir(blobPath(d)))
}
