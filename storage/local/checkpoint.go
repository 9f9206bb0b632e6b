package local

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
)

// restAfter is how long a change stays in the journal that is not full: for so
// long a file keeps a second name in the stage.
const restAfter = time.Minute

// background frees segments of the journal, and makes the second one.
type background struct {
	stop  chan struct{}
	ended chan struct{}
}

func (d *Driver) startBackground() {
	b := &background{stop: make(chan struct{}), ended: make(chan struct{})}
	d.background = b
	go func() {
		defer close(b.ended)
		rest := time.NewTicker(restAfter)
		defer rest.Stop()
		for {
			select {
			case <-b.stop:
				return
			case <-d.journal.kick:
			case <-rest.C:
				d.journal.rest()
			}
			d.maintain()
		}
	}()
}

// rest seals the current segment if nobody writes to it.
func (j *journal) rest() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.running && j.current != nil && j.current.offset > blockSize {
		j.seal()
	}
}

// Settle has what was changed be durable in its place now, unless something is
// being written, so that files which were deleted lose their second names, and their
// room is free again. It does not wait for that.
func (d *Driver) Settle() { d.journal.rest() }

// maintain frees the segments that are sealed, or makes another if there is only
// one.
func (d *Driver) maintain() {
	j := d.journal
	j.mu.Lock()
	sealed := slices.Clone(j.sealed)
	another := j.needsAnother()
	j.mu.Unlock()
	switch {
	case len(sealed) > 0:
		err := d.checkpoint(sealed)
		j.mu.Lock()
		if err == nil {
			j.sealed = j.sealed[len(sealed):]
			for _, s := range sealed {
				if s.reset(); !s.dead {
					j.free = append(j.free, s)
				}
			}
		}
		j.attempts, j.failed = j.attempts+1, err
		j.changed.Broadcast()
		j.mu.Unlock()
	case another:
		j.mu.Lock()
		if s, err := j.grow(); err == nil { // else the one is used again
			j.free = append(j.free, s)
		}
		j.changed.Broadcast()
		j.mu.Unlock()
	}
}

// checkpoint makes durable in the file tree what segments hold, which are the
// oldest, and ends that they count.
func (d *Driver) checkpoint(sealed []*segment) error {
	j := d.journal
	j.mu.Lock()
	for slices.ContainsFunc(sealed, func(s *segment) bool { return s.pending > 0 }) {
		j.changed.Wait()
	}
	j.mu.Unlock()
	before := j.next.Load()
	err := d.settleOwed()
	if err == nil {
		if err = d.makeDurable(sealed); err != nil {
			// Of what was to be written out, the system may think that it is. It is
			// written anew.
			d.lost()
			if err = d.settleOwed(); err == nil {
				err = d.makeDurable(sealed)
			}
		}
	}
	if err != nil {
		d.lost()
		return err
	}
	d.folders.durable(before)
	j.mu.Lock()
	for _, s := range sealed {
		s.synced = 0 // nobody needs to read it again
	}
	j.mu.Unlock()
	for _, s := range sealed {
		if err := d.free(s); err != nil {
			return err
		}
	}
	return nil
}

// lost notes that a sync failed of what is not one file.
func (d *Driver) lost() {
	d.failures.Add(1)
	d.owed.Store(true)
}

// free ends that what a segment holds counts, and what it needs.
func (d *Driver) free(s *segment) error {
	if err := s.void(d.raw); err != nil {
		return err
	}
	d.unstage(s.staged)
	if s.dead {
		_ = d.raw.remove(s.name) // or it stays, and is void
		_ = s.file.Close()
	}
	return nil
}

// settleOwed does again in the file tree all that the journal holds, if part of
// that could not be done or may be lost, and leaves nothing that the system takes
// for written and has not.
func (d *Driver) settleOwed() error {
	if !d.owed.Load() {
		return nil
	}
	d.redoing.Lock()
	defer d.redoing.Unlock()
	return d.files.alone(func(f files) error {
		if !d.owed.Load() {
			return nil
		}
		all, err := d.journal.live()
		if err == nil {
			err = d.redoAll(f, all, d.folders.all())
		}
		if err != nil {
			return fmt.Errorf("do again what the journal holds: %w", err)
		}
		d.owed.Store(false)
		return nil
	})
}

// live are the records of all segments, oldest first.
func (j *journal) live() (all []record, err error) {
	j.mu.Lock()
	live := slices.Clone(j.sealed)
	if j.current != nil {
		live = append(live, j.current)
	}
	ends := make([]int, len(live))
	for i, s := range live {
		ends[i] = s.synced
	}
	j.mu.Unlock()
	for i, s := range live {
		records, err := s.read(ends[i])
		if err != nil {
			return nil, err
		}
		all = append(all, records...)
	}
	return all, nil
}

// redoAll does records in order, but for those that later ones undo. Folders that
// are fresh get their entries anew first: all that was promised below them is in
// the journal, so that a crash in the middle loses nothing.
func (d *Driver) redoAll(f files, all []record, fresh []string) error {
	all = effective(all)
	again := make(map[string]struct{})
	for _, folder := range fresh {
		again[folder] = struct{}{}
	}
	for _, r := range all {
		parts := strings.Split(r.path, "/")
		for n := r.fresh; n > 0 && n < len(parts); n++ {
			again[strings.Join(parts[:n], "/")] = struct{}{}
		}
	}
	for _, folder := range slices.Sorted(maps.Keys(again)) {
		by := path.Join(path.Dir(folder), d.temporary())
		err := f.rename(folder, by, false)
		if err == nil {
			err = f.rename(by, folder, false)
		}
		if gone(err) != nil {
			return err
		}
	}
	for i := range all {
		if err := d.redoRecord(f, &all[i]); err != nil {
			return err
		}
	}
	return nil
}

// effective leaves out what later records write over or delete.
func effective(all []record) []record {
	last := make(map[string]int)
	for i, r := range all {
		if r.kind == deleted {
			for p := range last {
				if within(p, r.path) {
					delete(last, p)
				}
			}
			last[r.path+"/"] = i // stays, whatever comes to its place
		} else {
			last[r.path] = i
		}
	}
	var kept []record
	for _, i := range slices.Sorted(maps.Values(last)) {
		kept = append(kept, all[i])
	}
	return kept
}

// redoRecord does one, although it may be done: the system may have lost that.
func (d *Driver) redoRecord(f files, r *record) error {
	if r.kind == deleted {
		return d.deleteAgain(f, r.path)
	}
	var made []string
	temporary := path.Join(path.Dir(r.path), d.temporary())
	err := d.folders.alone(f).within(temporary, &made, func() error {
		if r.kind == placed {
			return copyOrLink(f, path.Join(stage, r.staged), temporary)
		}
		return writeFile(f, temporary, r)
	})
	if err == nil && r.kind == placed {
		// A second name of the same file would not be moved over the first.
		if err = f.remove(r.path); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err == nil {
		err = f.rename(temporary, r.path, true)
	}
	if err != nil {
		_ = f.remove(temporary)
		if full(err) && r.kind == written {
			if same, _, _ := holds(f, r.path, r.content); same {
				return nil // without room it is left as it is
			}
		}
	}
	return err
}

func writeFile(f files, name string, r *record) error {
	made, err := f.open(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	_, err = made.Write(r.content)
	if err = errors.Join(err, made.Close()); err == nil {
		err = f.setTime(name, r.modified)
	}
	if err != nil {
		_ = f.remove(name)
	}
	return err
}

// copyOrLink gives a file a second name, or makes a copy of it.
func copyOrLink(f files, from, to string) error {
	err := f.link(from, to)
	if err == nil || full(err) || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return copyFile(f, from, to, false)
}

// deleteAgain removes what is at a path; if nothing is, it makes that durable by
// creating a folder and removing it.
func (d *Driver) deleteAgain(f files, name string) error {
	err := removeAll(f, name)
	if errors.Is(err, fs.ErrNotExist) {
		if err = f.mkdir(name); err == nil {
			err = f.remove(name)
		}
		if full(err) {
			return nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil // what was above it is gone as well
	}
	return err
}

// makeDurable makes durable in the file tree what segments hold.
func (d *Driver) makeDurable(sealed []*segment) error {
	if d.raw.hasBarrier() {
		return d.raw.barrier()
	}
	var all []record
	for _, s := range sealed {
		records, err := s.read(s.synced)
		if err != nil {
			return err
		}
		all = append(all, records...)
	}
	return d.syncAll(all)
}

// syncAll syncs the files of records, and the entries of all that is above them
// and may not be durable, one after the other.
func (d *Driver) syncAll(all []record) error {
	parents := make(map[string]struct{})
	for _, name := range d.folders.all() {
		d.folders.parents(name, d.trusted, parents)
	}
	var errs []error
	for _, r := range effective(all) {
		d.folders.parents(r.path, d.trusted, parents)
		if r.kind != deleted {
			errs = append(errs, syncFile(d.raw, r.path))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(parents)) {
		errs = append(errs, gone(d.raw.syncDir(name)))
	}
	return errors.Join(errs...)
}

// syncFile makes the content of a file durable.
func syncFile(f files, name string) error {
	opened, err := f.open(name, os.O_RDONLY)
	if err != nil {
		return gone(err)
	}
	return errors.Join(opened.Sync(), opened.Close())
}

// gone leaves out that something is not there: a later change has removed it.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	return err
}

// full reports whether there was no room.
func full(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }
