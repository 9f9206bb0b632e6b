package local

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"sync"
)

// settler makes entries durable, those of all who wait at the same time
// together. It knows which folders have entries that are not, and what has to be
// written again because a sync failed.
type settler struct {
	files files
	// grouped is set where there is no barrier: then the folders are synced, one
	// after the other.
	grouped bool
	// trusted is set if all that was there at the start is durable.
	trusted bool

	mu      sync.Mutex
	queue   []*waiter // who waits for the next sync
	running bool
	// epoch counts the syncs that failed. What began to write before the last
	// one that did must not be called durable by a later one.
	epoch  uint64
	failed error
	// fresh are the folders that were created and whose entries are not durable
	// yet, with the sequence of their creation.
	fresh    map[string]uint64
	sequence uint64
	// suspect are the paths of which a sync failed: what they are (a file, a
	// folder, nothing) has to be written again before it counts.
	suspect map[string]struct{}
	// known are folders whose entries are durable, if what was there at the
	// start is not trusted.
	known map[string]struct{}
}

type waiter struct {
	epoch uint64
	names []string
	done  chan error
}

// maxKnown bounds the memory for folders that are known; without it they are
// only synced once more.
const maxKnown = 1 << 16

func newSettler(f files, trusted bool) *settler {
	return &settler{
		files: f, grouped: !f.hasBarrier(), trusted: trusted,
		fresh: make(map[string]uint64), suspect: make(map[string]struct{}), known: make(map[string]struct{}),
	}
}

// begin returns the epoch to settle with what is written from now on.
func (s *settler) begin() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.epoch
}

// settle returns when the entries of the names are durable, and those of all
// folders above them. If it fails, the caller undoes what it did: a later sync
// would not bring it back.
func (s *settler) settle(epoch uint64, names ...string) error {
	w := &waiter{epoch: epoch, names: names, done: make(chan error, 1)}
	s.mu.Lock()
	if err := s.overtaken(epoch); err != nil {
		s.mu.Unlock()
		return err
	}
	s.queue = append(s.queue, w)
	if !s.running {
		s.running = true
		go s.run()
	}
	s.mu.Unlock()
	return <-w.done
}

// stale returns an error if a sync has failed since the epoch.
func (s *settler) stale(epoch uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.overtaken(epoch)
}

// overtaken is the error for who began before a sync that failed.
func (s *settler) overtaken(epoch uint64) error {
	if epoch == s.epoch {
		return nil
	}
	return fmt.Errorf("a sync failed meanwhile: %w", s.failed)
}

// run syncs for group after group, until nobody waits.
func (s *settler) run() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) > 0 {
		group := s.queue
		s.queue = nil
		folders, mark := s.folders(group), s.sequence
		s.mu.Unlock()
		err := s.sync(folders)
		s.mu.Lock()
		if err != nil {
			// Also those who came while it ran: what they wrote may be among
			// what it lost.
			group = append(group, s.queue...)
			s.queue = nil
			s.fail(err)
		} else {
			s.succeed(folders, mark)
		}
		for _, w := range group {
			w.done <- err
		}
	}
	s.running = false
}

// folders are those that a group needs synced.
func (s *settler) folders(group []*waiter) map[string]struct{} {
	folders := make(map[string]struct{})
	for _, w := range group {
		for _, name := range w.names {
			folders[path.Dir(name)] = struct{}{}
			for at := path.Dir(name); at != "."; at = path.Dir(at) {
				if !s.durable(at) {
					folders[path.Dir(at)] = struct{}{}
				}
			}
		}
	}
	return folders
}

// durable reports whether a folder's own entry is known to be.
func (s *settler) durable(folder string) bool {
	if _, fresh := s.fresh[folder]; fresh {
		return false
	}
	_, known := s.known[folder]
	return s.trusted || known
}

func (s *settler) sync(folders map[string]struct{}) error {
	if !s.grouped {
		return s.files.barrier()
	}
	var errs []error
	for _, folder := range slices.Sorted(maps.Keys(folders)) {
		// One that is gone has nothing to sync.
		if err := s.files.syncDir(folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// succeed forgets what is durable now: what was created before the sync began.
func (s *settler) succeed(folders map[string]struct{}, mark uint64) {
	for folder, created := range s.fresh {
		if _, synced := folders[path.Dir(folder)]; created <= mark && (synced || !s.grouped) {
			delete(s.fresh, folder)
		}
	}
	if s.trusted {
		return
	}
	if len(s.known) > maxKnown {
		clear(s.known)
	}
	for folder := range folders {
		// All above it were synced with it.
		for at := folder; at != "."; at = path.Dir(at) {
			if _, fresh := s.fresh[at]; !fresh {
				s.known[at] = struct{}{}
			}
		}
	}
}

// fail lets nobody count on what is not durable by now.
func (s *settler) fail(err error) {
	s.epoch++
	s.failed = err
	for folder := range s.fresh {
		s.suspect[folder] = struct{}{}
	}
}

// mkdir creates a folder and notes that its entry is not durable. It is one
// step for all: who finds the folder must find the note too.
func (s *settler) mkdir(name string) error {
	if transient(name) {
		return s.files.mkdir(name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.files.mkdir(name)
	if err == nil {
		s.sequence++
		s.fresh[name] = s.sequence
		delete(s.suspect, name)
	}
	return err
}

// rmdir removes a folder if it is empty.
func (s *settler) rmdir(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.files.remove(name) == nil {
		delete(s.fresh, name)
		delete(s.suspect, name)
	}
}

// forget drops what is known of a path, with all below it, that is gone.
func (s *settler) forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for folder := range s.fresh {
		if within(folder, name) {
			delete(s.fresh, folder)
		}
	}
	for folder := range s.suspect {
		if within(folder, name) {
			delete(s.suspect, folder)
		}
	}
	if !s.trusted {
		clear(s.known)
	}
}

// distrust notes that what is at a path has to be written again.
func (s *settler) distrust(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.suspect[name] = struct{}{}
}

// trust notes that it has been.
func (s *settler) trust(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.suspect, name)
}

// relinked notes that a folder's entry has been written again, and is to be
// synced.
func (s *settler) relinked(folder string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.suspect, folder)
	s.sequence++
	s.fresh[folder] = s.sequence
}

// suspects are those of a path and of the folders above it, topmost first.
func (s *settler) suspects(name string) (found []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.suspect) == 0 {
		return nil
	}
	for at := name; at != "."; at = path.Dir(at) {
		if _, is := s.suspect[at]; is {
			found = append(found, at)
		}
	}
	slices.Reverse(found)
	return found
}
