// Package bolt keeps the catalog's index in one bbolt file.
//
// # Buckets
//
// Names, tags and digests are stored as they are written, digests with their
// algorithm; \0 stands between the parts of a key (it is in none of them), so
// that keys sort by repository first. <time> is 12 bytes that sort as the time
// does, <~time> the same with all bits turned, so that the newest comes first.
// <uuid> is 16 bytes.
//
//	meta          schema                        the schema's version, decimal
//	              storage                       storage.Store.Identity of what was indexed
//	              stats                         index.Stats as JSON
//	manifests     <repository>\0<digest>        image.Description as JSON, of every manifest
//	tags          <repository>\0<tag>           digest, as it was pushed
//	tagged        <repository>\0<digest>\0<tag> nothing: the tags of a manifest, by its canonical digest
//	parents       <repository>\0<child>\0<parent>  nothing: the indexes that refer to a manifest, stored or not
//	aliases       <repository>\0<alias>         digest: another digest of the same bytes, and the canonical one
//	names         <repository>\0<digest>\0<alias>  nothing: the same, the other way round
//	referrers     <repository>\0<subject>\0<digest>  referrer as JSON: the manifests that have a subject, stored or not
//	annotations   <repository>\0<digest>        JSON object of strings: the annotations of a manifest that has a subject
//	digests       <digest>\0<repository>        nothing: the repositories that hold a manifest, by any of its digests
//	uuids         <uuid>                        <repository>\0<digest>, of every image, also those that belong to an index
//	byname        <repository>\0<~time><digest> nothing: the listed images, newest first in each repository
//	bytime        <namespace>\0<time><uuid>     <repository>\0<digest>: the listed images by creation time, under
//	                                            their namespace and once more under the empty one
//	moves         <sequence>                    move as JSON: a listed image whose creation time has changed
//	links         <repository>\0<digest>        size in bytes, decimal: the blobs that a repository may serve
//	holders       <digest>\0<repository>        nothing: the repositories that link a blob
//	references    <repository>\0<blob>\0<manifest>  nothing: the manifests that refer to a blob, stored or not
//	uses          <namespace>\0<digest>         use as JSON: the blobs that a namespace links, or its manifests refer to
//	namespaces    <namespace>                   sums as JSON
//	remains       <namespace>\0<digest>         bytes, decimal: what was stored for a namespace and nothing refers to any more
//	              <namespace>                   their sum; that of all under \0
//	repositories  <repository>                  repository as JSON: what it holds
//	layers        <digest>                      one byte, image.Parts: what was found in a layer
//	pending       <repository>                  index.Prepared as JSON: what is about to happen
//	touched       <repository>                  nothing: blobs of the repository are changing
//
// The sequence of meta is the last revision, that of remains grows with every
// reservation that an update ends. meta is written when the file is
// made and by Publish; layers by Remember, pending by Prepare and Publish,
// touched by MarkDirty and ClearDirty, links, holders and what is counted by Link
// and Publish, everything else by Publish alone.
//
// Leases and reservations are kept in memory: one process uses the file, and
// what they are for is gone with it (see lease.go and reserve.go).
//
// # Writing
//
// bbolt has one writer at a time and syncs at the end of each transaction. One
// goroutine does all the writing and takes every update that is waiting into
// one transaction, so that concurrent pushes share a sync (see writer.go).
package bolt

import (
	"context"
	"encoding/json"
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
	bucketMeta         = []byte("meta")
	bucketManifests    = []byte("manifests")
	bucketTags         = []byte("tags")
	bucketTagged       = []byte("tagged")
	bucketParents      = []byte("parents")
	bucketAliases      = []byte("aliases")
	bucketNames        = []byte("names")
	bucketReferrers    = []byte("referrers")
	bucketAnnotations  = []byte("annotations")
	bucketDigests      = []byte("digests")
	bucketUUIDs        = []byte("uuids")
	bucketByName       = []byte("byname")
	bucketByTime       = []byte("bytime")
	bucketReorders     = []byte("moves")
	bucketLinks        = []byte("links")
	bucketHolders      = []byte("holders")
	bucketReferences   = []byte("references")
	bucketUses         = []byte("uses")
	bucketNamespaces   = []byte("namespaces")
	bucketRemains      = []byte("remains")
	bucketRepositories = []byte("repositories")
	bucketLayers       = []byte("layers")
	bucketPending      = []byte("pending")
	bucketDirty        = []byte("touched")

	buckets = [][]byte{
		bucketMeta, bucketManifests, bucketTags, bucketTagged, bucketParents, bucketAliases, bucketNames, bucketReferrers, bucketAnnotations, bucketDigests,
		bucketUUIDs, bucketByName, bucketByTime, bucketReorders, bucketLinks, bucketHolders, bucketReferences, bucketUses,
		bucketNamespaces, bucketRemains, bucketRepositories, bucketLayers, bucketPending, bucketDirty,
	}

	keySchema  = []byte("schema")
	keyStorage = []byte("storage")
	keyStats   = []byte("stats")
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
	if err := x.check(path, identity); err != nil {
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
	return &Index{
		db: db, w: newWriter(db), leases: newLeases(), reservations: newReservations(),
		observe: func(string, time.Duration, error) {},
	}, nil
}

func (i *Index) check(path, identity string) error {
	return i.db.View(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
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
		for _, name := range buckets {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		meta := tx.Bucket(bucketMeta)
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

func (i *Index) view(ctx context.Context, operation string, fn func(*bbolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	begin := time.Now()
	err := i.db.View(fn)
	i.observe(operation, time.Since(begin), err)
	return err
}

func (i *Index) update(operation string, fn func(*bbolt.Tx) error) error {
	begin := time.Now()
	err := i.w.do(fn)
	i.observe(operation, time.Since(begin), err)
	return err
}

// get reads a JSON value into v and leaves v alone if there is none.
func get(b *bbolt.Bucket, key []byte, v any) (found bool, err error) {
	data := b.Get(key)
	if data == nil {
		return false, nil
	}
	if err := json.Unmarshal(data, v); err != nil {
		return false, fmt.Errorf("value of %q: %w", key, err)
	}
	return true, nil
}

func put(b *bbolt.Bucket, key []byte, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return b.Put(key, data)
}
