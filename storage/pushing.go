package storage

import (
	"context"
	"path"
	"strings"
	"sync/atomic"
	"time"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"
)

type uploadingKey struct{}

// Uploading is the context of a request to an upload. Within it, [Finishing] is
// heard.
func Uploading(ctx context.Context) context.Context {
	return context.WithValue(ctx, uploadingKey{}, new(atomic.Bool))
}

// Finishing says that the upload of a context has all its bytes. distribution
// would still write down how far its hash has come, and nobody reads that any
// more: either the blob is stored and the upload gone, or the bytes are hashed
// again.
func Finishing(ctx context.Context) {
	if finishing, ok := ctx.Value(uploadingKey{}).(*atomic.Bool); ok {
		finishing.Store(true)
	}
}

func isFinishing(ctx context.Context) bool {
	finishing, ok := ctx.Value(uploadingKey{}).(*atomic.Bool)
	return ok && finishing.Load()
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
		if _, err := p.store.Examine(byItself(ctx), d, ByPush); err != nil && CodeOf(err) != NotFound && CodeOf(err) != Damaged {
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

// PutContent implements storagedriver.StorageDriver. The state of an upload's
// hash is not written where it says nothing: of no bytes, or of an upload that
// is finished.
func (p pushDriver) PutContent(ctx context.Context, path string, content []byte) error {
	if offset, ok := hashState(path); ok && (offset == "0" || isFinishing(ctx)) {
		return nil
	}
	noteUpload(ctx, path)
	if at := p.before(path); !at.IsZero() {
		return p.arrived(ctx, path, p.store.timed.PutContentAt(ctx, path, content, at))
	}
	return p.arrived(ctx, path, p.StorageDriver.PutContent(ctx, path, content))
}

// Move implements storagedriver.StorageDriver.
func (p pushDriver) Move(ctx context.Context, from, to string) error {
	if at := p.before(to); !at.IsZero() {
		return p.arrived(ctx, to, p.store.timed.MoveAt(ctx, from, to, at))
	}
	return p.arrived(ctx, to, p.StorageDriver.Move(ctx, from, to))
}

// before is when the bytes that belong at a path were there before they were
// damaged, zero if they were not.
func (p pushDriver) before(path string) time.Time {
	d, ok := blobAt(path)
	if !ok || p.store.timed == nil {
		return time.Time{}
	}
	return p.store.storedBefore(d)
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
		onceDurable(ctx, func(ctx context.Context) { p.store.arrived(ctx, d) })
	}
	return err
}

// hashState is the number of bytes of which a path has the state of an upload's
// hash, if it is such a path.
func hashState(name string) (offset string, ok bool) {
	rest, ok := strings.CutPrefix(name, repositories+"/")
	if !ok {
		return "", false
	}
	_, rest, ok = strings.Cut(rest, "/_uploads/")
	parts := strings.Split(rest, "/")
	return path.Base(name), ok && len(parts) == 4 && parts[1] == "hashstates"
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
