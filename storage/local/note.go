package local

import (
	"errors"
	"io/fs"
	"os"
	"strings"
)

// notes is where berth notes what is under way. Only a start reads it, when the
// journal has been replayed, so that nobody sees part of one.
const notes = "berth/linking/"

// isNote reports whether a note can be written over the one that is there: it has
// the same length, in a block that the file system has given it, so that this is
// not refused, and leaves no file to be deleted.
func (d *Driver) isNote(name string, content []byte) bool {
	if !strings.HasPrefix(name, notes) || len(content) == 0 || len(content) > d.small {
		return false
	}
	found, err := d.files.stat(name)
	return err == nil && !found.dir && found.size == int64(len(content))
}

// writeOver writes a note where it is, once the journal has it.
func (d *Driver) writeOver(r *record) error {
	f, err := d.files.open(r.path, os.O_WRONLY)
	if err != nil {
		return err
	}
	n, err := f.WriteAt(r.content, 0)
	if err == nil && n < len(r.content) {
		err = &fs.PathError{Op: "write", Path: r.path, Err: errors.ErrUnsupported}
	}
	return errors.Join(err, f.Close())
}
