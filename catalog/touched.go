package catalog

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/berth-oci/berth/catalog/index"
)

// touched keeps the notes that the blobs of a repository are changing. A note
// is written once, before the first change, and stays while changes go on, so
// that a push of many blobs does not pay for one each.
type touched struct {
	index index.Index
	log   *slog.Logger
	stop  chan struct{}
	done  chan struct{}

	mu    sync.Mutex
	notes map[string]*note // guarded by mu
}

type note struct {
	written chan struct{} // closed once the note is durable, or could not be written
	err     error         // set before written is closed
	active  int
	last    time.Time
}

func newTouched(index index.Index, log *slog.Logger) *touched {
	t := &touched{
		index: index, log: log, notes: make(map[string]*note),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	go t.sweep()
	return t
}

// enter returns when the note is durable. The caller calls leave when its
// change has been shown, or is known not to have happened.
func (t *touched) enter(ctx context.Context, repository string) error {
	t.mu.Lock()
	n := t.notes[repository]
	first := n == nil
	if first {
		n = &note{written: make(chan struct{})}
		t.notes[repository] = n
	}
	n.active++
	t.mu.Unlock()

	if first {
		n.err = t.index.Touch(context.WithoutCancel(ctx), repository)
		close(n.written)
	}
	<-n.written
	if n.err == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if n.active--; t.notes[repository] == n {
		delete(t.notes, repository) // the next one tries again
	}
	return n.err
}

func (t *touched) leave(repository string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.notes[repository]
	n.active--
	n.last = time.Now()
}

// sweep removes the notes of repositories that have come to rest.
func (t *touched) sweep() {
	defer close(t.done)
	tick := time.NewTicker(settleAfter)
	defer tick.Stop()
	for {
		select {
		case <-t.stop:
			return
		case now := <-tick.C:
			if err := t.settle(now.Add(-settleAfter)); err != nil {
				t.log.Error("notes of settled repositories not removed", "error", err)
			}
		}
	}
}

// settle holds the lock while it writes, so that nobody starts a change under
// a note that is being removed.
func (t *touched) settle(before time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var rested []string
	for repository, n := range t.notes {
		if n.active == 0 && n.last.Before(before) {
			rested = append(rested, repository)
		}
	}
	if len(rested) == 0 {
		return nil
	}
	if err := t.index.Settle(context.Background(), rested); err != nil {
		return err
	}
	for _, repository := range rested {
		delete(t.notes, repository)
	}
	return nil
}

func (t *touched) close() error {
	close(t.stop)
	<-t.done
	return t.settle(time.Now().Add(time.Hour))
}
