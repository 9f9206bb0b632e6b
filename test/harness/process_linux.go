package harness

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// endsWithTest has a process end when the test binary does, however that ends.
func endsWithTest() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// MaxFile makes every write of the process behind this offset of a file fail,
// as on a full disk; a negative one lets all succeed again.
func (b *Berth) MaxFile(bytes int64) {
	b.t.Helper()
	var limit unix.Rlimit
	if err := unix.Prlimit(b.Cmd.Process.Pid, unix.RLIMIT_FSIZE, nil, &limit); err != nil {
		b.t.Fatal(err)
	}
	limit.Cur = limit.Max
	if bytes >= 0 {
		limit.Cur = uint64(bytes)
	}
	if err := unix.Prlimit(b.Cmd.Process.Pid, unix.RLIMIT_FSIZE, &limit, nil); err != nil {
		b.t.Fatal(err)
	}
}
