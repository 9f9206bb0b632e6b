package local

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
)

// generationName is the file beside the images that names the run whose journal
// belongs to them. It goes where they go, into a copy or out of an older one.
const generationName = ".berth-generation"

// generationPlaces are where it can be, the best first: that folder must have been
// there at the start, and durable.
var generationPlaces = []string{path.Join(layout[2], generationName), generationName}

// prepareJournal makes what a journal needs besides its segments. What is in the
// root is synced with the first of these.
func (d *Driver) prepareJournal() error {
	// One that is there may be of an attempt whose sync failed.
	if err := removeAll(d.raw, stage); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := d.raw.mkdir(stage); err != nil {
		return err
	}
	err := fs.ErrNotExist
	if d.trusted && d.folders.depth(generationPlaces[0], 0) == 0 {
		err = d.writeGeneration(generationPlaces[0])
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = d.writeGeneration(generationPlaces[1])
	}
	if err != nil {
		return err
	}
	if d.background == nil {
		d.startBackground()
	}
	return nil
}

func (d *Driver) writeGeneration(place string) error {
	temporary := path.Join(path.Dir(place), d.temporary())
	f, err := d.raw.open(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(d.run))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = d.raw.rename(temporary, place, true)
	}
	if err != nil {
		_ = d.raw.remove(temporary)
		return err
	}
	if folder := path.Dir(place); folder != "." {
		return d.raw.syncDir(folder)
	}
	return nil
}

// replay does in the file tree what an earlier process wrote to the journal, and
// makes it durable there. It may be done again from the start at any time.
func (d *Driver) replay() error {
	names, found, err := d.findSegments()
	if err != nil || len(names) == 0 {
		return err
	}
	var all []record
	for i, p := range found {
		limit := uint64(math.MaxUint64)
		if i+1 < len(found) {
			limit = found[i+1].header.from
		}
		all = append(all, p.below(limit)...)
	}
	if len(all) > 0 {
		if err := d.belongs(found); err != nil {
			return err
		}
		if err := d.redoAll(d.raw, all, nil); err != nil {
			return fmt.Errorf("do what the journal holds: %w", err)
		}
		if err := d.settleReplay(all); err != nil {
			return fmt.Errorf("write out what the journal held: %w", err)
		}
	}
	// The oldest first: a later one alone does no harm.
	for _, p := range found {
		if err := d.voidNamed(p.name); err != nil {
			return unlessReadOnly(err, all)
		}
	}
	for _, name := range names {
		if err := d.raw.remove(name); err != nil {
			return unlessReadOnly(err, all)
		}
	}
	return gone(removeAll(d.raw, stage))
}

// unlessReadOnly leaves out that a disk is read-only if the journal is empty:
// what cannot be written can still be read.
func unlessReadOnly(err error, all []record) error {
	if len(all) == 0 && errors.Is(err, syscall.EROFS) {
		return nil
	}
	return err
}

// settleReplay makes durable what was done again.
func (d *Driver) settleReplay(all []record) error {
	if d.raw.hasBarrier() {
		return d.raw.barrier()
	}
	return d.syncAll(all)
}

func (d *Driver) voidNamed(name string) error {
	f, err := d.raw.open(name, os.O_RDWR)
	if err != nil {
		return err
	}
	s := &segment{name: name, file: f}
	return errors.Join(s.void(d.raw), f.Close())
}

// findSegments reads the segments that are there. Found are those in use, in the
// order of their use.
func (d *Driver) findSegments() (names []string, found []*parsed, err error) {
	all, err := namesIn(d.raw, ".")
	if err != nil {
		return nil, nil, err
	}
	for _, name := range all {
		if !segmentForm.MatchString(name) {
			continue
		}
		names = append(names, name)
		f, err := d.raw.open(name, os.O_RDONLY)
		if err != nil {
			return nil, nil, err
		}
		b, err := io.ReadAll(io.LimitReader(f, largestSegment))
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, nil, err
		}
		p, err := parseSegment(name, b)
		if err != nil {
			return nil, nil, err
		}
		if p != nil {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b *parsed) int { return cmp.Compare(a.header.use, b.header.use) })
	return names, found, nil
}

// belongs returns an error if the journal is not that of the files beside it.
func (d *Driver) belongs(found []*parsed) error {
	for _, place := range generationPlaces {
		f, err := d.raw.open(place, os.O_RDONLY)
		if err != nil {
			if gone(err) == nil {
				continue
			}
			return err
		}
		b, err := io.ReadAll(io.LimitReader(f, generationLength+1))
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		if !slices.ContainsFunc(found, func(p *parsed) bool { return p.header.generation != string(b) }) {
			return nil
		}
	}
	var names []string
	for _, p := range found {
		names = append(names, p.name)
	}
	return fmt.Errorf("the journal (%s) is not that of the files beside it, which are of another time or place: it is not applied; "+
		"put back the files that belong to it, or remove it to go on without what it holds", strings.Join(names, ", "))
}

// endJournal leaves nothing in the journal, and no journal.
func (d *Driver) endJournal() error {
	j := d.journal
	if d.background == nil { // nothing was written
		return nil
	}
	close(d.background.stop)
	<-d.background.ended
	j.mu.Lock()
	j.ended = true
	for j.running {
		j.changed.Wait()
	}
	j.seal()
	sealed := slices.Clone(j.sealed)
	j.mu.Unlock()
	err := d.checkpoint(sealed)
	var errs []error
	for _, s := range append(sealed, j.free...) {
		if err == nil && !s.dead {
			errs = append(errs, d.raw.remove(s.name))
		}
		_ = s.file.Close() // a dead one may be closed
	}
	if err != nil {
		return fmt.Errorf("the journal is kept for the next start: %w", err)
	}
	for _, place := range generationPlaces {
		errs = append(errs, gone(d.raw.remove(place)))
	}
	return errors.Join(append(errs, gone(removeAll(d.raw, stage)))...)
}
