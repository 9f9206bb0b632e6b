//go:build unix

package server

import "syscall"

// OpenFiles is how many files the process may have open. The runtime has raised
// it to the hard limit at the start.
func OpenFiles() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return usualFiles
	}
	return int(min(uint64(l.Cur), 1<<20))
}
