package bolt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	bbolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/berth-oci/berth/storage/fsync"
)

// schema is the version of the layout that this code reads and writes.
const schema = "3"

var (
	keySchema  = []byte("schema")
	keyStorage = []byte("storage")
	keyStats   = []byte("stats")
	keyRemains = []byte("remains")
)

// ErrNoIndex is returned by [Open] where there is no index of this storage: no
// file, or the index of another place. One is then made with [Build].
var ErrNoIndex = errors.New("no index of this storage")

// Index is a index.Index in a bbolt file.
type Index struct {
	db           *bbolt.DB
	w            *writer
	leases       *leases
	reservations *reservations
	dirty        sync.Map // the repositories that this process has marked
	// observe is told of every operation; see Observe.
	observe func(operation string, took time.Duration, err error)
}

// Observe has fn told of every operation on the index: its name (one of a few),
// how long it took, waiting included, and whether it failed. It is called
// before the index is used.
func (i *Index) Observe(fn func(operation string, took time.Duration, err error)) { i.observe = fn }

// Open opens the index at path. It returns ErrNoIndex if there is none of the
// storage that identity names (see storage.Store.Identity), and an error with
// advice if the file is in use or was written by a newer berth.
func Open(path, identity string) (*Index, error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil, ErrNoIndex
	}
	x, err := open(path, false)
	if err != nil {
		return nil, err
	}
	err = x.check(path, identity)
	if err == nil {
		err = x.workOffAll()
	}
	if err != nil {
		return nil, errors.Join(err, x.Close())
	}
	return x, nil
}

// Build makes the index at path anew: fill writes into it, unsynced, and only
// when it has returned without an error does the new file, synced, take the
// place of an old one.
func Build(path, identity string, fill func(*Index) error) (*Index, error) {
	temporary := path + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	x, err := open(temporary, true)
	if err != nil {
		return nil, err
	}
	err = x.prepare(identity)
	if err == nil {
		err = fill(x)
	}
	if err == nil {
		err = x.db.Sync()
	}
	if err = errors.Join(err, x.Close()); err != nil {
		return nil, errors.Join(err, os.Remove(temporary))
	}
	if err := os.Rename(temporary, path); err != nil {
		return nil, err
	}
	if err := fsync.Dir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	return Open(path, identity)
}

// allocSize is by how many bytes the file grows.
const allocSize = 4 << 20

func open(path string, unsynced bool) (*Index, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: time.Second,
		NoSync:  unsynced,
		// The free list is in the data and need not be written with every
		// transaction; the hash map keeps finding free pages fast.
		NoFreelistSync: true,
		FreelistType:   bbolt.FreelistMapType,
	})
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("index %s is in use by another process", path)
	case err != nil:
		return nil, fmt.Errorf("index %s cannot be opened: %w; if it is damaged, delete it: berth makes it again from storage", path, err)
	}
	db.AllocSize = allocSize
	return &Index{
		db: db, w: newWriter(db), leases: newLeases(), reservations: newReservations(),
		observe: func(string, time.Duration, error) {},
	}, nil
}

func (i *Index) check(path, identity string) error {
	return i.db.View(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(tableNamesInFile[tableMeta])
		if meta == nil {
			return ErrNoIndex
		}
		switch version := string(meta.Get(keySchema)); {
		case version > schema || len(version) > len(schema):
			return fmt.Errorf("index %s has schema %s, and this berth knows up to %s: run the newer berth that wrote it, or delete the file and berth makes it again from storage", path, version, schema)
		case version != schema:
			return ErrNoIndex
		case string(meta.Get(keyStorage)) != identity:
			return ErrNoIndex
		}
		return nil
	})
}

func (i *Index) prepare(identity string) error {
	return i.db.Update(func(tx *bbolt.Tx) error {
		for _, name := range tableNamesInFile {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		meta := tx.Bucket(tableNamesInFile[tableMeta])
		if err := meta.Put(keySchema, []byte(schema)); err != nil {
			return err
		}
		return meta.Put(keyStorage, []byte(identity))
	})
}

// Close waits for the updates under way and closes the file.
func (i *Index) Close() error {
	i.w.close()
	return i.db.Close()
}

func (i *Index) view(ctx context.Context, operation string, fn func(*session) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	begin := time.Now()
	err := i.db.View(func(tx *bbolt.Tx) error { return fn(&session{tx: tx}) })
	i.observe(operation, time.Since(begin), err)
	return err
}

func (i *Index) update(operation string, fn func(*session) error) error {
	begin := time.Now()
	err := i.w.do(func(tx *bbolt.Tx) error { return fn(&session{tx: tx}) })
	i.observe(operation, time.Since(begin), err)
	return err
}
