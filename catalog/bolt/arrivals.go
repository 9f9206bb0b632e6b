package bolt

import (
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/index"
)

// A blob that was linked is shown at once, and written with whatever is written
// next: until then it is an arrival, in memory. Whoever reads looks at the file
// with the arrivals that there were before; one that has been written meanwhile
// changes nothing any more. A transaction writes all arrivals there are before
// it does anything else, so that they come in order with all that comes later.

// writtenAfter is how long an arrival waits for somebody else's transaction, and
// mostArrivals how many wait.
const (
	writtenAfter = 50 * time.Millisecond
	mostArrivals = 256
)

// arrival is what one Link has brought.
type arrival struct {
	repository, namespace string
	blobs                 map[digest.Digest]int64 // with their sizes in bytes
	written               func(error)
}

// arrivals are what has been linked and is not written.
type arrivals struct {
	mu      sync.Mutex
	all     []*arrival // in order; guarded by mu, as all below
	failing bool       // the last transaction could not be written
	// missing counts, by repository, the updates under way that say of a blob that
	// it is missing, and turns how many came or went.
	missing map[string]int
	turns   int
	timer   *time.Timer // to write what waits; nil if nothing does
}

func newArrivals() *arrivals { return &arrivals{missing: make(map[string]int)} }

// turn is how far the updates of a repository have come that say of a blob that
// it is missing; quiet says that none is under way, and something can arrive.
func (a *arrivals) turn(repository string) (turn int, quiet bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.turns, a.missing[repository] == 0 && !a.failing && len(a.all) < mostArrivals
}

// add takes something up that was looked at in a turn, unless that is over. write
// has everything be written that waits.
func (a *arrivals) add(n *arrival, turn int, write func()) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.turns != turn || a.failing {
		return false
	}
	a.all = append(a.all, n)
	if a.timer == nil {
		a.timer = time.AfterFunc(writtenAfter, write)
	}
	return true
}

// publishing notes an update that says of a blob that it is missing, until ended
// is called.
func (a *arrivals) publishing(repository string) (ended func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.turns++
	a.missing[repository]++
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.turns++
		if a.missing[repository]--; a.missing[repository] == 0 {
			delete(a.missing, repository)
		}
	}
}

// now are all that wait, in order. Nobody changes them.
func (a *arrivals) now() []*arrival {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.all[:len(a.all):len(a.all)]
}

// of are those of a namespace.
func (a *arrivals) of(namespace string) (some []*arrival) {
	for _, n := range a.now() {
		if n.namespace == namespace {
			some = append(some, n)
		}
	}
	return some
}

// byNamespace are all, by their namespaces.
func (a *arrivals) byNamespace() map[string][]*arrival {
	spaces := make(map[string][]*arrival)
	for _, n := range a.now() {
		spaces[n.namespace] = append(spaces[n.namespace], n)
	}
	return spaces
}

// sizeOf is the size of a blob that a repository has just been given.
func sizeOf(come []*arrival, repository string, d digest.Digest) (size int64, found bool) {
	for _, n := range come {
		if s, ok := n.blobs[d]; ok && n.repository == repository {
			size, found = s, true
		}
	}
	return size, found
}

// begin are those that a transaction writes that begins now.
func (a *arrivals) begin() []*arrival {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil
	}
	return a.all[:len(a.all):len(a.all)]
}

// end is told how a transaction has ended. What it has not written waits on.
func (a *arrivals) end(some []*arrival, err error, write func()) {
	a.mu.Lock()
	a.failing = err != nil
	if err == nil {
		a.all = append([]*arrival(nil), a.all[len(some):]...)
	}
	if len(a.all) > 0 && a.timer == nil {
		a.timer = time.AfterFunc(writtenAfter, write)
	}
	a.mu.Unlock()
	if err == nil {
		for _, n := range some {
			n.written(nil)
		}
	}
}

// refuse drops one that cannot be written.
func (a *arrivals) refuse(n *arrival, err error) {
	a.mu.Lock()
	for i, other := range a.all {
		if other == n {
			a.all = append(append([]*arrival(nil), a.all[:i]...), a.all[i+1:]...)
			break
		}
	}
	a.mu.Unlock()
	n.written(err)
}

// close drops what could not be written before the end.
func (a *arrivals) close() {
	for _, n := range a.begin() {
		a.refuse(n, errClosed)
	}
}

// links writes what a Link brings.
func (s *session) links(repository string, blobs map[digest.Digest]int64) error {
	r, err := s.change(repository)
	if err != nil {
		return err
	}
	if err := r.unreferred(blobs); err != nil {
		return err
	}
	if err := r.create(); err != nil {
		return err
	}
	if err := r.relink(blobs, nil); err != nil {
		return err
	}
	if err := r.refresh(blobs); err != nil {
		return err
	}
	return r.count()
}

// unreferred returns ErrReferenced if a manifest refers to one of the blobs that
// is not linked.
func (r *repoTx) unreferred(blobs map[digest.Digest]int64) error {
	for d, size := range blobs {
		l, found, err := r.link(d)
		if err != nil {
			return err
		}
		if !(found && l.size == size) && anyBelow(r.data(), r.by(kindReference, d)) {
			return index.ErrReferenced
		}
	}
	return nil
}

// useAfter is what a namespace has of a blob, and what it will have once arrivals
// are written, which are all of that namespace.
func (s *session) useAfter(space uint32, d digest.Digest, come []*arrival) (before, after use, err error) {
	if before, err = s.useOf(space, d); err != nil {
		return before, before, err
	}
	after = before
	counted := make(map[string]bool)
	for _, n := range come {
		size, ok := n.blobs[d]
		if !ok {
			continue
		}
		r, err := s.open(n.repository)
		if err != nil {
			return before, after, err
		}
		if size > 0 {
			after.size = size
		}
		_, linked, err := r.link(d)
		if err != nil {
			return before, after, err
		}
		if !linked && !counted[n.repository] {
			counted[n.repository] = true
			after.links++
		}
		after.fresh = true
	}
	after.settle()
	return before, after, nil
}

// come adds to a namespace what arrivals bring that are all of it. others is what
// is left of them elsewhere from then on.
func (s *session) come(known spaceRecord, come []*arrival) (_ spaceRecord, others int64, err error) {
	done := make(map[digest.Digest]bool)
	for _, n := range come {
		for d := range n.blobs {
			if done[d] {
				continue
			}
			done[d] = true
			before, after, err := s.useAfter(known.number, d, come)
			if err != nil {
				return known, others, err
			}
			bytesBefore, idleBefore := before.amounts(d)
			bytes, idle := after.amounts(d)
			known.bytes += bytes - bytesBefore
			known.idle += idle - idleBefore
			if before.there() || !after.there() || known.number == 0 {
				continue
			}
			gone, found, err := s.remnantOf(d, known.number)
			if err != nil || !found {
				if err != nil {
					return known, others, err
				}
				continue
			}
			known.remains -= gone.bytes
			if _, there, err := s.remnantOf(d, nobody); err != nil {
				return known, others, err
			} else if gone.kept && !there {
				others += gone.bytes
			}
		}
	}
	return known, others, nil
}
