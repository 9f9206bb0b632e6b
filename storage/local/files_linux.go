package local

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// openFiles opens the root as a file system of its own.
func openFiles(root string) (files, error) {
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: root, Err: err}
	}
	b := &beneath{fd: fd, root: root}
	switch fd, err := b.at(".", unix.O_PATH|unix.O_DIRECTORY, 0); err {
	case nil:
		_ = unix.Close(fd)
	case unix.ENOSYS, unix.EPERM: // an old kernel, or a filter of system calls
		_ = unix.Close(b.fd)
		return openRooted(root)
	default:
		_ = unix.Close(b.fd)
		return nil, &fs.PathError{Op: "open", Path: root, Err: err}
	}
	b.syncfs, err = b.oneFileSystem()
	if err != nil {
		_ = unix.Close(b.fd)
		return nil, err
	}
	return b, nil
}

// beneath resolves every name in the kernel, below the root (openat2(2)).
type beneath struct {
	// fd is the root. It is also what syncfs(2) is called with: an error of
	// writing is reported only to a descriptor that was open before.
	fd     int
	root   string
	syncfs bool
}

// at is openat2 below the root.
func (b *beneath) at(name string, flag int, mode uint64) (int, error) {
	how := unix.OpenHow{
		Flags: uint64(flag | unix.O_CLOEXEC), Mode: mode,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	}
	for range 1000 {
		fd, err := unix.Openat2(b.fd, name, &how)
		switch err {
		case unix.EINTR, unix.EAGAIN: // also if a folder was moved meanwhile
			continue
		case unix.EXDEV, unix.ELOOP: // a symbolic link that leads out, or nowhere
			return -1, unix.ENOENT
		}
		return fd, err
	}
	return -1, unix.EAGAIN
}

func (b *beneath) fail(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: filepath.Join(b.root, name), Err: err}
}

// in calls fn with the folder of a name and the name in it.
func (b *beneath) in(name string, fn func(dir int, base string) error) error {
	dir, err := b.at(path.Dir(name), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	return again(func() error { return fn(dir, path.Base(name)) })
}

// again repeats a call that a signal interrupted.
func again(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

func (b *beneath) open(name string, flag int) (file, error) {
	var mode uint64
	if flag&os.O_CREATE != 0 {
		mode = 0o666
	}
	fd, err := b.at(name, flag, mode)
	if err != nil {
		return nil, b.fail("open", name, err)
	}
	return os.NewFile(uintptr(fd), filepath.Join(b.root, name)), nil
}

func (b *beneath) rename(from, to string, replace bool) error {
	flags := uint(unix.RENAME_NOREPLACE)
	if replace {
		flags = 0
	}
	err := b.in(to, func(toDir int, toBase string) error {
		if path.Dir(from) == path.Dir(to) {
			return unix.Renameat2(toDir, path.Base(from), toDir, toBase, flags)
		}
		return b.in(from, func(fromDir int, fromBase string) error {
			return unix.Renameat2(fromDir, fromBase, toDir, toBase, flags)
		})
	})
	if err == unix.EINVAL && !replace { // not every file system knows of that flag
		if _, err := b.stat(to); !errors.Is(err, fs.ErrNotExist) {
			return b.fail("rename", to, unix.EEXIST)
		}
		return b.rename(from, to, true)
	}
	return b.fail("rename", to, err)
}

func (b *beneath) link(from, to string) error {
	return b.fail("link", to, b.in(to, func(toDir int, toBase string) error {
		return b.in(from, func(fromDir int, fromBase string) error {
			return unix.Linkat(fromDir, fromBase, toDir, toBase, 0)
		})
	}))
}

func (b *beneath) remove(name string) error {
	return b.fail("remove", name, b.in(name, func(dir int, base string) error {
		err := unix.Unlinkat(dir, base, 0)
		if err == unix.EISDIR {
			err = unix.Unlinkat(dir, base, unix.AT_REMOVEDIR)
		}
		return err
	}))
}

func (b *beneath) mkdir(name string) error {
	return b.fail("mkdir", name, b.in(name, func(dir int, base string) error { return unix.Mkdirat(dir, base, 0o777) }))
}

func (b *beneath) openFolder(name string) (folderReader, error) {
	fd, err := b.at(name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, b.fail("open", name, err)
	}
	return os.NewFile(uintptr(fd), filepath.Join(b.root, name)), nil
}

func (b *beneath) stat(name string) (info, error) {
	fd, err := b.at(name, unix.O_PATH, 0)
	if err != nil {
		return info{}, b.fail("stat", name, err)
	}
	defer unix.Close(fd)
	var s unix.Stat_t
	if err := again(func() error { return unix.Fstat(fd, &s) }); err != nil {
		return info{}, b.fail("stat", name, err)
	}
	i := info{dir: s.Mode&unix.S_IFMT == unix.S_IFDIR, modified: time.Unix(s.Mtim.Unix())}
	if !i.dir {
		i.size = s.Size
	}
	return i, nil
}

func (b *beneath) exists(name string) error {
	return b.fail("stat", name, b.in(name, func(dir int, base string) error {
		var s unix.Stat_t
		return unix.Fstatat(dir, base, &s, unix.AT_SYMLINK_NOFOLLOW)
	}))
}

func (b *beneath) setTime(name string, modified time.Time) error {
	at := unix.NsecToTimespec(modified.UnixNano())
	return b.fail("set the time of", name, b.in(name, func(dir int, base string) error {
		return unix.UtimesNanoAt(dir, base, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
	}))
}

func (b *beneath) datasync(f file) error { return datasync(f) }

func datasync(f file) error {
	opened, ok := f.(interface{ Fd() uintptr })
	if !ok {
		return f.Sync()
	}
	return again(func() error { return unix.Fdatasync(int(opened.Fd())) })
}

func (b *beneath) space() int64 {
	var s unix.Statfs_t
	if err := again(func() error { return unix.Fstatfs(b.fd, &s) }); err != nil {
		return 0
	}
	return int64(s.Blocks) * s.Bsize
}

func (b *beneath) syncDir(name string) error {
	fd, err := b.at(name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return b.fail("sync", name, err)
	}
	defer unix.Close(fd)
	return b.fail("sync", name, again(func() error { return unix.Fsync(fd) }))
}

func (b *beneath) barrier() error {
	return b.fail("syncfs", ".", again(func() error { return unix.Syncfs(b.fd) }))
}

func (b *beneath) hasBarrier() bool { return b.syncfs }

// settled relies on syncfs also where barrier does not: at the start there is
// time, and nothing better.
func (b *beneath) settled() (bool, error) { return true, b.barrier() }

func (b *beneath) close() error { return unix.Close(b.fd) }

// oneFileSystem reports whether all that the layout has above repositories and
// digests lies on one file system, of a kind whose syncfs(2) is a barrier that
// reports what failed.
func (b *beneath) oneFileSystem() (bool, error) {
	var s unix.Statfs_t
	if err := again(func() error { return unix.Fstatfs(b.fd, &s) }); err != nil {
		return false, b.fail("statfs", ".", err)
	}
	switch int64(s.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC:
	default:
		return false, nil
	}
	var root unix.Stat_t
	if err := again(func() error { return unix.Fstat(b.fd, &root) }); err != nil {
		return false, b.fail("stat", ".", err)
	}
	for _, name := range layout {
		fd, err := b.at(name, unix.O_PATH, 0)
		if err != nil {
			continue // it will be created, on the root's file system
		}
		var s unix.Stat_t
		err = again(func() error { return unix.Fstat(fd, &s) })
		_ = unix.Close(fd)
		if err != nil || s.Dev != root.Dev {
			return false, nil
		}
	}
	return true, nil
}
