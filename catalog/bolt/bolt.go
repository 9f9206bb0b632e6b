package bolt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	bbolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/berth-oci/berth/storage/fsync"
)

// schema is the version of the layout that this code reads and writes.
const schema = "5"

var (
	keySchema  = []byte("schema")
	keyStorage = []byte("storage")
	keyStats   = []byte("stats")
	keyRemains = []byte("remains")
	keyKept    = []byte("kept")
	keyUptime  = []byte("uptime")
)

// ErrNoIndex is returned by [Open] where there is no index of this storage: no
// file, or the index of another place. One is then made with [Build].
var ErrNoIndex = errors.New("no index of this storage")

// Index is a index.Index in a bbolt file.
type Index struct {
	path         string
	db           *bbolt.DB
	health       *health
	w            *writer
	arrivals     *arrivals
	leases       *leases
	reservations *reservations
	feed         feed
	building     *building // nil but in a Build
	dirty        sync.Map  // the repositories that this process has marked
	clock        clock
	// observe is told of every operation; see Observe.
	observe func(operation string, took time.Duration, err error)
}

// Observe has fn told of every operation on the index: its name (one of a few),
// how long it took, waiting included, and whether it failed. It is called
// before the index is used.
func (i *Index) Observe(fn func(operation string, took time.Duration, err error)) { i.observe = fn }

// Open opens the index at path, which does not read it: what is free is written
// down in it. It returns ErrNoIndex if there is none of the storage that identity
// names (see storage.Store.Identity), or one of an older form, ErrDamaged if it is
// damaged, and an error with advice if the file is in use, cannot be written, or
// was written by a newer berth.
func Open(path, identity string) (*Index, error) {
	keepsFree, err := inspect(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, ErrNoIndex
	case errors.Is(err, ErrDamaged):
		return nil, err
	case err != nil:
		return nil, advise(path, err)
	case !keepsFree:
		return nil, fmt.Errorf("%w: it has an older form", ErrNoIndex)
	}
	if what, err := os.ReadFile(damaged(path)); err == nil {
		return nil, fmt.Errorf("%w: %s: %s", ErrDamaged, path, strings.TrimSpace(string(what)))
	}
	x, err := open(path, false)
	if err != nil {
		return nil, err
	}
	err = x.check(identity)
	if err == nil {
		err = x.beginFeed()
	}
	if err == nil {
		err = x.workOffAll()
	}
	if err == nil {
		err = x.startClock()
	}
	if err != nil {
		return nil, errors.Join(err, x.Close())
	}
	return x, nil
}

// Build makes the index at path anew: fill writes into it, unsynced, and only
// when it has returned without an error does the new file, synced, take the
// place of an old one. What a Build wrote that was cut off is there when fill
// begins, unless the machine has started since, which may have lost some of it.
func Build(path, identity string, fill func(*Index) error) (*Index, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, advise(path, err)
	}
	temporary := path + ".new"
	x, err := goOn(temporary, identity)
	if err != nil {
		return nil, err
	}
	err = fill(x)
	if err == nil {
		err = x.db.Sync()
	}
	if err = errors.Join(err, x.Close()); err != nil {
		return nil, err
	}
	if err := os.Rename(temporary, path); err != nil {
		return nil, err
	}
	if err := os.Remove(damaged(path)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, advise(path, err)
	}
	if err := fsync.Dir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	return Open(path, identity)
}

func open(path string, unsynced bool) (*Index, error) {
	var db *bbolt.DB
	err := guard(path, func() (err error) {
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout: time.Second,
			NoSync:  unsynced,
			// The free list is written with every transaction, so that opening
			// does not read all of the file to make it, also after a crash. It
			// takes eight bytes for a free page, and there are few unless much
			// has been deleted at once. The hash map keeps finding them fast.
			NoFreelistSync: false,
			FreelistType:   bbolt.FreelistMapType,
		})
		return err
	})
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("index %s is in use by another process", path)
	case errors.Is(err, ErrDamaged):
		return nil, err
	case err != nil:
		return nil, advise(path, err)
	}
	h := &health{}
	i := &Index{
		path: path, db: db, health: h, arrivals: newArrivals(), leases: newLeases(), reservations: newReservations(),
		clock: clock{began: time.Now(), coalesce: renewAfter}, observe: func(string, time.Duration, error) {},
		feed: feed{grown: make(chan struct{})},
	}
	i.w = newWriter(db, path, h, unsynced, i.arrivals, func(tx *bbolt.Tx, a *arrival) error { return i.writing(tx).links(a.repository, a.blobs) })
	return i, nil
}

func (i *Index) check(identity string) error {
	return i.guarded(func() error {
		return i.db.View(func(tx *bbolt.Tx) error {
			meta := tx.Bucket(tableNamesInFile[tableMeta])
			if meta == nil {
				return ErrNoIndex
			}
			switch version := string(meta.Get(keySchema)); {
			case version > schema || len(version) > len(schema):
				return fmt.Errorf("index %s has schema %s, and this berth knows up to %s: run the newer berth that wrote it, or delete the file and berth makes it again from storage", i.path, version, schema)
			case version != schema:
				return fmt.Errorf("%w: it has an older form", ErrNoIndex)
			case string(meta.Get(keyStorage)) != identity:
				return fmt.Errorf("%w: it is that of another place", ErrNoIndex)
			}
			return nil
		})
	})
}

func (i *Index) prepare(identity string) error {
	return i.db.Update(func(tx *bbolt.Tx) error {
		meta, err := makeTables(tx)
		if err != nil {
			return err
		}
		if err := meta.Put(keySchema, []byte(schema)); err != nil {
			return err
		}
		if err := meta.Put(keyBoot, []byte(bootID())); err != nil {
			return err
		}
		return meta.Put(keyStorage, []byte(identity))
	})
}

// Close waits for the updates under way and closes the file.
func (i *Index) Close() error {
	i.w.close()
	if i.w.stuck {
		return nil // bbolt would wait for ever, and the process ends
	}
	return i.guarded(i.db.Close)
}

func (i *Index) guarded(fn func() error) error { return i.health.met(guard(i.path, fn)) }

func (i *Index) view(ctx context.Context, operation string, fn func(*session) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	begin := time.Now()
	err := i.guarded(func() error {
		return i.db.View(func(tx *bbolt.Tx) error {
			s := &session{tx: tx, building: i.building}
			err := fn(s)
			s.done()
			return err
		})
	})
	i.observe(operation, time.Since(begin), err)
	return err
}

func (i *Index) update(operation string, fn func(*session) error) error {
	begin := time.Now()
	err := i.w.do(func(tx *bbolt.Tx) error {
		return fn(i.writing(tx))
	})
	i.observe(operation, time.Since(begin), err)
	return err
}

// writing is a session that writes.
func (i *Index) writing(tx *bbolt.Tx) *session {
	return &session{tx: tx, now: i.Uptime(), coalesce: i.clock.coalesce, building: i.building}
}

// viewAll is view for who needs all that has arrived, and may wait for a writer.
func (i *Index) viewAll(ctx context.Context, operation string, fn func(*session) error) error {
	if err := i.flush(); err != nil {
		return err
	}
	return i.view(ctx, operation, fn)
}

// flush has all be written that has arrived.
func (i *Index) flush() error {
	if len(i.arrivals.now()) == 0 {
		return nil
	}
	return i.w.do(nothing)
}
