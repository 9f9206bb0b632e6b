package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestCleaning checks that a start removes what an earlier run left unfinished,
// everywhere, and nothing else; and that one after a clean end looks for nothing.
func TestCleaning(t *testing.T) {
	root := t.TempDir()
	first := openLocal(t, root)
	put(t, first, "/docker/a/link", "content")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	wantNames(t, root, "docker")

	const left = ".berth-ABCDEFGHIJKLMNOPQRSTUVWXYZ-1.tmp"
	foreign := []string{
		".berth-x.tmp", ".berth-ABCDEFGHIJKLMNOPQRSTUVWXYZ-.tmp", ".berth-ABCDEFGHIJKLMNOPQRSTUVWXYZ-1.tmp.txt",
		".berth-abcdefghijklmnopqrstuvwxyz-1.tmp", "link.01a2101d-4ac2-79fd-a638-5733d2ad8976.tmp", "readme.tmp", ".berth",
	}
	for _, folder := range []string{"", "docker", "docker/a", "docker/a/b/c"} {
		if err := os.MkdirAll(filepath.Join(root, folder), 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range append(foreign, left) {
			if err := os.WriteFile(filepath.Join(root, folder, name), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	// A folder that was being given its entry again.
	if err := os.MkdirAll(filepath.Join(root, "docker/.berth-ABCDEFGHIJKLMNOPQRSTUVWXYZ-2.tmp/x"), 0o700); err != nil {
		t.Fatal(err)
	}
	count := func() (own, others int) {
		err := filepath.WalkDir(root, func(_ string, e os.DirEntry, err error) error {
			switch name := e.Name(); {
			case temporaryForm.MatchString(name):
				own++
			case !e.IsDir() && name != "link" && name != marker:
				others++
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return own, others
	}
	want := 4 * len(foreign)
	clean := openLocal(t, root)
	<-clean.cleaning.ended
	if own, others := count(); own != 5 || others != want {
		t.Errorf("after a clean end, the start looks for what is left: %d and %d files", own, others)
	}
	if list, err := clean.List(t.Context(), "/docker/a"); err != nil || len(list) != len(foreign)+2 {
		t.Errorf("listed are %v, %v", list, err)
	}
	// The one before it was not closed.
	unclean := openLocal(t, root)
	<-unclean.cleaning.ended
	if own, others := count(); own != 0 || others != want {
		t.Errorf("after an unclean end, %d temporary files are left, and %d of others, want %d", own, others, want)
	}
	wantContent(t, unclean, "/docker/a/link", "content")
}

// TestCleaningStops checks that a cleaning that is cut short is done again.
func TestCleaningStops(t *testing.T) {
	m := newMemory()
	if _, err := open(m, Options{}); err != nil {
		t.Fatal(err)
	}
	d, err := open(m, Options{})
	if err != nil {
		t.Fatal(err)
	}
	d.cleaning.stop()
	d.cleaning.complete = false
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.stat(marker); err != nil {
		t.Errorf("the next start does not know: %v", err)
	}
	d, err = open(m, Options{})
	if err != nil {
		t.Fatal(err)
	}
	<-d.cleaning.ended
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.stat(marker); err == nil {
		t.Error("the marker stays")
	}
}

// TestLargeFolder cleans a folder, and removes it, whose names are not all held at
// once.
func TestLargeFolder(t *testing.T) {
	root := t.TempDir()
	folder := filepath.Join(root, "docker/a")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range 2*eachNames + 2 {
		name := fmt.Sprintf("%d", i)
		if i%2 == 0 {
			name = fmt.Sprintf(".berth-ABCDEFGHIJKLMNOPQRSTUVWXYZ-%d.tmp", i)
		}
		if err := os.WriteFile(filepath.Join(folder, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, marker), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d := openLocal(t, root)
	defer d.Close()
	<-d.cleaning.ended
	left, err := os.ReadDir(folder)
	if err != nil || len(left) != eachNames+1 || !d.cleaning.complete {
		t.Errorf("%d names are left (%v), want %d", len(left), err, eachNames+1)
	}
	found := 0
	if err := d.Each(t.Context(), "/docker/a", func(string) error { found++; return nil }); err != nil || found != eachNames+1 {
		t.Errorf("%d names are listed (%v), want %d", found, err, eachNames+1)
	}
	if err := d.Delete(t.Context(), "/docker/a"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(folder); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that was deleted: %v", err)
	}
}
