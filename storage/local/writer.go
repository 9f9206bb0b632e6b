package local

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
)

// Writer implements storagedriver.StorageDriver. It writes in place, and what
// was written is there for all as it comes. Of an upload, Commit makes the
// content durable, and Move the entry; elsewhere, Commit does both.
func (d *Driver) Writer(_ context.Context, p string, again bool) (storagedriver.FileWriter, error) {
	name, err := name(p)
	if err != nil {
		return nil, err
	}
	w, err := d.openDraft(name, again)
	switch {
	case err != nil:
		return nil, err
	case w != nil:
		return w, nil
	}
	return d.openWriter(name, again)
}

// openWriter opens a file to write to.
func (d *Driver) openWriter(name string, again bool) (w *writer, err error) {
	w = &writer{driver: d, name: name, failures: d.failures.Load()}
	flag := os.O_WRONLY | os.O_CREATE
	if !again {
		flag |= os.O_TRUNC
	}
	if w.file, _, err = d.create(name, flag); err != nil {
		return nil, wrapWrite(err)
	}
	if again {
		if w.size, err = w.file.Seek(0, io.SeekEnd); err != nil {
			return nil, wrapWrite(errors.Join(err, w.file.Close()))
		}
	}
	d.uploads.opened(w, !again)
	return w, nil
}

// writer is a storagedriver.FileWriter.
type writer struct {
	driver *Driver
	name   string
	size   int64
	// failures is what the driver's were when it began.
	failures uint64

	mu     sync.Mutex
	file   file
	clean  bool // all that was written is durable
	closed bool
	done   bool // committed or cancelled
}

var errClosed = errors.New("the file is closed, committed or cancelled already")

func (w *writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.done {
		return 0, errClosed
	}
	w.clean = w.clean && len(p) == 0
	n, err := w.file.Write(p)
	w.size += int64(n)
	return n, err
}

// Size is the length of the file in bytes.
func (w *writer) Size() int64 { return w.size }

// Close ends the writing; what was not committed can be gone on with.
func (w *writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return errClosed
	}
	w.closed = true
	return w.file.Close()
}

// Cancel removes the file.
func (w *writer) Cancel(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.done {
		return errClosed
	}
	w.closed, w.done = true, true
	_ = w.file.Close()
	w.driver.uploads.forget(w.name)
	return wrapWrite(w.driver.files.remove(w.name))
}

// Commit makes the content durable; that of an upload that the journal will take
// is left to Move.
func (w *writer) Commit(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.done {
		return errClosed
	}
	upload := transient(w.name)
	if !upload || w.size > int64(w.driver.small) {
		if err := w.sync(); err != nil {
			return wrapWrite(err)
		}
	}
	w.done = true
	if upload {
		return nil
	}
	return wrapWrite(w.driver.change(ctx, wanted{kind: placed, path: w.name, from: w.name}))
}

// sync makes what was written durable, if it is not. If that fails, or anything
// was synced meanwhile and that failed, part of it may be lost although it can
// still be read, and a later sync would say nothing: the file goes. The caller
// holds the lock.
func (w *writer) sync() error {
	if w.clean {
		return nil
	}
	err := w.stale()
	if err == nil {
		err = w.file.Sync()
	}
	w.clean = err == nil
	if err != nil {
		_ = w.driver.files.remove(w.name)
	}
	return err
}

var errFailed = errors.New("a sync failed while it was written")

// stale returns an error if the system may take for written what it could not
// write.
func (w *writer) stale() error {
	if w.driver.failures.Load() != w.failures {
		return errFailed
	}
	return nil
}

// uploads knows which of the files that are being written are durable already,
// and has the descriptors that they were written with: only those are sure to be
// told of an error.
type uploads struct {
	mu      sync.Mutex
	writers map[string]*writer // the last of each file, also when it is closed
}

func newUploads() *uploads { return &uploads{writers: make(map[string]*writer)} }

// opened notes who writes a file from now on.
func (u *uploads) opened(w *writer, empty bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if before := u.writers[w.name]; before != nil && !empty {
		before.mu.Lock()
		if w.clean = before.clean; !w.clean {
			w.failures = before.failures
		}
		before.mu.Unlock()
	}
	u.writers[w.name] = w
}

// forget drops a file, or that of an upload's folder.
func (u *uploads) forget(name string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.writers, name)
	delete(u.writers, name+"/data")
}

// failures are those of the driver before a file was written; none, if it was
// there at the start.
func (u *uploads) failures(name string) uint64 {
	u.mu.Lock()
	w := u.writers[name]
	u.mu.Unlock()
	if w == nil {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failures
}

// written reports whether this process has written a file.
func (u *uploads) written(name string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.writers[name] != nil
}

// settle makes the content of a file durable, if it is not known to be. A file
// of which that fails is removed.
func (u *uploads) settle(d *Driver, name string) error {
	u.mu.Lock()
	w := u.writers[name]
	u.mu.Unlock()
	if w != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.clean || !w.closed {
			return w.sync()
		}
	}
	f, err := d.files.open(name, os.O_RDONLY)
	if err != nil {
		return err
	}
	if w != nil {
		err = w.stale()
	}
	if err == nil {
		err = f.Sync()
	}
	_ = f.Close()
	if err != nil {
		if transient(name) {
			_ = d.files.remove(name)
		}
		return err
	}
	if w != nil {
		w.clean = true
	}
	return nil
}
