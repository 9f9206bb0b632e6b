package remote

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
)

// TestCopyProgress copies between folders, and wants all that was found to be done
// at the end, whether it had to be copied or was there.
func TestCopyProgress(t *testing.T) {
	c, err := New(Options{Host: "registry.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join("..", "..", "..", "test", "testdata")
	target := Place{Folder: filepath.Join(t.TempDir(), "layout")}
	for _, test := range []struct {
		name          string
		copied, there int64
	}{{"kraft-hello", 5, 0}, {"kraft-hello", 0, 0}, {"kraft-multi", -1, 0}} {
		var found, done atomic.Int64
		got, err := c.Copy(t.Context(), Place{Folder: filepath.Join(folder, test.name)}, target, CopyOptions{
			Jobs: 2, Found: func(n int64) { found.Add(n) }, Done: func(n int64) { done.Add(n) },
		})
		if err != nil {
			t.Fatal(err)
		}
		if test.copied >= 0 && got.Copied != test.copied || got.Mounted != 0 {
			t.Errorf("%s: got %+v", test.name, got)
		}
		if test.copied != 0 && (found.Load() == 0 || found.Load() != done.Load() || done.Load() < got.Bytes) {
			t.Errorf("%s: %d bytes were found, %d are done, %d were copied", test.name, found.Load(), done.Load(), got.Bytes)
		}
	}
	for err, from := range map[error]Place{
		ErrNotFound: {Folder: filepath.Join(folder, "none")},
		ErrUsage:    {Folder: target.Folder}, // there are two images with tags by now
	} {
		if _, got := c.Copy(t.Context(), from, Place{Folder: filepath.Join(t.TempDir(), "x")}, CopyOptions{}); !errors.Is(got, err) {
			t.Errorf("%s: %v, want %v", from, got, err)
		}
	}
	if err := os.WriteFile(filepath.Join(target.Folder, "index.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Copy(t.Context(), target, Place{Folder: t.TempDir()}, CopyOptions{}); err == nil {
		t.Error("a broken layout was copied")
	}
}
