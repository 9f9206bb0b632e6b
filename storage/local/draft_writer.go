package local

import (
	"context"
	"sync"
	"time"
)

// draftWriter is a storagedriver.FileWriter of an upload's data that begins in
// memory.
type draftWriter struct {
	driver *Driver
	draft  *draft
	name   string

	mu     sync.Mutex
	size   int64
	file   *writer // once the data is one
	wrote  bool
	closed bool
	done   bool // committed or cancelled
}

func (w *draftWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.done {
		return 0, errClosed
	}
	w.wrote = w.wrote || len(p) > 0
	if w.file == nil {
		kept, err := w.keep(p)
		switch {
		case err != nil:
			return 0, err
		case kept:
			return len(p), nil
		}
	}
	n, err := w.file.Write(p)
	w.size += int64(n)
	return n, err
}

// keep adds to what is in memory, and reports whether it could; if not, there is
// a file then.
func (w *draftWriter) keep(p []byte) (kept bool, err error) {
	n := w.draft
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		return false, errClosed
	}
	f := n.files[draftData]
	if f != nil && len(f.content)+len(p) <= w.driver.small && w.driver.drafts.take(len(p)) {
		f.content, f.modified = append(f.content, p...), time.Now()
		w.size += int64(len(p))
		return true, nil
	}
	if w.file, err = w.driver.spill(n); err == nil {
		w.size = w.file.Size()
	}
	return false, err
}

// Size is the length of the data in bytes.
func (w *draftWriter) Size() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.size
}

// Close ends the writing. What was not committed can be gone on with, as who sent
// it is told; so it is in files then.
func (w *draftWriter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return errClosed
	}
	w.closed = true
	if w.file != nil {
		if err := w.file.Close(); err != nil {
			return err
		}
	}
	if w.done || !w.wrote {
		return nil
	}
	n := w.draft
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		return nil
	}
	return wrapWrite(w.driver.settleDraft(n))
}

// Cancel removes the data.
func (w *draftWriter) Cancel(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.done {
		return errClosed
	}
	w.closed, w.done = true, true
	if w.file != nil {
		return w.file.Cancel(ctx)
	}
	w.driver.moved(w.name)
	return nil
}

// Commit ends what is written; Move makes it durable if the journal will take it.
func (w *draftWriter) Commit(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.done {
		return errClosed
	}
	w.done = true
	if w.file != nil {
		return w.file.Commit(ctx)
	}
	return nil
}
