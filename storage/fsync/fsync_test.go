package fsync

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// wantOnly wants one file in a directory, of that content and mode.
func wantOnly(t *testing.T, path, content string, mode fs.FileMode) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("in the directory: %v, %v", entries, err)
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != content {
		t.Errorf("got %q, %v, want %q", got, err, content)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != mode {
		t.Errorf("got %v, %v, want the mode %v", info, err, mode)
	}
}

func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := Replace(path, []byte("first"), nil); err != nil {
		t.Fatal(err)
	}
	wantOnly(t, path, "first", 0o600)

	open := func(f *os.File) error {
		if written, err := os.ReadFile(f.Name()); err != nil || string(written) != "second" {
			t.Errorf("prepare sees %q, %v", written, err)
		}
		wantFirst, err := os.ReadFile(path)
		if err != nil || string(wantFirst) != "first" {
			t.Errorf("others see %q, %v", wantFirst, err)
		}
		return f.Chmod(0o640)
	}
	if err := Replace(path, []byte("second"), open); err != nil {
		t.Fatal(err)
	}
	wantOnly(t, path, "second", 0o640)

	refused := errors.New("refused")
	if err := Replace(path, []byte("third"), func(*os.File) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
	wantOnly(t, path, "second", 0o640)
}

func TestReplaceDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "there")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Replace(path, []byte("x"), nil); err == nil {
		t.Error("a directory was replaced")
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if err := Replace(filepath.Join(path, "missing", "file"), nil, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in a missing directory: %v", err)
	}
}

func TestDir(t *testing.T) {
	dir := t.TempDir()
	if err := Dir(dir); err != nil {
		t.Error(err)
	}
	if err := Dir(filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing directory: %v", err)
	}
}
