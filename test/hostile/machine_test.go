package hostile

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// machine is how much processor time a machine has spent, altogether and in this
// process.
type machine struct {
	begin      time.Time
	busy, self time.Duration
	known      bool
}

// lookAtMachine reads /proc (proc_stat(5)), in ticks of 10 ms; where there is none,
// nothing is known.
func lookAtMachine() machine {
	m := machine{begin: time.Now()}
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return m
	}
	var user, nice, system, idle, iowait, irq, softirq, steal int64
	line, _, _ := strings.Cut(string(stat), "\n")
	if n, _ := fmt.Sscanf(line, "cpu %d %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &iowait, &irq, &softirq, &steal); n != 8 {
		return m
	}
	m.busy = time.Duration(user+nice+system+irq+softirq+steal) * 10 * time.Millisecond
	// The name in parentheses may hold anything; utime and stime are the 12th and
	// 13th field behind it (proc_pid_stat(5)).
	self, err := os.ReadFile("/proc/self/stat")
	fields := strings.Fields(string(self[strings.LastIndexByte(string(self), ')')+1:]))
	if err != nil || len(fields) < 13 {
		return m
	}
	if n, _ := fmt.Sscan(strings.Join(fields[11:13], " "), &user, &system); n != 2 {
		return m
	}
	m.self, m.known = time.Duration(user+system)*10*time.Millisecond, true
	return m
}

// others is the part of the machine's processors that was neither this process's
// nor a berth's with so much processor time, since then.
func (m machine) others(berth time.Duration) float64 {
	now := lookAtMachine()
	if !m.known || !now.known {
		return 0
	}
	all := time.Since(m.begin) * time.Duration(runtime.NumCPU())
	return float64(now.busy-m.busy-(now.self-m.self)-berth) / float64(all)
}
