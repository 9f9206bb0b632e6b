package storage

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
)

// What does not have the digest under which it is stored is moved here, and
// never deleted:
//
//	/berth/quarantine/<algorithm>/<hex>/<time and a random text>/data
//	/berth/quarantine/<algorithm>/<hex>/<time and a random text>/note
//
// No other registry looks into it.
const quarantinePath = "/berth/quarantine"

func quarantineOf(d digest.Digest) string {
	return path.Join(quarantinePath, d.Algorithm().String(), d.Encoded())
}

// Finding is one thing in quarantine: what was stored under a digest and does
// not have it.
type Finding struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"` // of what was stored, in bytes
	// Reason says what is wrong, By who found it.
	Reason string    `json:"reason"`
	By     By        `json:"by"`
	Found  time.Time `json:"found"`
	// Stored is when the bytes were stored that were right once, in UTC; zero if that
	// is not known. Those that heal it get that time, so that an image keeps its own.
	Stored time.Time `json:"stored,omitzero"`
	// Holders are the repositories whose index entries depend on the digest; nil
	// until they are known.
	Holders []string `json:"holders"`
	// Healed is when the right bytes were there again and every holder had been
	// told, zero before that.
	Healed time.Time `json:"healed,omitzero"`

	path string // of its folder
}

// By says who looked at stored bytes.
type By string

// Who looks at stored bytes.
const (
	ByPush  By = "push"
	ByRead  By = "read"
	ByScrub By = "scrub"
	ByFsck  By = "fsck"
)

// Reasons of a [Finding].
const (
	otherBytes = "other bytes are stored"
	unreadable = "the bytes cannot be read"
)

// quarantine knows what was moved away and is not healed.
type quarantine struct {
	some    atomic.Bool // reports whether open holds anything, without the lock
	loaded  atomic.Bool
	loading sync.Mutex

	mu       sync.Mutex
	open     map[digest.Digest][]*Finding // guarded by mu
	watchers []func(Finding)              // guarded by mu
}

// Watch has fn called with everything that is moved into quarantine, and again
// once it is healed, with Healed set. fn must not wait for anything.
func (s *Store) Watch(fn func(Finding)) {
	s.quarantine.mu.Lock()
	defer s.quarantine.mu.Unlock()
	s.quarantine.watchers = append(s.quarantine.watchers, fn)
}

func (q *quarantine) tell(f Finding) {
	q.mu.Lock()
	watchers := q.watchers
	q.mu.Unlock()
	for _, fn := range watchers {
		fn(f)
	}
}

// Quarantined reports whether what was stored under a digest is in quarantine
// and nothing else has come yet. It costs next to nothing.
func (s *Store) Quarantined(d digest.Digest) bool {
	if !s.quarantine.some.Load() {
		return false
	}
	s.quarantine.mu.Lock()
	defer s.quarantine.mu.Unlock()
	found := s.quarantine.open[d]
	return len(found) > 0 && found[len(found)-1].Healed.IsZero()
}

// storedBefore is when the right bytes of a digest in quarantine were first stored,
// zero for any other and where nobody knows.
func (s *Store) storedBefore(d digest.Digest) (at time.Time) {
	if !s.Quarantined(d) {
		return at
	}
	s.quarantine.mu.Lock()
	defer s.quarantine.mu.Unlock()
	for _, f := range s.quarantine.open[d] {
		if at.IsZero() || !f.Stored.IsZero() && f.Stored.Before(at) {
			at = f.Stored
		}
	}
	return at
}

// timed is a driver that can write a file as one of an earlier time.
type timed interface {
	PutContentAt(ctx context.Context, path string, content []byte, modified time.Time) error
	MoveAt(ctx context.Context, from, to string, modified time.Time) error
}

// Missing is how many digests are in quarantine without anything else having
// come.
func (s *Store) Missing() int {
	q := s.quarantine
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for _, found := range q.open {
		if found[len(found)-1].Healed.IsZero() {
			n++
		}
	}
	return n
}

// Settling reports whether something that was stored under a digest, or under
// any if it is not a canonical one, is in quarantine and not known to be healed
// everywhere.
func (s *Store) Settling(d digest.Digest) bool {
	if !s.quarantine.some.Load() || d.Algorithm() != digest.Canonical {
		return s.quarantine.some.Load()
	}
	s.quarantine.mu.Lock()
	defer s.quarantine.mu.Unlock()
	return len(s.quarantine.open[d]) > 0
}

// Unhealed returns what is in quarantine and not known to be healed everywhere.
// The first call reads the notes of earlier processes.
func (s *Store) Unhealed(ctx context.Context) ([]Finding, error) {
	if err := s.loadQuarantine(ctx); err != nil {
		return nil, err
	}
	q := s.quarantine
	q.mu.Lock()
	defer q.mu.Unlock()
	var all []Finding
	for _, found := range q.open {
		for _, f := range found {
			all = append(all, *f)
		}
	}
	return all, nil
}

// InQuarantine calls fn with everything in quarantine, also what was healed
// since, and returns the first error.
func (s *Store) InQuarantine(ctx context.Context, fn func(Finding) error) error {
	algorithms, err := s.list(ctx, quarantinePath)
	if err != nil {
		return fmt.Errorf("list the quarantine: %w", err)
	}
	for _, algorithm := range algorithms {
		digests, err := s.list(ctx, path.Join(quarantinePath, algorithm))
		if err != nil {
			return fmt.Errorf("list the quarantine: %w", err)
		}
		for _, hex := range digests {
			d := digest.NewDigestFromEncoded(digest.Algorithm(algorithm), hex)
			if d.Validate() != nil {
				continue
			}
			if err := s.quarantinedOf(ctx, d, fn); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) quarantinedOf(ctx context.Context, d digest.Digest, fn func(Finding) error) error {
	entries, err := s.list(ctx, quarantineOf(d))
	if err != nil {
		return fmt.Errorf("list the quarantine: %w", err)
	}
	for _, entry := range entries {
		folder := path.Join(quarantineOf(d), entry)
		there, err := s.isFile(ctx, folder+"/data")
		if err != nil {
			return err
		}
		if !there {
			continue // a crash came before the bytes did
		}
		f := Finding{Digest: d, path: folder}
		note, err := s.driver.GetContent(ctx, folder+"/note")
		if err != nil && !notFound(err) {
			return translate(err)
		}
		// A note that cannot be read only tells less.
		if json.Unmarshal(note, &f) != nil || f.Digest != d {
			f = Finding{Digest: d, path: folder}
		}
		if err := fn(f); err != nil {
			return err
		}
	}
	return nil
}

// loadQuarantine reads what earlier processes left, once.
func (s *Store) loadQuarantine(ctx context.Context) error {
	q := s.quarantine
	if q.loaded.Load() {
		return nil
	}
	q.loading.Lock()
	defer q.loading.Unlock()
	if q.loaded.Load() {
		return nil
	}
	var left []*Finding
	err := s.InQuarantine(ctx, func(f Finding) error {
		if f.Healed.IsZero() {
			left = append(left, &f)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, f := range left {
		// Bytes that are there have come since, or a crash came before the wrong
		// ones were gone.
		there, err := s.isFile(ctx, blobPath(f.Digest))
		if err == nil && there {
			_, err = s.Examine(ctx, f.Digest, ByRead)
			if there = err == nil; errors.Is(err, ErrDamaged) || errors.Is(err, ErrNotFound) {
				err = nil
			}
		}
		if err != nil {
			return err
		}
		if there {
			f.Healed = time.Now().UTC()
		}
		q.add(f)
	}
	q.loaded.Store(true)
	return nil
}

func (q *quarantine) add(f *Finding) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.open == nil {
		q.open = make(map[digest.Digest][]*Finding)
	}
	q.open[f.Digest] = append(q.open[f.Digest], f)
	q.some.Store(true)
}

// isolate moves what is stored under a digest into quarantine. The caller holds
// the guard of the digest.
func (s *Store) isolate(ctx context.Context, f Finding) error {
	f.Found = time.Now().UTC()
	if info, err := s.content.Stat(ctx, f.Digest); err == nil {
		f.Stored = info.Modified
	}
	f.path = path.Join(quarantineOf(f.Digest), f.Found.Format("20060102T150405Z")+"-"+rand.Text()[:8])
	if err := s.writeNote(ctx, f); err != nil {
		return err
	}
	err := s.driver.Move(ctx, blobPath(f.Digest), f.path+"/data")
	if err != nil {
		// It may have happened all the same, and then has to be told.
		if there, asked := s.isFile(ctx, f.path+"/data"); asked == nil && there {
			err = s.remove(ctx, blobPath(f.Digest))
		}
	}
	if err != nil {
		return fmt.Errorf("move what is stored under %s into quarantine: %w", f.Digest, translate(err))
	}
	s.quarantine.add(&f)
	s.quarantine.tell(f)
	return nil
}

func (s *Store) writeNote(ctx context.Context, f Finding) error {
	note, _ := json.MarshalIndent(f, "", "  ") // of strings, numbers and times
	if err := s.driver.PutContent(ctx, f.path+"/note", append(note, '\n')); err != nil {
		return fmt.Errorf("note what is in quarantine of %s: %w", f.Digest, translate(err))
	}
	return nil
}

// NoteHolders notes for whom a digest in quarantine matters; when it returns
// without an error that survives a crash.
func (s *Store) NoteHolders(ctx context.Context, d digest.Digest, holders []string) error {
	q := s.quarantine
	q.mu.Lock()
	var notes []Finding
	for _, f := range q.open[d] {
		f.Holders = holders
		note := *f
		note.Healed = time.Time{} // the holders have not been told
		notes = append(notes, note)
	}
	q.mu.Unlock()
	for _, f := range notes {
		if err := s.writeNote(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// NoteHealed notes that the right bytes are stored again and every holder knows.
// Nothing is noted while they are not stored.
func (s *Store) NoteHealed(ctx context.Context, d digest.Digest) error {
	q := s.quarantine
	q.mu.Lock()
	var healed []*Finding
	for _, f := range q.open[d] {
		if !f.Healed.IsZero() {
			healed = append(healed, f)
		}
	}
	q.mu.Unlock()
	for _, f := range healed {
		if err := s.writeNote(ctx, *f); err != nil {
			return err
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	rest := slices.DeleteFunc(slices.Clone(q.open[d]), func(f *Finding) bool { return slices.Contains(healed, f) })
	delete(q.open, d)
	if len(rest) > 0 {
		q.open[d] = rest
	}
	q.some.Store(len(q.open) > 0)
	return nil
}

// arrived is told of right bytes that have come under a digest.
func (s *Store) arrived(ctx context.Context, d digest.Digest) {
	if print, _ := s.printOf(ctx, d); print.file != (fileID{}) { // elsewhere, to ask would cost every push a call
		s.verified.remember(d, print)
	}
	s.healed(d)
}

// healed notes that right bytes are there under a digest, if others are in
// quarantine.
func (s *Store) healed(d digest.Digest) {
	if !s.Quarantined(d) {
		return
	}
	q := s.quarantine
	q.mu.Lock()
	var last Finding
	for _, f := range q.open[d] {
		f.Healed = time.Now().UTC()
		last = *f
	}
	q.mu.Unlock()
	if last.Digest != "" {
		q.tell(last)
	}
}
