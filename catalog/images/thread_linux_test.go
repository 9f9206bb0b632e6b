package images

import (
	"syscall"
	"testing"
	"time"
)

// threadTime is the CPU time that the calling thread has used.
func threadTime(t *testing.T) time.Duration {
	const ofThread = 1 // RUSAGE_THREAD, see getrusage(2)
	var u syscall.Rusage
	if err := syscall.Getrusage(ofThread, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
