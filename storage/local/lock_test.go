package local

import (
	"os"
	"strings"
	"testing"
)

// TestOneDriver opens a folder twice. The second is refused, and leaves alone what
// the first is writing; it may once the first has ended.
func TestOneDriver(t *testing.T) {
	root := t.TempDir()
	first, err := Open(Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	if err := first.PutContent(t.Context(), "/docker/registry/v2/repositories/a/link", []byte("x")); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Root: root}); err == nil || !strings.Contains(err.Error(), "in use by another berth") {
		t.Errorf("the second: %v", err)
	}
	after, err := os.ReadDir(root)
	if err != nil || len(after) != len(before) {
		t.Errorf("it changed %v to %v, %v", before, after, err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := Open(Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := second.GetContent(t.Context(), "/docker/registry/v2/repositories/a/link"); err != nil || string(got) != "x" {
		t.Errorf("got %q, %v", got, err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
}
