// Package each lets every single operation of storage and index fail in a day of a
// whole registry: with an error before and after it was done, and with a crash
// before and after.
package each

import (
	"errors"
	"io/fs"
	"strings"
	"sync"
	"syscall"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"

	"github.com/berth-oci/berth/catalog/index/indextest"
)

// way is how an operation fails.
type way int

const (
	errorBefore way = iota
	errorAfter      // it has happened, and is durable, and only the answer is lost
	crashBefore
	crashAfter
)

func (w way) String() string {
	return [...]string{"error before", "error after", "crash before", "crash after"}[w]
}

func (w way) crash() bool { return w >= crashBefore }

var (
	// errWrite is what a disk that is broken gives, with a path that no client may
	// see. Of a stored blob it would say that the blob is lost.
	errWrite error = &fs.PathError{Op: "write", Path: "/private/path", Err: syscall.EIO}
	errRead        = errors.New("read /private/path: the connection was reset")
	errDead        = errors.New("the process is dead")
)

// operation is one that was counted.
type operation struct {
	name   string
	writes bool
}

// faults counts the operations of a registry, and lets one of them fail.
type faults struct {
	mu    sync.Mutex
	seen  []operation
	at    int // which fails, from 1; 0 is none
	way   way
	fired bool
	dead  bool
	met   func(name string) // see watch
}

// arm begins to count, and has the n-th operation fail; 0 is none.
func (f *faults) arm(n int, w way) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen, f.at, f.way, f.fired, f.met = nil, n, w, false, nil
}

// watch has met be called with every operation before it is done, until the end of
// the step.
func (f *faults) watch(met func(name string)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.met = met
}

// disarm returns what was counted, and whether one has failed.
func (f *faults) disarm() (seen []operation, fired bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	seen, fired = f.seen, f.fired
	f.at, f.fired, f.met = 0, false, nil
	return seen, fired
}

func (f *faults) counted() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.seen)
}

// count is how many of a name were counted.
func (f *faults) count(name string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, o := range f.seen {
		if o.name == name {
			n++
		}
	}
	return n
}

// next counts an operation, and says whether and when it fails.
func (f *faults) next(name string, writes bool) (indextest.When, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return indextest.Before, errDead
	}
	f.seen = append(f.seen, operation{name, writes})
	mine := !f.fired && f.at != 0 && len(f.seen) == f.at
	if met := f.met; met != nil {
		f.mu.Unlock()
		met(name)
		f.mu.Lock()
	}
	if !mine {
		return indextest.Before, nil
	}
	f.fired = true
	err := errWrite
	if !writes && strings.HasPrefix(name, "storage.") {
		err = errRead
	}
	if f.way.crash() {
		f.dead, err = true, errDead
	}
	if f.way == errorAfter || f.way == crashAfter {
		return indextest.After, err
	}
	return indextest.Before, err
}

// do does an operation, unless it fails before.
func (f *faults) do(name string, writes bool, fn func() error) error {
	when, fault := f.next("storage."+name, writes)
	if fault != nil { // as drivers do
		fault = storagedriver.Error{DriverName: driverName, Detail: fault}
	}
	if fault != nil && when == indextest.Before {
		return fault
	}
	if err := fn(); err != nil || fault == nil {
		return err
	}
	return fault
}

// readsOnly are the methods of an index that change nothing.
var readsOnly = map[string]bool{
	"Entry": true, "Tagged": true, "ByUUID": true, "ByDigest": true, "List": true, "Resolve": true, "Canonical": true, "Referrers": true,
	"Repositories": true, "TagNames": true, "Linked": true, "MountSource": true, "Usage": true, "Idle": true, "Adds": true, "Stats": true,
	"State": true, "Parents": true, "Children": true, "Tags": true, "Aliases": true, "Referring": true, "Recall": true, "Abandoned": true,
}
