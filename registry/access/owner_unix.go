//go:build unix

package access

import (
	"os"
	"syscall"
)

// adopt gives a file to the owner of another, or of a folder. An administrator
// who changes accounts as root must not leave a file that berth cannot read.
// Whoever is not root has no need of it, and no right to.
func adopt(path, like string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(like)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return os.Chown(path, int(owner.Uid), int(owner.Gid))
}
