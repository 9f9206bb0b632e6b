package bolt

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"sync"

	"github.com/opencontainers/go-digest"
	bbolt "go.etcd.io/bbolt"

	"github.com/berth-oci/berth/catalog/index"
)

var (
	keyStart = []byte("start")
	keyMark  = []byte("mark")
)

// feed is what has been given out of the feed. bbolt shows a commit to readers
// before it has synced it, so what is read ends at last.
type feed struct {
	start uint64 // set before the index is used

	mu    sync.Mutex
	last  uint64        // guarded by mu
	grown chan struct{} // closed when last grows; guarded by mu
}

// newStart is a random start, never 0.
func newStart() []byte {
	b := make([]byte, 8)
	for bytes.Equal(b, make([]byte, 8)) {
		_, _ = rand.Read(b) // never fails
	}
	return b
}

// beginFeed makes what the file has not, one of an older berth, and gives out what
// is there: it is synced, since who wrote it may have died before it was.
func (i *Index) beginFeed() error {
	complete := true
	see := func(tx *bbolt.Tx) error {
		for _, name := range tableNamesInFile {
			complete = complete && tx.Bucket(name) != nil
		}
		if !complete {
			return nil
		}
		start := tx.Bucket(tableNamesInFile[tableMeta]).Get(keyStart)
		if complete = len(start) == 8; complete {
			i.feed.start = binary.BigEndian.Uint64(start)
			i.feed.last = tx.Bucket(tableNamesInFile[tableChanges]).Sequence()
		}
		return nil
	}
	if err := i.guarded(func() error { return i.db.View(see) }); err != nil {
		return err
	}
	if complete {
		if i.feed.last > 0 {
			return i.guarded(i.db.Sync)
		}
		return nil
	}
	err := i.w.do(func(tx *bbolt.Tx) error {
		_, err := makeTables(tx)
		return err
	})
	if err != nil {
		return err
	}
	complete = true
	return i.guarded(func() error { return i.db.View(see) })
}

// makeTables makes the buckets that the file has not, and a start, and returns that
// of meta.
func makeTables(tx *bbolt.Tx) (meta *bbolt.Bucket, err error) {
	for _, name := range tableNamesInFile {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return nil, err
		}
	}
	meta = tx.Bucket(tableNamesInFile[tableMeta])
	return meta, meta.Put(keyStart, newStart())
}

// give gives out what has been committed up to n.
func (f *feed) give(n uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n > f.last {
		f.last = n
		close(f.grown)
		f.grown = make(chan struct{})
	}
}

func (f *feed) given() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// Last implements index.Feed.
func (i *Index) Last() index.Revision { return i.revision(i.feed.given()) }

func (i *Index) revision(n uint64) index.Revision { return index.Revision{Start: i.feed.start, N: n} }

// closed is a channel that is.
var closed = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// Grown implements index.Feed.
func (i *Index) Grown(r index.Revision) <-chan struct{} {
	i.feed.mu.Lock()
	defer i.feed.mu.Unlock()
	if r != i.revision(i.feed.last) {
		return closed
	}
	return i.feed.grown
}

// Changes implements index.Feed.
func (i *Index) Changes(ctx context.Context, after index.Revision, n int) (changes []index.Change, err error) {
	last := i.feed.given()
	if after.Start != i.feed.start || after.N > last {
		return nil, index.ErrRevision
	}
	if after.N == last {
		return nil, nil
	}
	err = i.view(ctx, "feed", func(s *session) error {
		c := s.at(tableChanges).Cursor()
		next := after.N + 1
		size := 0
		for k, v := c.Seek(sequenceKey(next)); len(changes) < n && size < index.BatchBytes && next <= last; k, v = c.Next() {
			if !bytes.Equal(k, sequenceKey(next)) {
				return index.ErrRevision // trimmed, since each number has a record
			}
			change, _, err := s.readChange(v)
			if err != nil {
				return err
			}
			change.Revision = i.revision(next)
			changes = append(changes, change)
			size += len(v)
			next++
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return changes, nil
}

// readChange reads a record with the name of its repository, and returns the
// number of the repository's record before.
func (s *session) readChange(value []byte) (index.Change, uint64, error) {
	c, repository, previous, err := decodeChange(value)
	if err != nil {
		return c, 0, err
	}
	if former := s.at(tableFormer).Get(numbered(repository, kindName)[:numberLength]); former != nil {
		_, c.Repository, err = decodeFormer(former)
	} else {
		c.Repository, err = s.nameOf(repository)
	}
	return c, previous, err
}

// decodeFormer reads what is kept of a repository that is gone, as long as there
// are records of it: the number of its last one, and its name.
func decodeFormer(value []byte) (last uint64, name string, err error) {
	d := newDecoder(value)
	return d.uint(), d.string(), d.err
}

// Listed implements index.Feed.
func (i *Index) Listed(ctx context.Context, repository string, digests []digest.Digest) (entries []index.Entry, err error) {
	err = i.read(ctx, "feed", repository, func(r *repoTx) error {
		for _, d := range digests {
			is, err := r.standsInList(d)
			if err != nil {
				return err
			}
			if !is {
				continue
			}
			e, _, err := r.entry(d)
			if err != nil {
				return err
			}
			entries = append(entries, e)
		}
		return nil
	})
	return entries, err
}

// History implements index.Feed.
func (i *Index) History(ctx context.Context, repository string, before index.Revision, n int) (changes []index.Change, next index.Revision, err error) {
	if before != (index.Revision{}) && (before.Start != i.feed.start || before.N == 0) {
		return nil, next, index.ErrRevision
	}
	last := i.feed.given()
	err = i.read(ctx, "feed", repository, func(r *repoTx) error {
		at := r.known.last
		if before.N != 0 {
			if at, err = i.recordBefore(r, repository, before.N); err != nil {
				return err
			}
		}
		for at != 0 && len(changes) < max(n, 1) {
			value := r.at(tableChanges).Get(sequenceKey(at))
			if value == nil {
				at = 0 // trimmed, and all before it
				break
			}
			c, previous, err := r.readChange(value)
			if err != nil {
				return err
			}
			if c.Revision = i.revision(at); at <= last {
				changes = append(changes, c)
			}
			at = previous
		}
		if at != 0 {
			next = changes[len(changes)-1].Revision
		}
		return nil
	})
	return changes, next, err
}

// recordBefore is the number of a repository's record before one of its own.
func (i *Index) recordBefore(r *repoTx, repository string, number uint64) (uint64, error) {
	value := r.at(tableChanges).Get(sequenceKey(number))
	if value == nil {
		return 0, nil
	}
	c, previous, err := r.readChange(value)
	if err == nil && c.Repository != repository {
		err = index.ErrRevision
	}
	return previous, err
}

// Mark returns what SetMark has set, "" for nothing.
func (i *Index) Mark(ctx context.Context) (mark string, err error) {
	err = i.view(ctx, "upkeep", func(s *session) error {
		mark = string(s.at(tableMeta).Get(keyMark))
		return nil
	})
	return mark, err
}

// SetMark keeps a mark with the index. It survives a power cut when SetMark has
// returned without an error.
func (i *Index) SetMark(_ context.Context, mark string) error {
	return i.update("upkeep", func(s *session) error { return s.at(tableMeta).Put(keyMark, []byte(mark)) })
}
