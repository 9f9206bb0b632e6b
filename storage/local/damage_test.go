package local

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berth-oci/berth/storage"
)

// groups are the groups of a segment with so many, of one record each.
func groups(n int) []byte {
	header := segmentHeader{generation: strings.Repeat("G", generationLength), use: 3, from: 10}
	b := header.encode()
	for i := range n {
		r := record{kind: written, path: fmt.Sprint("a/", i), content: bytes.Repeat([]byte("x"), 5000), modified: time.Unix(1, 2)}
		g := group{use: 3, sequence: uint64(10 + i), count: 1, payload: r.append(nil)}
		b = g.encode(b, header.seed())
	}
	return append(b, make([]byte, 4*blockSize)...)
}

// TestSegmentCut checks that a group of which a part is there does not count, that
// what stood in the file before does not, and that damage is noticed.
func TestSegmentCut(t *testing.T) {
	const length = 2 * blockSize
	whole := groups(3)
	count := func(b []byte) (int, error) {
		p, err := parseSegment("segment", b)
		if p == nil || err != nil {
			return -1, err
		}
		return len(p.below(1 << 60)), nil
	}
	for at := range blockSize + 3*length {
		if at%97 != 0 && at%blockSize > 40 {
			continue
		}
		b := bytes.Clone(whole)
		b[at] ^= 0x40
		got, err := count(b)
		switch block := (at - blockSize) / length; {
		case at < blockSize:
			if at < headerLength+4 && got != -1 {
				t.Errorf("byte %d of the header is wrong, and it counts", at)
			}
		case block < 2:
			if err == nil {
				t.Errorf("byte %d is wrong, and nobody is told: %d records", at, got)
			}
		case err != nil || got != 2:
			t.Errorf("byte %d of the last group is wrong: %d records, %v", at, got, err)
		}
	}
	if got, err := count(whole); got != 3 || err != nil {
		t.Errorf("a whole segment has %d records, %v", got, err)
	}
	// Used again, with what is left of before behind it.
	header := segmentHeader{generation: strings.Repeat("G", generationLength), use: 4, from: 13}
	copy(whole, header.encode())
	if got, err := count(whole); got != 0 || err != nil {
		t.Errorf("what was there before counts: %d records, %v", got, err)
	}
}

// TestJournalFull checks that who writes waits for a checkpoint when the journal is
// full, and gets its error.
func TestJournalFull(t *testing.T) {
	m := newMemory()
	d, err := open(m, Options{segment: 32 << 10})
	if err != nil {
		t.Fatal(err)
	}
	var stuck bool
	m.mu.Lock()
	m.failSync = func(int) bool { return stuck }
	m.mu.Unlock()
	write := func(i int) error {
		return d.PutContent(t.Context(), fmt.Sprintf("/docker/%d/link", i), []byte(strings.Repeat("x", 4000)))
	}
	for i := range 100 { // many times what the journal holds
		if err := write(i); err != nil {
			t.Fatal(err)
		}
	}
	m.mu.Lock()
	stuck = true
	m.mu.Unlock()
	var failed error
	for i := 100; i < 200 && failed == nil; i++ {
		failed = write(i)
	}
	if !errors.Is(detail(failed), syscall.EIO) {
		t.Errorf("with a disk that fails: %v", failed)
	}
	m.mu.Lock()
	stuck = false
	m.mu.Unlock()
	eventually(t, "it does not write again", func() bool { return write(200) == nil })
	for i := range 100 {
		survives(t, m, fmt.Sprintf("/docker/%d/link", i), strings.Repeat("x", 4000))
	}
	survives(t, m, "/docker/200/link", strings.Repeat("x", 4000))
}

// TestNoRoomForJournal checks that a change is refused while there is no room for
// a journal, and not any more when there is.
func TestNoRoomForJournal(t *testing.T) {
	m := newMemory()
	d, err := open(m, Options{})
	if err != nil {
		t.Fatal(err)
	}
	full := true
	m.failWrite = func(name string) bool { return full && segmentForm.MatchString(name) }
	for range 2 {
		if err := d.PutContent(t.Context(), "/docker/a/link", []byte("a")); storage.CodeOf(err) != storage.Full {
			t.Fatalf("without room for a journal: %v", err)
		}
	}
	if _, err := d.Stat(t.Context(), "/docker/a"); !isMissing(err) {
		t.Errorf("something is left: %v", err)
	}
	full = false
	put(t, d, "/docker/a/link", "a")
	survives(t, m, "/docker/a/link", "a")
	// Later, in place.
	full = true
	if err := d.PutContent(t.Context(), "/docker/b/link", []byte("b")); storage.CodeOf(err) != storage.Full {
		t.Errorf("the journal cannot be written: %v", err)
	}
	full = false
	put(t, d, "/docker/c/link", "c")
	for p, want := range map[string]string{"/docker/a/link": "a", "/docker/b/link": "", "/docker/c/link": "c"} {
		survives(t, m, p, want)
	}
}

// mistaken is a file system in which a sync of the journal may say that it failed,
// although it did not.
type mistaken struct {
	*memory
	wrong bool
	held  chan struct{} // nothing is checkpointed before it is closed
}

func (w *mistaken) barrier() error {
	<-w.held
	return w.memory.barrier()
}

func (w *mistaken) datasync(f file) error {
	err := w.memory.datasync(f)
	if w.wrong {
		w.wrong = false
		return errIO
	}
	return err
}

// TestRefusedStaysRefused checks that what was answered with an error because of
// the journal does not happen at the next start.
func TestRefusedStaysRefused(t *testing.T) {
	for _, small := range []int{0, 1} {
		m := &mistaken{memory: newMemory(), held: make(chan struct{})}
		t.Cleanup(func() { close(m.held) })
		d, err := open(m, Options{segment: 64 << 10, small: small})
		if err != nil {
			t.Fatal(err)
		}
		put(t, d, "/docker/before/link", "before")
		for i := range 9 { // more than half of what the first segment takes
			put(t, d, fmt.Sprint("/docker/before/", i), "before")
		}
		eventually(t, "there is no second segment", func() bool {
			d.journal.mu.Lock()
			defer d.journal.mu.Unlock()
			return len(d.journal.free) > 0
		})
		m.wrong = true
		if err := d.PutContent(t.Context(), "/docker/refused/link", []byte("refused")); err == nil {
			t.Fatal("it is not refused")
		}
		survives(t, m.memory, "/docker/refused/link", "")
		put(t, d, "/docker/after/link", "after")
		for p, want := range map[string]string{"/docker/before/link": "before", "/docker/refused/link": "", "/docker/after/link": "after"} {
			survives(t, m.memory, p, want)
		}
	}
}

// TestCleanEnd checks that nothing of the journal is left by a clean end, even
// where its removal is lost.
func TestCleanEnd(t *testing.T) {
	kinds(t, func(t *testing.T, newMemory func() *memory) {
		m := newMemory()
		d, err := open(m, Options{small: 4})
		if err != nil {
			t.Fatal(err)
		}
		put(t, d, "/docker/a", "a")
		put(t, d, "/docker/large", "large")
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if names, err := namesIn(m, "."); err != nil || !slices.Equal(names, []string{"docker"}) {
			t.Errorf("left are %v, %v", names, err)
		}
		left := m.crashed(nil)
		if _, err := left.stat(segmentName(1)); err != nil {
			t.Errorf("this does not test a removal that is lost: %v", err)
		}
		// Another registry has gone on since.
		dir, err := left.find("docker")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := left.find("docker/large"); err != nil || string(got.data) != "large" {
			t.Errorf("what was there at the end is not there: %v, %v", got, err)
		}
		dir.set("a", nil)
		restart(t, left)
		if _, err := left.find("docker/a"); err == nil {
			t.Error("what was done before is done again")
		}
	})
}
