package local

import (
	"sync"
	"testing"
	"time"
)

// held is a file system in which the journal's next syncs wait until they are let
// go.
type held struct {
	*memory
	mu      sync.Mutex
	waiting chan struct{} // gets one for each sync that waits; nil to let all pass
	release chan struct{}
}

func (h *held) wait() {
	h.mu.Lock()
	waiting, release := h.waiting, h.release
	h.mu.Unlock()
	if waiting != nil {
		waiting <- struct{}{}
		<-release
	}
}

func (h *held) datasync(f file) error {
	h.wait()
	return h.memory.datasync(f)
}

func (h *held) hold() (waiting chan struct{}, release func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting, h.release = make(chan struct{}, 1000), make(chan struct{})
	return h.waiting, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.waiting = nil
		close(h.release)
	}
}

// failing makes the next sync fail, but for so many.
func (h *held) failing(but int) {
	h.memory.mu.Lock()
	defer h.memory.mu.Unlock()
	from := h.syncs
	h.failSync = func(n int) bool { return n == from+1+but }
}

// eachHeld runs a test with a barrier and without, with content that goes through
// the journal and that does not, on a driver that has been used already.
func eachHeld(t *testing.T, fn func(t *testing.T, h *held, d *Driver)) {
	kinds(t, func(t *testing.T, newMemory func() *memory) {
		for name, small := range map[string]int{"small": 0, "large": 1} {
			t.Run(name, func(t *testing.T) {
				h := &held{memory: newMemory()}
				fn(t, h, openHeld(t, h, small))
			})
		}
	})
}

// openHeld opens a driver, which has nothing to do in the background until its
// journal is half full.
func openHeld(t *testing.T, h *held, small int) *Driver {
	t.Helper()
	d, err := open(h, Options{small: small, segment: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	put(t, d, "/docker/there", "there")
	return d
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

// queued waits until so many wait for the journal's next sync.
func queued(t *testing.T, d *Driver, want int) {
	t.Helper()
	eventually(t, "they do not wait for the next sync", func() bool {
		d.journal.mu.Lock()
		defer d.journal.mu.Unlock()
		return len(d.journal.queue) == want
	})
}
