package bolt

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"sync"
	"time"

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
		for _, name := range tableNamesInFile {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return tx.Bucket(tableNamesInFile[tableMeta]).Put(keyStart, newStart())
	})
	if err != nil {
		return err
	}
	complete = true
	return i.guarded(func() error { return i.db.View(see) })
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
	err = i.view(ctx, "changes", func(s *session) error {
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

// History implements index.Feed.
func (i *Index) History(ctx context.Context, repository string, before index.Revision, n int) (changes []index.Change, next index.Revision, err error) {
	if before != (index.Revision{}) && (before.Start != i.feed.start || before.N == 0) {
		return nil, next, index.ErrRevision
	}
	last := i.feed.given()
	err = i.read(ctx, "history", repository, func(r *repoTx) error {
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

// Trim implements index.Feed.
func (i *Index) Trim(ctx context.Context, keep int64, before time.Time, n int) (more bool, err error) {
	if n <= 0 {
		return false, errors.New("nothing is trimmed in steps of nothing")
	}
	var doomed [][]byte
	look := func(s *session) error {
		doomed, more = nil, false
		b := s.at(tableChanges)
		c := b.Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			if b.Sequence()-binary.BigEndian.Uint64(k) < uint64(max(keep, 0)) { //nolint:gosec // not negative
				if change, _, _, err := decodeChange(v); err != nil || !change.Time.Before(before) {
					return err
				}
			}
			if len(doomed) == n {
				more = true
				return nil
			}
			doomed = append(doomed, bytes.Clone(k))
		}
		return nil
	}
	if err := i.view(ctx, "trim", look); err != nil || len(doomed) == 0 {
		return false, err
	}
	err = i.update("trim", func(s *session) error {
		for _, k := range doomed {
			if err := s.trim(k); err != nil {
				return err
			}
		}
		return nil
	})
	return more, err
}

// trim forgets a record, and a repository that is gone with its last one.
func (s *session) trim(key []byte) error {
	value := s.at(tableChanges).Get(key)
	if value == nil {
		return nil
	}
	_, repository, _, err := decodeChange(value)
	if err != nil {
		return err
	}
	number := numbered(repository, kindName)[:numberLength]
	if former := s.at(tableFormer).Get(number); former != nil {
		last, _, err := decodeFormer(former)
		if err != nil {
			return err
		}
		if last <= binary.BigEndian.Uint64(key) {
			if err := s.at(tableFormer).Delete(number); err != nil {
				return err
			}
		}
	}
	return s.at(tableChanges).Delete(key)
}

// leave keeps the name of a repository that is gone, for the records of it.
func (r *repoTx) leave() error {
	if r.known.last == 0 {
		return nil
	}
	e := newEncoder()
	e.uint(r.known.last)
	e.string(r.repository)
	return r.at(tableFormer).Put(r.key(kindName)[:numberLength], e.b)
}

// Pushed implements index.Feed.
func (i *Index) Pushed(ctx context.Context, repository, tag string) (p index.Push, err error) {
	err = i.read(ctx, "pushed", repository, func(r *repoTx) error {
		value := r.data().Get(append(r.key(kindPushed), tag...))
		if value == nil {
			return index.ErrNotFound
		}
		p, err = decodePush(value)
		return err
	})
	return p, err
}

func decodePush(value []byte) (index.Push, error) {
	d := newDecoder(value)
	p := index.Push{Time: time.UnixMicro(d.int()).UTC(), By: d.string()}
	return p, d.err
}

// pushedBy keeps who has set a tag, and when. What nobody has asked for, and what
// is not pushed, has nothing kept.
func (r *repoTx) pushedBy(tag, by string, at time.Time) error {
	if at.IsZero() {
		return nil
	}
	e := newEncoder()
	e.int(at.UnixMicro())
	e.string(by)
	return r.data().Put(append(r.key(kindPushed), tag...), e.b)
}

// Mark returns what SetMark has set, "" for nothing.
func (i *Index) Mark(ctx context.Context) (mark string, err error) {
	err = i.view(ctx, "mark", func(s *session) error {
		mark = string(s.at(tableMeta).Get(keyMark))
		return nil
	})
	return mark, err
}

// SetMark keeps a mark with the index. It survives a power cut when SetMark has
// returned without an error.
func (i *Index) SetMark(_ context.Context, mark string) error {
	return i.update("set_mark", func(s *session) error { return s.at(tableMeta).Put(keyMark, []byte(mark)) })
}
