package bolt

import (
	"errors"
	"slices"
	"sync"

	bbolt "go.etcd.io/bbolt"
)

const (
	// maxGroup bounds how many updates share a transaction.
	maxGroup = 256
	// maxFrugal is the same where nobody waits for a sync, and a transaction is to
	// take little memory: of a large file, each key that it writes is in a page of
	// its own, and to read that has the system map sixteen.
	maxFrugal = 1
)

// writer runs updates one after the other, and those that wait at the same
// time in one transaction. bbolt's own Batch waits a fixed time for company;
// here the wait is the sync of the transaction before, and a lone update has
// none.
type writer struct {
	db     *bbolt.DB
	path   string
	health *health
	// stuck is set once a transaction has panicked: bbolt may hold its locks.
	// Read after done.
	stuck bool
	most  int // updates in a transaction
	queue chan *update
	done  chan struct{}
	// arrivals are written before anything else, by arrive.
	arrivals *arrivals
	arrive   func(*bbolt.Tx, *arrival) error

	mu     sync.RWMutex
	closed bool // guarded by mu; nothing is queued once it is set

	sparing sync.Mutex
	spare   []*update // go with the next transaction; guarded by sparing
}

type update struct {
	fn     func(*bbolt.Tx) error
	result chan error
}

var errClosed = errors.New("index is closed")

func newWriter(db *bbolt.DB, path string, h *health, frugal bool, a *arrivals, arrive func(*bbolt.Tx, *arrival) error) *writer {
	w := &writer{
		db: db, path: path, health: h, most: maxGroup, queue: make(chan *update, maxGroup), done: make(chan struct{}),
		arrivals: a, arrive: arrive,
	}
	if frugal {
		w.most = maxFrugal
	}
	go w.run()
	return w
}

// do runs fn in a transaction and returns when it is committed, or not. fn may
// be run more than once and must not keep anything from a run.
func (w *writer) do(fn func(*bbolt.Tx) error) error { return <-w.later(fn) }

// later does the same without waiting; the result comes on the channel.
func (w *writer) later(fn func(*bbolt.Tx) error) <-chan error {
	u := &update{fn: fn, result: make(chan error, 1)}
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		u.result <- errClosed
	} else {
		w.queue <- u
	}
	return u.result
}

// maxSpare bounds how many updates wait for a transaction of somebody else.
const maxSpare = 1024

// withNext runs fn in the next transaction, which it is no reason for, and which may
// never come. Nobody hears of how it went.
func (w *writer) withNext(fn func(*bbolt.Tx) error) {
	w.sparing.Lock()
	defer w.sparing.Unlock()
	if len(w.spare) < maxSpare {
		w.spare = append(w.spare, &update{fn: fn, result: make(chan error, 1)})
	}
}

func (w *writer) takeSpare() []*update {
	w.sparing.Lock()
	defer w.sparing.Unlock()
	some := w.spare
	w.spare = nil
	return some
}

// wake has all arrivals be written.
func (w *writer) wake() { w.later(nothing) }

func nothing(*bbolt.Tx) error { return nil }

func (w *writer) close() {
	w.later(nothing)
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.queue)
	}
	w.mu.Unlock()
	<-w.done
	w.arrivals.close()
}

func (w *writer) run() {
	defer close(w.done)
	for first := range w.queue {
		group := []*update{first}
		for len(group) < w.most {
			select {
			case u, ok := <-w.queue:
				if ok {
					group = append(group, u)
					continue
				}
			default:
			}
			break
		}
		w.commit(append(w.takeSpare(), group...))
	}
}

// commit runs a group, after all that has arrived; an update that fails is told
// so, and the others are run again without it.
func (w *writer) commit(group []*update) {
	arrived := w.arrivals.begin()
	for len(group)+len(arrived) > 0 {
		late, failed, err := w.try(arrived, group)
		switch {
		case late >= 0:
			w.arrivals.refuse(arrived[late], err)
			arrived = slices.Delete(slices.Clone(arrived), late, late+1)
		case failed >= 0:
			group[failed].result <- err
			group = append(group[:failed], group[failed+1:]...)
		default:
			w.arrivals.end(arrived, err, w.wake)
			for _, u := range group {
				u.result <- err
			}
			return
		}
	}
	w.arrivals.end(nil, nil, w.wake)
}

// try runs all in a transaction. If one of them has failed, it says which.
func (w *writer) try(arrived []*arrival, group []*update) (late, failed int, err error) {
	late, failed = -1, -1
	if err := w.health.error(); err != nil {
		return late, failed, err
	}
	err = w.health.met(w.update(func(tx *bbolt.Tx) error {
		for i, a := range arrived {
			if err := w.arrive(tx, a); err != nil {
				late = i
				return err
			}
		}
		for i, u := range group {
			if err := u.fn(tx); err != nil {
				failed = i
				return err
			}
		}
		return nil
	}))
	return late, failed, err
}

// update runs fn in a transaction, unless damage gets in the way.
func (w *writer) update(fn func(*bbolt.Tx) error) error {
	returned := false
	err := guard(w.path, func() error {
		err := w.db.Update(fn)
		returned = true
		return err
	})
	w.stuck = w.stuck || !returned
	return err
}
