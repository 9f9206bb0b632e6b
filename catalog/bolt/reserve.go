package bolt

import (
	"context"
	"fmt"
	"sync"
	"time"

	bbolt "go.etcd.io/bbolt"

	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
)

// reservations are the bytes that are set aside, by namespace. Only one process
// uses the file, so they are kept in memory: what they are for is gone with it.
//
// An update that ends one is numbered, in the transaction itself: whoever counts
// reads the last number with the sums, and leaves out the reservations that had
// ended by then. So nobody waits for a transaction to be synced, and nothing is
// counted twice, or not at all.
type reservations struct {
	mu     sync.Mutex
	spaces map[string]*space // guarded by mu; one that holds nothing is forgotten

	last uint64 // the last number; of the goroutine that writes
}

// space is one namespace.
type space struct {
	users int // guarded by reservations.mu

	mu     sync.Mutex
	byKey  map[string]reservation // guarded by mu
	bytes  int64                  // the sum of byKey; guarded by mu
	oldest time.Time              // not after the first that ends; guarded by mu
	// ending are the keys whose update is being committed, with its number;
	// guarded by mu.
	ending map[string]uint64
}

type reservation struct {
	bytes int64
	until time.Time
}

// ended is what is set aside for nothing.
var ended reservation

func newReservations() *reservations { return &reservations{spaces: make(map[string]*space)} }

// enter returns a namespace's space, which stays as long as it is in use.
func (r *reservations) enter(namespace string) (s *space, leave func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s = r.spaces[namespace]
	if s == nil {
		s = &space{byKey: make(map[string]reservation), ending: make(map[string]uint64)}
		r.spaces[namespace] = s
	}
	s.users++
	return s, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.users--; s.users == 0 && len(s.byKey) == 0 {
			delete(r.spaces, namespace)
		}
	}
}

// end ends the reservation of a key, if there is one.
func (r *reservations) end(namespace, key string) {
	s, leave := r.enter(namespace)
	defer leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(key, reservation{})
}

// ending runs fn in an update, which adds what the reservation of key was for,
// and ends it; without a key it only runs fn.
func (i *Index) ending(namespace, key, operation string, fn func(*session) error) error {
	if key == "" {
		return i.update(operation, fn)
	}
	set, leave := i.reservations.enter(namespace)
	defer leave()
	err := i.update(operation, func(s *session) error {
		if err := fn(s); err != nil {
			return err
		}
		n, err := i.reservations.number(s.at(tableNamespaces))
		if err == nil {
			set.mu.Lock()
			defer set.mu.Unlock()
			set.ending[key] = n
		}
		return err
	})
	set.mu.Lock()
	defer set.mu.Unlock()
	delete(set.ending, key)
	if err == nil {
		set.set(key, reservation{})
	}
	return err
}

// number gives the transaction a number, which no other had that failed or not.
func (r *reservations) number(b *bbolt.Bucket) (uint64, error) {
	r.last = max(r.last, b.Sequence()) + 1
	return r.last, b.SetSequence(r.last)
}

// set replaces what is set aside for key. The caller holds mu.
func (s *space) set(key string, now reservation) {
	s.bytes += now.bytes - s.byKey[key].bytes
	if now.bytes == 0 {
		delete(s.byKey, key)
		return
	}
	if len(s.byKey) == 0 || now.until.Before(s.oldest) {
		s.oldest = now.until
	}
	s.byKey[key] = now
}

// expire ends what is over. It looks at all only when one may be. The caller
// holds mu.
func (s *space) expire(now time.Time) {
	if len(s.byKey) == 0 || now.Before(s.oldest) {
		return
	}
	first := time.Time{}
	for key, r := range s.byKey {
		switch {
		case !now.Before(r.until):
			s.bytes -= r.bytes
			delete(s.byKey, key)
		case first.IsZero() || r.until.Before(first):
			first = r.until
		}
	}
	s.oldest = first
}

// usage is what a namespace stores and has set aside, but for what key stands
// for. The caller holds mu: what has been ended is then in the sums that are
// read, or still in ending.
func (i *Index) usage(ctx context.Context, namespace string, s *space, key string) (index.Usage, error) {
	u, ended, err := i.stored(ctx, namespace)
	if err != nil {
		return u, err
	}
	s.expire(time.Now())
	u.Reserved, u.Reservations = s.bytes, int64(len(s.byKey))
	leaveOut := func(key string) {
		if r, ok := s.byKey[key]; ok {
			u.Reserved -= r.bytes
			u.Reservations--
		}
	}
	leaveOut(key)
	for other, n := range s.ending {
		if n <= ended && other != key {
			leaveOut(other)
		}
	}
	return u, nil
}

// Reserve implements index.Index.
func (i *Index) Reserve(ctx context.Context, namespace string, r storage.Reservation) (others index.Usage, err error) {
	s, leave := i.reservations.enter(namespace)
	defer leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	if others, err = i.usage(ctx, namespace, s, r.Key); err != nil {
		return others, err
	}
	if _, known := s.byKey[r.Key]; r.Most > 0 && r.Bytes > 0 && !known && others.Reservations >= r.Most {
		return others, &storage.Error{Code: storage.TooMany, Message: fmt.Sprintf("%d reservations are open", others.Reservations)}
	}
	if r.Limit >= 0 && r.Bytes > 0 && r.Bytes > r.Limit-others.Used() {
		return others, &storage.Error{Code: storage.Quota, Message: fmt.Sprintf(
			"%d of %d bytes are used, and %d more are needed", others.Used(), r.Limit, r.Bytes)}
	}
	s.set(r.Key, reservation{r.Bytes, r.Until})
	return others, nil
}

// Usage implements index.Reader.
func (i *Index) Usage(ctx context.Context, namespace string) (index.Usage, error) {
	s, leave := i.reservations.enter(namespace)
	defer leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	return i.usage(ctx, namespace, s, "")
}
