package local

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
)

// stage is the folder, in the root, of files whose content is too large for the
// journal: each has a durable name there until its place is durable too.
const stage = ".berth-staged"

// keep makes of a record one of a file whose content is durable: it gives the file
// a second name, in the stage. That
// name is durable once the journal has synced the stage. A file system that
// knows no second names gets a copy.
func (d *Driver) keep(r *record, name string) error {
	if err := d.journal.begin(); err != nil { // the stage is there then
		d.lost()
		return err
	}
	r.kind, r.content = placed, nil
	r.staged, r.stageFailures = d.temporary(), d.journal.stageFailures.Load()
	at := path.Join(stage, r.staged)
	err := d.files.link(name, at)
	if err == nil || full(err) || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := copyFile(d.files, name, at, true); err != nil {
		_ = d.files.remove(at)
		return err
	}
	return nil
}

// copyFile copies a file to a new one.
func copyFile(f files, from, to string, sync bool) error {
	source, err := f.open(from, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := f.open(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	if err == nil && sync {
		err = target.Sync()
	}
	return errors.Join(err, target.Close())
}

// unstage removes names of files from the stage.
func (d *Driver) unstage(names []string) {
	for _, name := range names {
		_ = d.files.remove(path.Join(stage, name)) // else the next start does
	}
}
