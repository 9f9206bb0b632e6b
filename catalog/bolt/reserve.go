package bolt

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
)

// reservations are the bytes that are set aside, by namespace. Only one process
// uses the file, so they are kept in memory: what they are for is gone with it.
type reservations struct {
	mu     sync.Mutex
	spaces map[string]*space // guarded by mu; one that holds nothing is forgotten
}

// space is one namespace.
type space struct {
	users int // guarded by reservations.mu

	// counting is held to read by who publishes what a reservation was for, and
	// to write by who counts: between the commit and the end of the reservation
	// nobody sees both.
	counting sync.RWMutex

	mu     sync.Mutex
	byKey  map[string]reservation // guarded by mu
	bytes  int64                  // the sum of byKey; guarded by mu
	oldest time.Time              // not after the first that ends; guarded by mu
}

type reservation struct {
	bytes int64
	until time.Time
}

func newReservations() *reservations { return &reservations{spaces: make(map[string]*space)} }

// enter returns a namespace's space, which stays as long as it is in use.
func (r *reservations) enter(namespace string) (s *space, leave func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s = r.spaces[namespace]
	if s == nil {
		s = &space{byKey: make(map[string]reservation)}
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

// reserved is what is set aside in a namespace.
func (r *reservations) reserved(namespace string, now time.Time) int64 {
	s, leave := r.enter(namespace)
	defer leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(now)
	return s.bytes
}

// ending runs commit, which publishes what the reservation of key was for, and
// ends it; without a key it only runs commit.
func (r *reservations) ending(namespace, key string, commit func() error) error {
	if key == "" {
		return commit()
	}
	s, leave := r.enter(namespace)
	defer leave()
	s.counting.RLock()
	defer s.counting.RUnlock()
	err := commit()
	if err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.set(key, reservation{})
	}
	return err
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

// Reserve implements index.Index.
func (i *Index) Reserve(ctx context.Context, namespace, key string, bytes, limit int64, until time.Time) (others int64, err error) {
	s, leave := i.reservations.enter(namespace)
	defer leave()
	s.counting.Lock()
	defer s.counting.Unlock()
	stored, err := i.stored(ctx, namespace)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(time.Now())
	others = stored.Bytes + s.bytes - s.byKey[key].bytes
	if limit >= 0 && bytes > limit-others && bytes > 0 {
		return others, &storage.Error{Code: storage.Quota, Message: fmt.Sprintf(
			"%d of %d bytes are used, and %d more are needed", others, limit, bytes)}
	}
	s.set(key, reservation{bytes, until})
	return others, nil
}

// Usage implements index.Reader.
func (i *Index) Usage(ctx context.Context, namespace string) (index.Usage, error) {
	u, err := i.stored(ctx, namespace)
	u.Reserved = i.reservations.reserved(namespace, time.Now())
	return u, err
}
