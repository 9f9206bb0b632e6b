package scratch

import (
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// memory is where Linux has a file system in memory for everybody.
	memory = "/dev/shm"
	// room is how much must be free there, in bytes: twice what berth leaves free of
	// a disk.
	room = 2 << 30
	// begun is how long a folder may take from its creation until it is locked.
	begun = time.Minute
)

// inMemory makes a folder in a file system in memory, and locks it as long as the
// process lives; "" says that it cannot be, or that programs could not be run there.
// Folders that nobody has locked are removed.
func inMemory(at string) (dir string, remove func()) {
	none := func() {}
	var s unix.Statfs_t
	if err := unix.Statfs(at, &s); err != nil || s.Type != unix.TMPFS_MAGIC || s.Flags&unix.ST_NOEXEC != 0 || int64(s.Bavail)*s.Bsize < room {
		return "", none
	}
	left, _ := filepath.Glob(filepath.Join(at, "berth-test-*"))
	for _, dir := range left {
		info, err := os.Stat(dir)
		if err != nil || time.Since(info.ModTime()) < begun {
			continue
		}
		if unlock, err := lock(dir); err == nil {
			_ = os.RemoveAll(dir) // another user's stays
			unlock()
		}
	}
	dir, err := os.MkdirTemp(at, "berth-test-")
	if err != nil {
		return "", none
	}
	unlock, err := lock(dir)
	if err != nil {
		_ = os.RemoveAll(dir)
		return "", none
	}
	return dir, func() {
		_ = os.RemoveAll(dir)
		unlock()
	}
}

// lock locks a folder, unless another process has.
func lock(dir string) (unlock func(), err error) {
	folder, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(folder.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = folder.Close()
		return nil, err
	}
	return func() { _ = folder.Close() }, nil
}
