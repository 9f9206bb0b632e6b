package local

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestNotesInPlace: a note is written over the last one, without another file, and
// a start after a crash has it whole, wherever that came, also where syncs fail.
func TestNotesInPlace(t *testing.T) {
	note := func(n int) string { return string(bytes.Repeat([]byte{byte('a' + n)}, 300)) }
	const p = "/berth/linking/run-0"
	kinds(t, func(t *testing.T, newMemory func() *memory) {
		m := newMemory()
		d := openHeld(t, &held{memory: m}, 0)
		put(t, d, p, note(0))
		before, err := m.find(p[1:])
		if err != nil {
			t.Fatal(err)
		}
		for n := 1; n < 6; n++ {
			if n == 3 {
				d.lost() // what is in the file tree may be gone
				before = nil
			}
			if syncs := m.syncsOf(func() { put(t, d, p, note(n)) }); syncs != 1 && n != 3 {
				t.Errorf("a note took %d syncs", syncs)
			}
			now, err := m.find(p[1:])
			if err != nil || before != nil && now != before {
				t.Errorf("note %d is another file: %v", n, err)
			}
			before = now
			wantContent(t, d, p, note(n))
			for seed := range uint64(3) {
				m.mu.Lock()
				left := m.crashed(rand.New(rand.NewPCG(seed, 1)))
				m.mu.Unlock()
				after, err := open(left, Options{})
				if err != nil {
					t.Fatal(err)
				}
				wantContent(t, after, p, note(n))
			}
		}
		if names, err := namesIn(m, "berth/linking"); err != nil || fmt.Sprint(names) != "[run-0]" {
			t.Errorf("the folder has %v, %v", names, err)
		}
		put(t, d, p, "another length")
		wantContent(t, d, p, "another length")
		put(t, d, "/berth/linking/folder/x", "x")
		if err := d.PutContent(t.Context(), "/berth/linking/folder", []byte("x")); err == nil {
			t.Error("a note takes the place of a folder")
		}
	})
}
