package peers

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// endsWithThis has a process end when this one does, however that ends.
func endsWithThis() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// processes are the server's process and those below it.
func (s *Server) processes() []int {
	all := []int{s.cmd.Process.Pid}
	for i := 0; i < len(all); i++ {
		tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", all[i]))
		for _, task := range tasks {
			children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", all[i], task.Name()))
			for child := range strings.FieldsSeq(string(children)) {
				if pid, err := strconv.Atoi(child); err == nil {
					all = append(all, pid)
				}
			}
		}
	}
	return all
}

// CPU is the processor time that the server has used, in user and system, of
// all its processes.
func (s *Server) CPU() (time.Duration, error) {
	var total time.Duration
	for _, pid := range s.processes() {
		// The clock of a process, as clock_getcpuclockid(3) names it: the pid
		// with its bits turned, and 2 for the scheduler's own count, which is exact
		// where /proc counts in ticks of 10 ms.
		var used unix.Timespec
		if err := unix.ClockGettime(int32(^pid<<3|2), &used); err != nil {
			return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
		}
		total += time.Duration(used.Nano())
	}
	return total, nil
}

// ResetPeak starts the measurement that Peak ends.
func (s *Server) ResetPeak() error {
	for _, pid := range s.processes() {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
			return fmt.Errorf("peak of the memory: %w", err)
		}
	}
	return nil
}

// Peak is the most resident memory in bytes since ResetPeak, of all processes
// together, mapped files included.
func (s *Server) Peak() int64 { return s.status("VmHWM") }

// Resident is the resident memory in bytes; Own is that of it which is no file.
func (s *Server) Resident() int64 { return s.status("VmRSS") }

// Own is the resident memory in bytes that is not mapped from files.
func (s *Server) Own() int64 { return s.status("RssAnon") }

func (s *Server) status(field string) (bytes int64) {
	for _, pid := range s.processes() {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		for line := range strings.SplitSeq(string(status), "\n") {
			var kb int64
			if n, _ := fmt.Sscanf(line, field+": %d kB", &kb); n == 1 {
				bytes += kb << 10
			}
		}
	}
	return bytes
}

// FileSystem names the file system of a folder, as far as it matters for syncs.
func FileSystem(dir string) string {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return "unknown"
	}
	switch s.Type {
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.TMPFS_MAGIC:
		return "tmpfs, on which a sync costs nothing: choose a folder on a disk with --dir"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlayfs"
	}
	return fmt.Sprintf("type %#x", s.Type)
}

// Settle has everything written that file systems still hold back, so that it
// is not written in the middle of a measurement.
func Settle() { unix.Sync() }
