package local

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"

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
	c, err := d.changes.begin(ctx, name)
	if err != nil {
		return wrapWrite(err)
	}
	defer d.changes.end(c)
	return wrapWrite(d.put(c, name, content))
}

// wrapWrite is wrap for a write, to which a missing folder is a fault.
func wrapWrite(err error) error {
	if err == nil {
		return nil
	}
	return storagedriver.Error{DriverName: kind, Detail: err}
}

// put writes a file that is promised.
func (d *Driver) put(c *change, name string, content []byte) error {
	epoch := d.settler.begin()
	if err := d.heal(path.Dir(name)); err != nil {
		return err
	}
	there, same, err := d.holds(name, content)
	if err != nil {
		return err
	}
	if same && len(d.settler.suspects(name)) == 0 {
		return d.confirm(epoch, name)
	}
	temporary, made, err := d.write(name, content, true)
	if err != nil {
		return err
	}
	d.changes.show(c)
	if err = d.files.rename(temporary, name, true); err != nil {
		_ = d.files.remove(temporary) // else the next start does
		d.unmake(made)
		return err
	}
	if err = d.settler.settle(epoch, name); err == nil {
		d.settler.trust(name)
		return nil
	}
	// What was there before is gone from view, and may come back.
	if there || d.files.remove(name) != nil {
		d.settler.distrust(name)
	}
	d.unmake(made)
	return err
}

// confirm makes sure that a file that is there, unchanged, is durable. All is
// that this run wrote or that was trusted at the start.
func (d *Driver) confirm(epoch uint64, name string) error {
	if d.settler.trusted {
		return nil
	}
	if err := d.syncFile(name); err != nil {
		d.settler.distrust(name)
		return err
	}
	return d.settler.settle(epoch, name)
}

// holds reports whether there is a file, and whether it has that content.
func (d *Driver) holds(name string, content []byte) (there, same bool, err error) {
	f, err := d.files.open(name, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return false, false, nil
	}
	if err != nil {
		return false, false, err
	}
	defer f.Close()
	// One byte more says whether there is more.
	found := make([]byte, len(content)+1)
	n, err := io.ReadFull(f, found)
	if err != io.EOF && err != io.ErrUnexpectedEOF && err != nil {
		return true, false, nil // it cannot be read, a folder for one: the rename will tell
	}
	return true, bytes.Equal(found[:n], content), nil
}

// write writes a temporary file beside name, and returns it with the folders
// that it created for it.
func (d *Driver) write(name string, content []byte, sync bool) (temporary string, made []string, err error) {
	temporary = path.Join(path.Dir(name), d.temporary())
	f, made, err := d.create(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return "", nil, err
	}
	_, err = f.Write(content)
	if err == nil && sync {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = d.files.remove(temporary)
		d.unmake(made)
		return "", nil, err
	}
	return temporary, made, nil
}

// create opens a file to write, and creates the folders above it that are
// missing.
func (d *Driver) create(name string, flag int) (f file, made []string, err error) {
	err = d.within(name, &made, func() (err error) {
		f, err = d.files.open(name, flag)
		return err
	})
	if err != nil {
		d.unmake(made)
		return nil, nil, err
	}
	return f, made, nil
}

// within does something that needs the folder of a name, and creates it if it is
// missing. Another request may remove it again, as it does with an upload's.
func (d *Driver) within(name string, made *[]string, do func() error) error {
	for range 10 {
		if err := do(); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := d.mkdirs(path.Dir(name), made); err != nil {
			return err
		}
	}
	return do()
}

// mkdirs creates a folder, and those above it only if it must.
func (d *Driver) mkdirs(name string, made *[]string) error {
	err := d.settler.mkdir(name)
	if errors.Is(err, fs.ErrNotExist) && name != "." {
		if err := d.mkdirs(path.Dir(name), made); err != nil {
			return err
		}
		err = d.settler.mkdir(name)
	}
	switch {
	case err == nil:
		*made = append(*made, name)
	case errors.Is(err, fs.ErrExist):
		return nil
	}
	return err
}

// unmake removes the folders that an operation created and that nobody uses.
func (d *Driver) unmake(made []string) {
	for i := len(made) - 1; i >= 0; i-- {
		d.settler.rmdir(made[i])
	}
}

// heal writes again the entries of the folders down to name of which a sync
// failed. Nothing below them was promised since they were created, so that a
// crash in the middle loses nothing; once one is written again, something may
// be, so that nobody does it twice.
func (d *Driver) heal(name string) error {
	if len(d.settler.suspects(name)) == 0 {
		return nil
	}
	d.healing.Lock()
	defer d.healing.Unlock()
	for _, folder := range d.settler.suspects(name) {
		by := path.Join(path.Dir(folder), d.temporary())
		err := d.files.relink(folder, by)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			d.settler.forget(folder)
		case err != nil:
			return err
		default:
			d.settler.relinked(folder)
		}
	}
	return nil
}

// syncFile makes the content of a file durable.
func (d *Driver) syncFile(name string) error {
	f, err := d.files.open(name, os.O_RDONLY)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Move implements storagedriver.StorageDriver. What was at to is replaced.
func (d *Driver) Move(ctx context.Context, from, to string) error {
	source, err := name(from)
	if err != nil {
		return err
	}
	target, err := name(to)
	if err != nil {
		return err
	}
	c, err := d.changes.begin(ctx, source, target)
	if err != nil {
		return wrapWrite(err)
	}
	defer d.changes.end(c)
	err = d.move(c, source, target)
	if errors.Is(err, errNoSource) {
		return storagedriver.PathNotFoundError{Path: from, DriverName: kind}
	}
	return wrapWrite(err)
}

var errNoSource = errors.New("there is nothing to move")

// move syncs what it moves before others can see it, and where it is then.
func (d *Driver) move(c *change, from, to string) error {
	epoch := d.settler.begin()
	if err := d.heal(path.Dir(to)); err != nil {
		return err
	}
	if err := d.uploads.settle(d, from); err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			return errNoSource
		}
		return err
	}
	d.changes.show(c)
	replaced := false
	var made []string
	err := d.within(to, &made, func() error { return d.files.rename(from, to, false) })
	if errors.Is(err, fs.ErrExist) {
		replaced = true
		err = d.files.rename(from, to, true)
	}
	if err != nil {
		d.unmake(made)
		return err
	}
	changed := []string{to}
	if !transient(from) {
		changed = append(changed, from)
	}
	err = d.settler.settle(epoch, changed...)
	d.uploads.forget(from)
	if err == nil {
		d.settler.trust(to)
		return nil
	}
	d.unmove(from, to, replaced)
	d.unmake(made)
	return err
}

// unmove takes back a move. What was promised at its old place goes there again.
// An upload is removed: it would be written to again, although a crash may show
// that it is where it was moved to. What was replaced is gone from view, and may
// come back, so that to is to be written again.
func (d *Driver) unmove(from, to string, replaced bool) {
	var err error
	switch {
	case replaced:
	case transient(from):
		err = d.files.remove(to)
	default:
		err = d.files.rename(to, from, false)
	}
	if replaced || err != nil {
		d.settler.distrust(to)
	}
	if !transient(from) {
		d.settler.distrust(from)
	}
}

// Delete implements storagedriver.StorageDriver.
func (d *Driver) Delete(ctx context.Context, p string) error {
	name, err := name(p)
	if err != nil {
		return err
	}
	if transient(name) {
		d.uploads.forget(name)
		return wrap(p, removeAll(d.files, name))
	}
	c, err := d.changes.begin(ctx, name)
	if err != nil {
		return wrapWrite(err)
	}
	defer d.changes.end(c)
	return wrap(p, d.remove(c, name))
}

// remove removes what is promised to be gone.
func (d *Driver) remove(c *change, name string) error {
	epoch := d.settler.begin()
	if err := d.heal(path.Dir(name)); err != nil {
		return err
	}
	d.changes.show(c)
	err := removeAll(d.files, name)
	if errors.Is(err, fs.ErrNotExist) && len(d.settler.suspects(name)) > 0 {
		// It was removed before, and the sync failed: once more.
		var made []string
		if err = d.within(name, &made, func() error { return d.files.mkdir(name) }); err == nil {
			err = d.files.remove(name)
		}
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return err
	}
	d.settler.forget(name)
	if err == nil {
		err = d.settler.settle(epoch, name)
	}
	if err != nil {
		d.settler.distrust(name)
	}
	return err
}
