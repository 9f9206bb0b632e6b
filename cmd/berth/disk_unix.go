//go:build linux || darwin

package main

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// disk returns how many bytes can be written where a folder is, and how many
// there are.
func disk(folder *os.File) (free, size uint64, err error) {
	raw, err := folder.SyscallConn()
	if err != nil {
		return 0, 0, err
	}
	var s unix.Statfs_t
	outer := raw.Control(func(fd uintptr) { err = unix.Fstatfs(int(fd), &s) })
	if outer != nil || err != nil {
		return 0, 0, errors.Join(outer, err)
	}
	return s.Bavail * uint64(s.Bsize), s.Blocks * uint64(s.Bsize), nil
}
