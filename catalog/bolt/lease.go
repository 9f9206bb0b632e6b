package bolt

import (
	"context"
	"encoding/json"
	"iter"
	"sync"
	"time"

	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
)

// leases gives out one lease for each repository. Only one process uses the
// file, so they are kept in memory: they need no expiry, and all are gone with
// the process. A repository that nobody holds or waits for takes no memory.
type leases struct {
	mu    sync.Mutex
	held  map[string]*lease // guarded by mu
	fence uint64            // the last that was given out; guarded by mu
}

type lease struct {
	free    chan struct{} // full while nobody holds it
	waiters int           // holders and waiters; guarded by leases.mu
	fence   uint64        // the holder's, 0 for none; guarded by leases.mu
}

// newLeases starts with a fence above those of earlier processes, as far as the
// clock is right; nothing but messages depends on it.
func newLeases() *leases {
	return &leases{held: make(map[string]*lease), fence: uint64(max(time.Now().UnixNano(), 0))}
}

// acquire waits for a repository's lease, until ctx ends.
func (l *leases) acquire(ctx context.Context, repository string) (fence uint64, err error) {
	l.mu.Lock()
	k := l.held[repository]
	if k == nil {
		k = &lease{free: make(chan struct{}, 1)}
		k.free <- struct{}{}
		l.held[repository] = k
	}
	k.waiters++
	l.mu.Unlock()

	select {
	case <-k.free:
		l.mu.Lock()
		defer l.mu.Unlock()
		l.fence++
		k.fence = l.fence
		return k.fence, nil
	case <-ctx.Done():
		l.mu.Lock()
		defer l.mu.Unlock()
		l.leave(repository, k)
		return 0, ctx.Err()
	}
}

func (l *leases) release(repository string, fence uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := l.held[repository]; k != nil && k.fence == fence {
		k.fence = 0
		k.free <- struct{}{}
		l.leave(repository, k)
	}
}

// leave forgets one that held the lease or waited for it. The caller holds mu.
func (l *leases) leave(repository string, k *lease) {
	if k.waiters--; k.waiters == 0 {
		delete(l.held, repository)
	}
}

// check returns ErrStaleLease unless the repository is held with that fence.
func (l *leases) check(lease index.Lease) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := l.held[lease.Repository]; k == nil || k.fence != lease.Fence || lease.Fence == 0 {
		return index.ErrStaleLease
	}
	return nil
}

// now is the last fence that was given out, and the repositories that somebody holds.
func (l *leases) now() (fence uint64, held map[string]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	held = make(map[string]bool, len(l.held))
	for repository, k := range l.held {
		if k.fence != 0 {
			held[repository] = true
		}
	}
	return l.fence, held
}

// Acquire implements index.Index.
func (i *Index) Acquire(ctx context.Context, repository string) (index.Lease, error) {
	fence, err := i.leases.acquire(ctx, repository)
	if err != nil {
		return index.Lease{}, err
	}
	l := index.Lease{Repository: repository, Fence: fence}
	err = i.view(ctx, "acquire", func(s *session) error {
		value := s.at(tablePending).Get([]byte(repository))
		if value == nil {
			return nil
		}
		l.Left = &index.Prepared{}
		return json.Unmarshal(value, l.Left)
	})
	if err != nil {
		i.leases.release(repository, fence)
		return index.Lease{}, err
	}
	return l, nil
}

// Release implements index.Index.
func (i *Index) Release(_ context.Context, l index.Lease) error {
	i.leases.release(l.Repository, l.Fence)
	return nil
}

// Prepare implements index.Index.
func (i *Index) Prepare(_ context.Context, l index.Lease, intent storage.Intent) error {
	intent.Repository = l.Repository
	data, err := json.Marshal(index.Prepared{Intent: intent, Fence: l.Fence})
	if err != nil {
		return err
	}
	return i.update("prepare", func(s *session) error {
		if err := i.leases.check(l); err != nil {
			return err
		}
		return s.at(tablePending).Put([]byte(l.Repository), data)
	})
}

// MarkDirty implements index.Index.
func (i *Index) MarkDirty(_ context.Context, repository string) error {
	i.dirty.Store(repository, nil)
	return i.update("mark_dirty", func(s *session) error {
		return s.at(tableDirty).Put([]byte(repository), nil)
	})
}

// ClearDirty implements index.Index.
func (i *Index) ClearDirty(_ context.Context, repository string) error {
	err := i.update("clear_dirty", func(s *session) error {
		return s.at(tableDirty).Delete([]byte(repository))
	})
	if err == nil {
		i.dirty.Delete(repository)
	}
	return err
}

// Abandoned implements index.Index.
func (i *Index) Abandoned(ctx context.Context) iter.Seq2[storage.Intent, error] {
	return func(yield func(storage.Intent, error) bool) {
		found, err := i.abandoned(ctx)
		if err != nil {
			yield(storage.Intent{}, err)
			return
		}
		for _, intent := range found {
			if !yield(intent, nil) {
				return
			}
		}
	}
}

// abandoned reads in one go what is in flight, which is little.
func (i *Index) abandoned(ctx context.Context) (found []storage.Intent, err error) {
	before, held := i.leases.now()
	err = i.view(ctx, "abandoned", func(s *session) error {
		after, _ := i.leases.now()
		err := s.at(tablePending).ForEach(func(k, v []byte) error {
			var left index.Prepared
			if err := json.Unmarshal(v, &left); err != nil {
				return err
			}
			// What was prepared since is not left by anybody.
			if since := left.Fence > before && left.Fence <= after; !since && !held[string(k)] {
				found = append(found, left.Intent)
			}
			return nil
		})
		if err != nil {
			return err
		}
		return s.at(tableDirty).ForEach(func(k, _ []byte) error {
			if _, own := i.dirty.Load(string(k)); !own {
				found = append(found, storage.Intent{Repository: string(k), Reread: true})
			}
			return nil
		})
	})
	return found, err
}
