package fsync

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestReplaceSyncsDirectory lets no more files be opened once the new one is
// written: all that is left to do but to open the directory needs none.
func TestReplaceSyncsDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
	}()
	err := Replace(path, []byte("x"), func(f *os.File) error {
		return unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(f.Fd()), Max: limit.Max})
	})
	if !errors.Is(err, unix.EMFILE) {
		t.Errorf("got %v, want that the directory cannot be opened", err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the file itself is not in place: %v", err)
	}
}
