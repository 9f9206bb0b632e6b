package local

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"
)

// prepare makes of what is wanted a step; nil if there is nothing to do. stays says
// that nothing of the same change takes away what is there.
func (d *Driver) prepare(w wanted, stays bool) (*step, error) {
	switch {
	case w.kind == written:
		return d.preparePut(w, stays && !w.fresh)
	case w.kind == placed && w.from == w.path:
		return d.preparePlaced(w.path)
	case w.kind == placed:
		return d.prepareMove(w, stays)
	}
	if err := d.files.exists(w.path); err != nil {
		return nil, err
	}
	return &step{records: []record{{kind: deleted, path: w.path}}}, nil
}

func (d *Driver) preparePut(w wanted, stays bool) (*step, error) {
	name, content := w.path, w.content
	if stays && d.isNote(name, content) {
		return &step{records: []record{{kind: written, path: name, modified: time.Now(), content: content}}, inPlace: true}, nil
	}
	same, modified, err := holds(d.files, name, content)
	if err != nil {
		return nil, err
	}
	r := record{kind: written, path: name, modified: modified, content: content}
	same = same && stays
	if same && d.trusted {
		return nil, nil
	}
	if same && len(content) <= d.small { // it may not be durable
		return &step{records: []record{r}}, nil
	}
	large, failures := len(content) > d.small, d.failures.Load()
	temporary, made, modified, err := d.write(name, content, large)
	if err != nil {
		return nil, err
	}
	s := &step{source: temporary, temporary: true, made: made, failures: failures}
	if !w.at.IsZero() {
		if err := d.files.setTime(temporary, w.at); err != nil {
			d.undo([]step{*s}, false)
			return nil, err
		}
		modified = w.at
	}
	// Before its folder was made, nobody could tell whether the name can be; one
	// that is no longer than that of the temporary file can.
	if len(made) > 0 && len(path.Base(name)) > len(path.Base(temporary)) {
		if err := d.isFile(name); err != nil {
			d.undo([]step{*s}, false)
			return nil, err
		}
	}
	if r.modified = modified; large {
		if err := d.keep(&r, temporary); err != nil {
			d.undo([]step{*s}, false)
			return nil, err
		}
	}
	s.records = []record{r}
	return s, nil
}

// holds reports whether a file has that content, and when it was modified. A
// folder in its place is an error.
func holds(fsys files, name string, content []byte) (same bool, modified time.Time, err error) {
	f, err := fsys.open(name, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return false, modified, nil
	}
	if err != nil {
		return false, modified, err
	}
	defer f.Close()
	// One byte more says whether there is more.
	found := make([]byte, len(content)+1)
	n, err := io.ReadFull(f, found)
	switch {
	case errors.Is(err, syscall.EISDIR):
		return false, modified, err
	case err != io.EOF && err != io.ErrUnexpectedEOF && err != nil || !bytes.Equal(found[:n], content):
		return false, modified, nil // what cannot be read is replaced
	}
	info, err := f.Stat()
	if err != nil {
		return false, modified, err
	}
	return true, info.ModTime(), nil
}

// write writes a temporary file beside name, and returns it with the folders
// that it created for it and the time that it has.
func (d *Driver) write(name string, content []byte, sync bool) (temporary string, made []string, modified time.Time, err error) {
	temporary = path.Join(path.Dir(name), d.temporary())
	f, made, err := d.create(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return "", nil, modified, err
	}
	_, err = f.Write(content)
	if err == nil && sync {
		err = f.Sync()
	}
	if err == nil {
		var info fs.FileInfo
		if info, err = f.Stat(); err == nil {
			modified = info.ModTime()
		}
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = d.files.remove(temporary)
		d.folders.unmake(made)
		return "", nil, modified, err
	}
	return temporary, made, modified, nil
}

// create opens a file to write, and creates the folders above it that are
// missing.
func (d *Driver) create(name string, flag int) (f file, made []string, err error) {
	err = d.folders.within(name, &made, func() (err error) {
		f, err = d.files.open(name, flag)
		return err
	})
	if err != nil {
		d.folders.unmake(made)
		return nil, nil, err
	}
	return f, made, nil
}

// preparePlaced makes durable a file that was written where it is.
func (d *Driver) preparePlaced(name string) (*step, error) {
	r := record{path: name}
	if err := d.keep(&r, name); err != nil {
		return nil, err
	}
	return &step{records: []record{r}}, nil
}

// prepareMove has the content in the journal if it is small and what the name of
// the target says, else durable in the stage.
func (d *Driver) prepareMove(w wanted, stays bool) (*step, error) {
	from, to := w.from, w.path
	if f := d.drafts.file(from); f != nil {
		return d.prepareDraft(w, f.content, stays)
	}
	found, err := d.files.stat(from)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return nil, errNoSource
	case err != nil:
		return nil, err
	case found.dir:
		return nil, &fs.PathError{Op: "move", Path: from, Err: syscall.EISDIR}
	}
	if !w.at.IsZero() {
		if err := d.files.setTime(from, w.at); err != nil {
			return nil, err
		}
		found.modified = w.at
	}
	s := &step{source: from, failures: d.uploads.failures(from)}
	r := record{kind: written, path: to, modified: found.modified}
	if r.content, err = d.blob(from, to, found.size); err != nil {
		return nil, err
	}
	if r.content != nil {
		if same, _, err := holds(d.files, to, r.content); err != nil || same && stays && d.trusted && transient(from) {
			return s, err
		}
	}
	if err := d.isFile(to); err != nil {
		return nil, err
	}
	err = d.makeFolder(to, &s.made)
	if err == nil && r.content == nil {
		if err = d.uploads.settle(d, from); err == nil {
			err = d.keep(&r, from)
		}
	}
	if err != nil {
		d.folders.unmake(s.made)
		return nil, err
	}
	s.records = []record{r}
	if r.kind == placed || !transient(from) {
		// Also an upload, where a start finds it again: what was written to it
		// would be written to the file that has its place.
		s.records = append(s.records, record{kind: deleted, path: from})
	}
	return s, nil
}

// isFile returns an error if there is a folder, which no file replaces.
func (d *Driver) isFile(name string) error {
	found, err := d.files.stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil && found.dir:
		return &fs.PathError{Op: "replace", Path: name, Err: syscall.EISDIR}
	}
	return err
}

// makeFolder has a folder for a file, and returns an error if there cannot be such
// a file.
func (d *Driver) makeFolder(name string, made *[]string) error {
	folder := path.Dir(name)
	found, err := d.files.stat(folder)
	if errors.Is(err, fs.ErrNotExist) {
		if err := d.folders.mkdirs(folder, made); err != nil {
			return err
		}
		if found, err = d.files.stat(folder); err == nil {
			err = d.isFile(name)
		}
	}
	if err == nil && !found.dir {
		return &fs.PathError{Op: "mkdir", Path: folder, Err: syscall.ENOTDIR}
	}
	return err
}

// blob returns the content of a small file that the name of a blob says is what
// belongs there, so that it does not matter whether it is durable; else nil.
func (d *Driver) blob(from, to string, size int64) ([]byte, error) {
	if size > int64(d.small) || !strings.HasPrefix(to, layout[3]+"/sha256/") || path.Base(to) != "data" {
		return nil, nil
	}
	f, err := d.files.open(from, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content := make([]byte, size)
	if _, err := io.ReadFull(f, content); err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(content); path.Base(path.Dir(to)) != hex.EncodeToString(sum[:]) {
		return nil, nil
	}
	return content, nil
}
