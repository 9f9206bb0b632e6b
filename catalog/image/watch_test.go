package image_test

import (
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"
)

// inTime checks what a race detector, which makes it ten times slower, does not
// get to decide.
func inTime(t *testing.T, took, limit time.Duration) {
	t.Helper()
	info, ok := debug.ReadBuildInfo()
	if ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		return
	}
	if took > limit {
		t.Errorf("took %v, want at most %v", took, limit)
	}
}

// within fails if f makes the heap grow by more than most bytes, again and again:
// a machine that does much else collects garbage late. It returns how long f took.
func within(t *testing.T, most int64, f func()) (took time.Duration) {
	t.Helper()
	var grown int64
	for range 3 {
		if grown, took = watch(f); grown <= most || t.Failed() {
			t.Logf("%v, %d KiB", took, max(grown, 0)>>10)
			return took
		}
	}
	t.Errorf("the heap grew by %d bytes, want at most %d", grown, most)
	return took
}

// watch measures how much the heap grows at most while f runs, and how long it
// takes.
func watch(f func()) (grown int64, took time.Duration) {
	heap := func() int64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapInuse)
	}
	// Garbage that nobody has collected yet would be counted as growth.
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	runtime.GC()
	before, most := heap(), int64(0)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(2 * time.Millisecond):
				most = max(most, heap())
			}
		}
	})
	start := time.Now()
	f()
	took = time.Since(start)
	close(done)
	wg.Wait()
	return most - before, took
}
