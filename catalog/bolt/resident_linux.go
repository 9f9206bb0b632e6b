package bolt

import (
	"os"

	bbolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// forgetPages gives back the memory of what has been read of the file, which the
// system has all the same. bbolt maps it, and a long Build would have all of it
// count as this process's. Only the writer calls it, between transactions: no
// other maps the file anew.
func forgetPages(db *bbolt.DB) {
	info, err := os.Stat(db.Path())
	if err != nil {
		return
	}
	// That it fails changes nothing but what the process seems to use.
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, db.Info().Data, uintptr(info.Size()), unix.MADV_DONTNEED)
}
