package catalog

import (
	"context"
	"sync"
	"time"

	"github.com/berth-oci/berth/catalog/index"
)

// restAfter is how long a repository's blobs must have been left alone before
// the note about them is removed.
const restAfter = 10 * time.Second

// dirty keeps the notes that the blobs of a repository are changing. A note is
// written once, before the first change, and stays while changes go on, so that
// a push of many blobs does not pay for one each.
type dirty struct {
	index index.Index

	mu    sync.Mutex
	notes map[string]*note // guarded by mu
}

type note struct {
	written chan struct{} // closed once the note is durable, or could not be written
	err     error         // set before written is closed
	active  int
	last    time.Time
}

func newDirty(x index.Index) *dirty { return &dirty{index: x, notes: make(map[string]*note)} }

// enter returns when the note is durable. The caller calls leave when its
// change has been published, or is known not to have happened.
func (d *dirty) enter(ctx context.Context, repository string) error {
	d.mu.Lock()
	n := d.notes[repository]
	first := n == nil
	if first {
		n = &note{written: make(chan struct{})}
		d.notes[repository] = n
	}
	n.active++
	d.mu.Unlock()

	if first {
		n.err = d.index.MarkDirty(context.WithoutCancel(ctx), repository, false)
		close(n.written)
	}
	<-n.written
	if n.err == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if n.active--; d.notes[repository] == n {
		delete(d.notes, repository) // the next one tries again
	}
	return n.err
}

func (d *dirty) leave(repository string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.notes[repository]
	n.active--
	n.last = time.Now()
}

// adopt takes over the note of a process that is gone, once the repository has
// been read again.
func (d *dirty) adopt(repository string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.notes[repository] == nil {
		n := &note{written: make(chan struct{}), last: time.Now()}
		close(n.written)
		d.notes[repository] = n
	}
}

// clear removes the notes of repositories that have been at rest since before,
// but for those that have still to be read again. It holds the lock while it
// writes, so that nobody starts a change under a note that is being removed.
func (d *dirty) clear(before time.Time, unsettled func(repository string) bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var rested []string
	for repository, n := range d.notes {
		if n.active == 0 && n.last.Before(before) && !unsettled(repository) {
			rested = append(rested, repository)
		}
	}
	if len(rested) == 0 {
		return nil
	}
	if err := d.index.ClearDirty(context.Background(), rested); err != nil {
		return err
	}
	for _, repository := range rested {
		delete(d.notes, repository)
	}
	return nil
}

func (d *dirty) close(unsettled func(repository string) bool) error {
	return d.clear(time.Now().Add(time.Hour), unsettled)
}
