package storage

import (
	"context"
	"fmt"
	"strings"
	"sync"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
)

// roomy is a driver that knows how much room there is.
type roomy interface {
	// Room is how many bytes there are to write, and how many there are in all.
	Room() (free, size int64, err error)
}

// floorShare is the part of a disk that is kept free at most: one in so many.
const floorShare = 10

// KeepFree has uploads end before they leave fewer bytes free than that, or than
// a tenth of the disk if that is less; 0 lets them take all. It is called before
// the store is used. A driver that does not know has no floor.
func (s *Store) KeepFree(bytes int64) { s.floor = bytes }

// full is what a client is told before the disk is.
var full = &Error{Code: Full, Message: "the registry's disk is nearly full: it takes no uploads until there is room; it can be read, and images can be deleted"}

// Room returns an error of the code [Full] if so many bytes more would leave less
// free than [Store.KeepFree] has it.
func (s *Store) Room(bytes int64) error {
	if s.floor == 0 || s.room == nil {
		return nil
	}
	free, size, err := s.room()
	if err != nil {
		return nil // whoever writes will see
	}
	if floor := min(s.floor, size/floorShare); free-max(bytes, 0) < floor {
		return &Error{Code: full.Code, Message: full.Message, Err: fmt.Errorf("%d bytes are free, %d are wanted, %d are kept free", free, bytes, floor)}
	}
	return nil
}

// FreeBytes is how many bytes there are to write, and how many there are in all;
// ok is false if the driver does not know.
func (s *Store) FreeBytes() (free, size int64, ok bool) {
	if s.room == nil {
		return 0, 0, false
	}
	free, size, err := s.room()
	return free, size, err == nil
}

// Uploads notes which uploads a request has written to. It is safe for
// concurrent use.
type Uploads struct {
	mu   sync.Mutex
	seen map[Upload]struct{} // guarded by mu
}

type uploadsKey struct{}

// NoteUploads returns a context whose uploads are noted, also those of which the
// client was never told.
func NoteUploads(ctx context.Context) (context.Context, *Uploads) {
	u := &Uploads{}
	return context.WithValue(ctx, uploadsKey{}, u), u
}

// All are the uploads that were written to.
func (u *Uploads) All() []Upload {
	u.mu.Lock()
	defer u.mu.Unlock()
	all := make([]Upload, 0, len(u.seen))
	for one := range u.seen {
		all = append(all, one)
	}
	return all
}

func noteUpload(ctx context.Context, p string) {
	u, ok := ctx.Value(uploadsKey{}).(*Uploads)
	if !ok {
		return
	}
	rest, isStored := strings.CutPrefix(p, repositories+"/")
	repository, below, isUpload := strings.Cut(rest, "/_uploads/")
	id, _, _ := strings.Cut(below, "/")
	if !isStored || !isUpload || id == "" {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.seen == nil {
		u.seen = make(map[Upload]struct{})
	}
	u.seen[Upload{repository, id}] = struct{}{}
}

// Writer implements storagedriver.StorageDriver. It stops where the floor is.
func (p pushDriver) Writer(ctx context.Context, to string, again bool) (storagedriver.FileWriter, error) {
	noteUpload(ctx, to)
	w, err := p.StorageDriver.Writer(ctx, to, again)
	if err != nil || p.store.floor == 0 || p.store.room == nil {
		return w, err
	}
	return &flooredWriter{FileWriter: w, store: p.store}, nil
}

// flooredWriter looks now and then whether there is still room.
type flooredWriter struct {
	storagedriver.FileWriter
	store   *Store
	written int64 // since it was looked
}

// lookEvery is how many bytes are written between two looks at the room.
const lookEvery = 8 << 20

func (f *flooredWriter) Write(p []byte) (int, error) {
	if f.written += int64(len(p)); f.written > lookEvery {
		f.written = 0
		if err := f.store.Room(int64(len(p))); err != nil {
			return 0, err
		}
	}
	return f.FileWriter.Write(p)
}
