package storage

import (
	"os"
	"syscall"
)

// fileID is a file's inode and when that was last changed: also a copy over the
// file that keeps its times has another.
type fileID struct {
	inode   uint64
	changed syscall.Timespec
}

func idOf(f *os.File) fileID {
	info, err := f.Stat()
	if err != nil {
		return fileID{}
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return fileID{s.Ino, s.Ctim}
	}
	return fileID{}
}
