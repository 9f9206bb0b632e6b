//go:build unix && !solaris && !aix

package harness

import (
	"os"
	"syscall"
)

// lock waits until no other process holds the file, and holds it until unlock.
func lock(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX)
		if err != syscall.EINTR {
			break
		}
	}
	return func() { _ = file.Close() }, err
}

// tryLock holds a file until the process ends, unless another does.
func tryLock(path string) bool {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return false
	}
	if syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		_ = file.Close()
		return false
	}
	held = append(held, file)
	return true
}

// held keeps locks from being collected, which would give them up.
var held []*os.File
