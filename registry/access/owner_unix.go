//go:build unix

package access

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// openFlags open what is at a path itself, and wait for nobody: a pipe would
// hang whoever opens it until somebody opens its other end.
const openFlags = syscall.O_NONBLOCK

// lockFlags open the lock, which is there.
const lockFlags = os.O_RDONLY | syscall.O_NOFOLLOW | openFlags

// owner is whose a file is. The zero value is root.
type owner struct{ uid, gid int }

func ownerOf(info fs.FileInfo) (owner, bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return owner{}, false
	}
	return owner{int(s.Uid), int(s.Gid)}, true
}

// serviceOf is the user that berth runs as, as far as the owners of folders
// tell: that of the first one which is not root's.
func serviceOf(folders ...string) owner {
	for _, folder := range folders {
		if info, err := os.Stat(folder); err == nil {
			if o, ok := ownerOf(info); ok && o.uid != 0 {
				return o
			}
		}
	}
	return owner{}
}

// adopt gives a new file to the service's user. An administrator who changes
// accounts as root must not leave a file that berth cannot open. Whoever is not
// root has no need of it, and no right to. It goes by the descriptor: what lies
// at the path could be exchanged meanwhile.
func adopt(f *os.File, folders ...string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	o := serviceOf(folders...)
	return f.Chown(o.uid, o.gid)
}

// adoptAccounts gives the new accounts file f the mode and owner of the one at
// path, or of what is made there for the first time. In a folder that is root's
// it stays root's, and the service's group reads it.
func adoptAccounts(f *os.File, path, data string) error {
	folder := filepath.Dir(path)
	old, err := os.Lstat(path)
	if err == nil && old.Mode().IsRegular() {
		if err := f.Chmod(old.Mode().Perm()); err != nil || os.Geteuid() != 0 {
			return err
		}
		o, ok := ownerOf(old)
		if ok && (o.uid != 0 || old.Mode().Perm()&0o044 != 0) {
			return f.Chown(o.uid, o.gid)
		}
	}
	if os.Geteuid() != 0 || serviceOf(folder) != (owner{}) {
		return adopt(f, folder)
	}
	if o := serviceOf(data); o != (owner{}) {
		return errors.Join(f.Chown(0, o.gid), f.Chmod(0o640))
	}
	return nil
}

// openOwn opens a file that berth keeps, or makes it for its owner alone. It is
// a file and nothing else: a link could lead anywhere, and root, who would
// follow it, may write everywhere.
func openOwn(path string, flags int, folders ...string) (*os.File, error) {
	flags |= syscall.O_NOFOLLOW | openFlags
	f, err := os.OpenFile(path, flags|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		if err := adopt(f, folders...); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return f, nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	f, err = os.OpenFile(path, flags, 0)
	if info, statErr := os.Lstat(path); err != nil && statErr == nil && info.Mode()&fs.ModeSymlink != 0 {
		return nil, fmt.Errorf("%s is a symbolic link, and berth follows none there: it could lead to a file of somebody else", path)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file", path)
	}
	if s, ok := info.Sys().(*syscall.Stat_t); err == nil && ok && s.Nlink > 1 {
		err = fmt.Errorf("%s has several names (hard links): it could be a file of somebody else", path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// follow is the file that a path means, through symbolic links. Root follows
// its own, and those that lead to what belongs to who made them.
func follow(path string) (string, error) {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&fs.ModeSymlink == 0 {
		return path, nil
	}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return path, nil // it is replaced by a file
	}
	if os.Geteuid() != 0 {
		return target, nil
	}
	maker, _ := ownerOf(info)
	behind, err := os.Lstat(target)
	if err != nil {
		return "", err
	}
	if o, _ := ownerOf(behind); maker.uid != 0 && maker.uid != o.uid {
		return "", fmt.Errorf("%s is a symbolic link of another user, to a file that is not theirs; root does not follow it", path)
	}
	return target, nil
}
