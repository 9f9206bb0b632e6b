package storage

import (
	"context"
	"errors"
	"path"
	"strings"
	"sync"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
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

// pushDriver is what distribution stores with.
type pushDriver struct {
	storagedriver.StorageDriver
	store *Store
}

// Stat implements storagedriver.StorageDriver. Damaged bytes are not there.
func (p pushDriver) Stat(ctx context.Context, at string) (storagedriver.FileInfo, error) {
	d, ok := blobAt(at)
	if push := pushOf(ctx); ok && push != nil {
		if err := push.rely(ctx, d); err != nil {
			return nil, err
		}
		if _, err := p.store.Examine(ctx, d, ByPush); err != nil && CodeOf(err) != NotFound && CodeOf(err) != Damaged {
			return nil, err
		}
	}
	return p.StorageDriver.Stat(ctx, at)
}

// GetContent implements storagedriver.StorageDriver. Bytes that do not have
// their digest are not there.
func (p pushDriver) GetContent(ctx context.Context, path string) ([]byte, error) {
	content, err := p.StorageDriver.GetContent(ctx, path)
	if d, ok := blobAt(path); ok && err == nil && p.store.check(ctx, d, content) != nil {
		return nil, storagedriver.PathNotFoundError{Path: path, DriverName: p.Name()}
	}
	return content, err
}

// PutContent implements storagedriver.StorageDriver.
func (p pushDriver) PutContent(ctx context.Context, path string, content []byte) error {
	noteUpload(ctx, path)
	err := p.StorageDriver.PutContent(ctx, path, content)
	return p.arrived(ctx, path, err)
}

// Move implements storagedriver.StorageDriver.
func (p pushDriver) Move(ctx context.Context, from, to string) error {
	return p.arrived(ctx, to, p.StorageDriver.Move(ctx, from, to))
}

func (p pushDriver) arrived(ctx context.Context, path string, err error) error {
	d, ok := blobAt(path)
	if !ok {
		return err
	}
	if push := pushOf(ctx); push != nil {
		push.brought(d) // also if it failed: it may be there all the same
	}
	if err == nil {
		p.store.arrived(ctx, d)
	}
	return err
}

// blobAt is the digest whose bytes are at a path, if it is such a path.
func blobAt(path string) (digest.Digest, bool) {
	rest, ok := strings.CutPrefix(path, root+"/blobs/")
	if !ok {
		return "", false
	}
	parts := strings.Split(rest, "/")
	if len(parts) != 4 || parts[3] != "data" {
		return "", false
	}
	d := digest.NewDigestFromEncoded(digest.Algorithm(parts[0]), parts[2])
	return d, d.Validate() == nil && blobPath(d) == path
}

// check returns [ErrDamaged] if content, which was read from storage, does not
// have its digest; what is stored is then looked at, and moved into quarantine.
func (s *Store) check(ctx context.Context, d digest.Digest, content []byte) error {
	if d.Algorithm().FromBytes(content) == d {
		return nil
	}
	if _, err := s.Examine(ctx, d, ByRead); err != nil {
		return err
	}
	return &Error{Code: Unavailable, Message: "what was read was not what is stored; try again"}
}
