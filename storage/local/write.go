package local

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
)

// PutContent implements storagedriver.StorageDriver. Whoever reads the path
// finds the old content or the new one, whole. Content that is there already
// stays as it is, with its time.
func (d *Driver) PutContent(ctx context.Context, p string, content []byte) error {
	name, err := name(p)
	if err != nil {
		return err
	}
	if transient(name) {
		return wrapWrite(d.putUpload(name, content))
	}
	return d.put(ctx, wanted{kind: written, path: name, content: content})
}

// Refresh is PutContent that sets the time anew also where the content is the
// same.
func (d *Driver) Refresh(ctx context.Context, p string, content []byte) error {
	name, err := name(p)
	if err != nil {
		return err
	}
	return d.put(ctx, wanted{kind: written, path: name, content: content, fresh: true})
}

// PutContentAt is PutContent of a file that was modified at a time.
func (d *Driver) PutContentAt(ctx context.Context, p string, content []byte, modified time.Time) error {
	name, err := name(p)
	if err != nil {
		return err
	}
	return d.put(ctx, wanted{kind: written, path: name, content: content, at: modified})
}

// DoOwed does what was answered with an error although the journal has it: from then
// on all that is to happen of it is seen.
func (d *Driver) DoOwed() error { return wrapWrite(d.settleOwed()) }

func (d *Driver) put(ctx context.Context, w wanted) error {
	if s := d.scopeOf(ctx); s != nil {
		s.add(w)
		return nil
	}
	return wrapWrite(d.change(ctx, w))
}

// Move implements storagedriver.StorageDriver. What was at to is replaced.
func (d *Driver) Move(ctx context.Context, from, to string) error {
	return d.MoveAt(ctx, from, to, time.Time{})
}

// MoveAt is Move of a file that was modified at a time, unless that is zero.
func (d *Driver) MoveAt(ctx context.Context, from, to string, modified time.Time) error {
	source, err := name(from)
	if err != nil {
		return err
	}
	target, err := name(to)
	if err != nil {
		return err
	}
	w := wanted{kind: placed, path: target, from: source, at: modified}
	if s := d.scopeOf(ctx); s != nil {
		if _, err := d.Stat(ctx, from); err != nil {
			return err
		}
		s.add(w)
		return nil
	}
	if transient(target) {
		if err := errors.Join(d.asFiles(source), d.asFiles(target)); err != nil {
			return wrapWrite(err)
		}
	}
	err = d.change(ctx, w)
	if errors.Is(err, errNoSource) {
		return storagedriver.PathNotFoundError{Path: from, DriverName: kind}
	}
	return wrapWrite(err)
}

var errNoSource = errors.New("there is nothing to move")

// Delete implements storagedriver.StorageDriver.
func (d *Driver) Delete(ctx context.Context, p string) error {
	name, err := name(p)
	if err != nil {
		return err
	}
	s := d.scopeOf(ctx)
	switch {
	case transient(name) && s != nil:
		s.after = append(s.after, name)
		return nil
	case transient(name):
		return wrap(p, d.deleteUpload(name))
	case s == nil:
		err := d.change(ctx, wanted{kind: deleted, path: name})
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			if dropped, _ := d.deleteDrafts(name); dropped {
				err = nil
			}
		}
		return wrap(p, err)
	}
	if _, err := d.Stat(ctx, p); err != nil {
		return err
	}
	s.add(wanted{kind: deleted, path: name})
	return nil
}

// wrapWrite is wrap for a write, to which a missing folder is a fault.
func wrapWrite(err error) error {
	var known storagedriver.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	return storagedriver.Error{DriverName: kind, Detail: err}
}

// step is a change that is prepared: all that can go wrong has been done.
type step struct {
	records []record
	// source is what gets the path of the first record, "" for nothing.
	source string
	// temporary says that the source is of no use if the change does not happen.
	temporary bool
	made      []string // folders
	// failures is what the driver's were before the source was written.
	failures uint64
	// draft is the path of an upload that is moved from memory, "" for nothing.
	draft string
	// inPlace says that the content is written over the one that is there.
	inPlace bool
}

// change does what is wanted, all at once, and returns when it is durable.
func (d *Driver) change(ctx context.Context, all ...wanted) error {
	if len(all) == 0 {
		return nil
	}
	var paths []string
	for _, w := range all {
		paths = append(paths, w.path)
		if w.kind == placed {
			paths = append(paths, w.from)
		}
	}
	c, err := d.changes.begin(ctx, paths...)
	if err != nil {
		return err
	}
	defer d.changes.end(c)
	if err := d.settleOwed(); err != nil {
		return err
	}
	// What is there counts only if nothing of this change takes it away first.
	stays := !slices.ContainsFunc(all, func(w wanted) bool {
		return w.kind == deleted || w.kind == placed && !transient(w.from)
	})
	var steps []step
	for _, w := range all {
		s, err := d.prepare(w, stays)
		if errors.Is(err, fs.ErrNotExist) && w.kind == deleted && len(all) > 1 {
			s, err = &step{records: []record{{kind: deleted, path: w.path}}}, nil
		}
		if err != nil {
			d.undo(steps, false)
			return err
		}
		if s != nil {
			steps = append(steps, *s)
		}
	}
	return d.commit(steps)
}

// commit writes steps to the journal, in as few pieces as it takes, and then does
// them in the file tree.
func (d *Driver) commit(steps []step) error {
	for len(steps) > 0 {
		b, n := &batch{}, 0
		for n < len(steps) && (n == 0 || b.size() < d.journal.size/4) {
			b.records = append(b.records, steps[n].records...)
			n++
		}
		if len(b.records) > 0 {
			if err := d.journal.commit(b); err != nil {
				d.undo(steps, true)
				return err
			}
		}
		err := d.apply(steps[:n])
		if b.segment != nil {
			d.journal.applied(b)
		}
		if steps = steps[n:]; err != nil {
			d.undo(steps, false)
			return err
		}
	}
	return nil
}

// undo takes back what was prepared and does not happen. If the journal may have
// it all the same, uploads go too: they would be written to in place, while a
// start may find what they were to become; what is staged goes with the segment.
func (d *Driver) undo(steps []step, written bool) {
	for _, s := range steps {
		if s.source != "" && (s.temporary || written && transient(s.source)) {
			_ = d.files.remove(s.source) // else the next start does
			d.uploads.forget(s.source)
		}
		for _, r := range s.records {
			if r.kind == placed && !written {
				d.unstage([]string{r.staged})
			}
		}
		d.folders.unmake(s.made)
	}
}

// apply does in the file tree what is durable in the journal. What cannot be done
// is tried from what the journal has, and so is what was prepared before a sync
// failed; if that fails too, it is owed.
func (d *Driver) apply(steps []step) error {
	d.redoing.RLock()
	defer d.redoing.RUnlock()
	var errs []error
	for _, s := range steps {
		lost := s.source != "" && d.failures.Load() != s.failures
		err := error(nil)
		if !lost || len(s.records) == 0 {
			err = d.applyStep(s)
		}
		if (lost || err != nil) && len(s.records) > 0 {
			if err = d.applyAgain(s); err != nil {
				d.owed.Store(true)
			}
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (d *Driver) applyAgain(s step) error {
	err := d.files.alone(func(f files) error {
		for i := range s.records {
			if err := d.redoRecord(f, &s.records[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if s.source != "" && (err == nil || s.temporary) { // what is owed is in the journal
		_ = d.files.remove(s.source) // else a start or the purger does
		d.uploads.forget(s.source)
	}
	return err
}

func (d *Driver) applyStep(s step) error {
	if s.draft != "" {
		d.moved(s.draft)
	}
	if len(s.records) == 0 { // what it is moved to is there already
		if s.source == "" {
			return nil
		}
		err := d.files.remove(s.source)
		d.uploads.forget(s.source)
		return err
	}
	if s.inPlace {
		return d.writeOver(&s.records[0])
	}
	if r := &s.records[0]; r.kind != deleted && s.source != "" {
		if err := d.files.rename(s.source, r.path, true); err != nil {
			return err
		}
		d.uploads.forget(s.source)
	}
	for i := range s.records {
		if r := &s.records[i]; r.kind == deleted {
			if err := removeAll(d.files, r.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			d.folders.forget(r.path)
		}
	}
	return nil
}

// putUpload writes a file of an upload's state. Nobody was told that it is kept.
// But one that says what the bytes received so far come to ("hashstates", by
// their number) is believed later, without another look at the bytes: it must
// never outlive them. Of few bytes it is not written at all: to read them again
// is cheaper than to make them durable.
func (d *Driver) putUpload(name string, content []byte) error {
	if d.draftUpload(name, content) {
		return nil
	}
	return d.putUploadFile(name, content)
}

func (d *Driver) putUploadFile(name string, content []byte) error {
	if upload, state, ok := strings.Cut(name, "/hashstates/"); ok {
		n, err := strconv.ParseInt(path.Base(state), 10, 64)
		if err == nil && n <= int64(d.small) && d.uploads.written(upload+"/data") {
			return nil
		}
		if err != nil || n > 0 {
			if err := d.uploads.settle(d, upload+"/data"); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return d.writeUpload(name, content)
}

func (d *Driver) writeUpload(name string, content []byte) error {
	temporary, _, _, err := d.write(name, content, false)
	if err != nil {
		return err
	}
	if err := d.files.rename(temporary, name, true); err != nil {
		_ = d.files.remove(temporary)
		return err
	}
	return nil
}
