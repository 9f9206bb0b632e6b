package harness

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// RSS is the resident memory of the process in bytes.
func (b *Berth) RSS() int64 {
	b.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.Cmd.Process.Pid))
	if errors.Is(err, os.ErrNotExist) {
		b.t.Skip("skipped: memory of a process is read from /proc, which is not here")
	}
	if err != nil {
		b.t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(status), "\n") {
		var kb int64
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kb); n == 1 {
			return kb << 10
		}
	}
	b.t.Fatal("no VmRSS in the process status")
	return 0
}

// ResetPeak starts the measurement that Peak ends.
func (b *Berth) ResetPeak() {
	b.t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", b.Cmd.Process.Pid), []byte("5"), 0); err != nil {
		b.t.Skip("skipped: the peak of a process's memory cannot be measured here:", err)
	}
}

// Peak is the most resident memory in bytes since ResetPeak.
func (b *Berth) Peak() int64 {
	b.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.Cmd.Process.Pid))
	if err != nil {
		b.t.Fatalf("berth is gone: %v\n%s", err, b.Log)
	}
	var kb int64
	for line := range strings.SplitSeq(string(status), "\n") {
		_, _ = fmt.Sscanf(line, "VmHWM: %d kB", &kb)
	}
	return kb << 10
}

// grownTries is how often [Grown] measures: a machine that does much else
// collects garbage late, which is not what a test of memory is about.
const grownTries = 3

// Grown fails if measure, which returns by how many bytes something has grown,
// returns more than most, again and again. It ends where measure has failed.
func Grown(t testing.TB, most int64, measure func() int64) {
	t.Helper()
	var grown int64
	for range grownTries {
		if grown = measure(); grown <= most || t.Failed() {
			t.Logf("grew by %d MiB", grown>>20)
			return
		}
	}
	t.Errorf("grew by %d MiB, want at most %d", grown>>20, most>>20)
}

// CPU is the processor time that the process has used, in user and system, in
// steps of the clock tick that Linux reports to programs: 10 ms.
func (b *Berth) CPU() time.Duration {
	b.t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", b.Cmd.Process.Pid))
	if err != nil {
		b.t.Skip("skipped: processor time of a process is read from /proc, which is not here")
	}
	// The name in parentheses may hold anything; utime and stime are the 12th
	// and 13th field behind it (proc(5)).
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var user, system int64
	if _, err := fmt.Sscan(strings.Join(fields[11:13], " "), &user, &system); err != nil {
		b.t.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}
