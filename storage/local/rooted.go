package local

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// rooted resolves names a folder at a time, in this process: it works on every
// system, for more calls.
type rooted struct{ root *os.Root }

func openRooted(root string) (files, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	return &rooted{r}, nil
}

// outside makes of the error for a link that leads out, which has no name, or
// nowhere, the one for what does not exist.
func outside(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) && (strings.Contains(at.Err.Error(), "escapes") || errors.Is(err, syscall.ELOOP)) {
		return &fs.PathError{Op: at.Op, Path: at.Path, Err: fs.ErrNotExist}
	}
	return err
}

func (r *rooted) open(name string, flag int) (file, error) {
	f, err := r.root.OpenFile(filepath.FromSlash(name), flag, 0o666)
	if err != nil {
		return nil, outside(err)
	}
	return f, nil
}

func (r *rooted) rename(from, to string, replace bool) error {
	if !replace {
		if _, err := r.root.Lstat(filepath.FromSlash(to)); err == nil {
			return &fs.PathError{Op: "rename", Path: to, Err: fs.ErrExist}
		}
	}
	return outside(r.root.Rename(filepath.FromSlash(from), filepath.FromSlash(to)))
}

func (r *rooted) link(from, to string) error {
	return outside(r.root.Link(filepath.FromSlash(from), filepath.FromSlash(to)))
}

func (r *rooted) exists(name string) error {
	_, err := r.root.Lstat(filepath.FromSlash(name))
	return outside(err)
}

func (r *rooted) setTime(name string, modified time.Time) error {
	return outside(r.root.Chtimes(filepath.FromSlash(name), modified, modified))
}

func (r *rooted) remove(name string) error {
	return outside(r.root.Remove(filepath.FromSlash(name)))
}

func (r *rooted) mkdir(name string) error {
	return outside(r.root.Mkdir(filepath.FromSlash(name), 0o777))
}

func (r *rooted) openFolder(name string) (folderReader, error) {
	f, err := r.root.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, outside(err)
	}
	return f, nil
}

func (r *rooted) stat(name string) (info, error) {
	found, err := r.root.Stat(filepath.FromSlash(name))
	if err != nil {
		return info{}, outside(err)
	}
	i := info{dir: found.IsDir(), modified: found.ModTime()}
	if !i.dir {
		i.size = found.Size()
	}
	return i, nil
}

func (r *rooted) syncDir(name string) error {
	if runtime.GOOS == "windows" {
		return nil // it has no such call; NTFS keeps a journal of its entries
	}
	f, err := r.root.Open(filepath.FromSlash(name))
	if err != nil {
		return outside(err)
	}
	return errors.Join(f.Sync(), f.Close())
}

func (r *rooted) barrier() error   { return errors.ErrUnsupported }
func (r *rooted) hasBarrier() bool { return false }
func (r *rooted) close() error     { return r.root.Close() }
