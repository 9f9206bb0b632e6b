package bolt

import (
	"bytes"
	"os"
	"strconv"

	bbolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// maxMapped is how much of files a process that builds an index has mapped, in
// bytes, before it gives some back: with what it has of its own, and what the end of a
// transaction maps, it stays under 200 MB.
const maxMapped = 72 << 20

// sparePages gives back the memory of what has been read of the file, if that is much;
// the system has it all the same. bbolt maps the file, and a long Build would have all
// of it count as this process's. It is called within a transaction: as long as that
// lasts, what is mapped stays where it is, and is at least the size that the
// transaction knows. The file may be larger than what is mapped of it.
func sparePages(tx *bbolt.Tx) {
	if mapped() < maxMapped {
		return
	}
	// That it fails changes nothing but what the process seems to use.
	start, size := mapping(tx)
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, start, size, unix.MADV_DONTNEED)
}

// mapping is where what a transaction knows of the file is mapped.
func mapping(tx *bbolt.Tx) (start, size uintptr) { return tx.DB().Info().Data, uintptr(tx.Size()) }

// mapped is how many bytes of files are in this process's memory, 0 where that is
// not known.
func mapped() int64 {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	const shared = 2 // proc_pid_statm(5): size, resident, shared
	fields := bytes.Fields(statm)
	if len(fields) <= shared {
		return 0
	}
	pages, err := strconv.ParseInt(string(fields[shared]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
