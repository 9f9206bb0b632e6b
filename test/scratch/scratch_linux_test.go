package scratch

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestInMemory has a folder of its own, which nobody else takes away, and takes away
// what a process left that is gone.
func TestInMemory(t *testing.T) {
	own, remove := inMemory(memory)
	if own == "" {
		t.Skip("skipped: there is no file system in memory here with room for tests")
	}
	defer remove()
	left, err := os.MkdirTemp(memory, "berth-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(left)
	another := func() {
		t.Helper()
		dir, remove := inMemory(memory)
		if dir == "" || dir == own {
			t.Errorf("another process gets %q", dir)
		}
		remove()
		if _, err := os.Stat(dir); err == nil {
			t.Error("it leaves its folder")
		}
	}
	another()
	if _, err := os.Stat(left); err != nil {
		t.Errorf("what has just been made is taken away: %v", err)
	}
	old := time.Now().Add(-2 * begun)
	for _, dir := range []string{own, left} {
		if err := os.Chtimes(dir, old, old); err != nil {
			t.Fatal(err)
		}
	}
	another()
	if _, err := os.Stat(left); err == nil {
		t.Error("what nobody has is still there")
	}
	if err := os.WriteFile(filepath.Join(own, "file"), nil, 0o600); err != nil {
		t.Errorf("what a process has is taken away: %v", err)
	}
}

// TestOnDisk wants no folder where files would not be in memory.
func TestOnDisk(t *testing.T) {
	at := t.TempDir()
	var s unix.Statfs_t
	if err := unix.Statfs(at, &s); err != nil || s.Type == unix.TMPFS_MAGIC {
		t.Skip("skipped: temporary files are in memory here: ", err)
	}
	if dir, _ := inMemory(at); dir != "" {
		t.Errorf("a disk is taken for memory: %s", dir)
	}
}
