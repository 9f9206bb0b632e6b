package storage

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// TestTimesAnew: a push of what is there already, and the loss of a tag, set the
// times of links anew; other times stay.
func TestTimesAnew(t *testing.T) {
	root := t.TempDir()
	s, err := Open(t.Context(), "filesystem", map[string]any{"rootdirectory": root})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a, b := putBlob(t, s, "a"), putBlob(t, s, "b")
	put(t, s, revisionLink("r", a), a.String())
	put(t, s, revisionLink("r", b), b.String())
	i := Intent{Repository: "r", Put: a, Tags: []string{"v1"}, Touch: []digest.Digest{b, digest.FromString("absent")}}
	complete := func() {
		t.Helper()
		if err := errors.Join(s.Touch(t.Context(), i), s.Complete(t.Context(), i)); err != nil {
			t.Fatal(err)
		}
	}
	complete()
	paths := map[string]bool{tagCurrentLink("r", "v1"): true, revisionLink("r", a): true, revisionLink("r", b): true, blobPath(a): false}
	old := time.Now().Add(-time.Hour)
	for path := range paths {
		if err := os.Chtimes(filepath.Join(root, path), old, old); err != nil {
			t.Fatal(err)
		}
	}
	complete()
	for path, anew := range paths {
		info, err := s.driver.Stat(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if info.ModTime().After(old.Add(time.Minute)) != anew {
			t.Errorf("the time of %s is %v", path, info.ModTime())
		}
	}
	if _, err := s.Repository("r").ManifestTime(t.Context(), digest.FromString("absent")); CodeOf(err) != NotFound {
		t.Errorf("what is not there has a time: %v", err)
	}
}

// TestHealedTimes: bytes that come again in place of damaged ones get the time of
// those, whichever way they come and however large they are; so does a link that is
// written again since it was damaged.
func TestHealedTimes(t *testing.T) {
	root := t.TempDir()
	s, err := Open(t.Context(), "filesystem", map[string]any{"rootdirectory": root})
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour).Truncate(time.Microsecond)
	var paths []string
	for name, size := range map[string]int{"small": 10, "large": 300 << 10} {
		for _, way := range []string{"put", "move"} {
			content := strings.Repeat(name+way, size)
			d := putBlob(t, s, content)
			file := filepath.Join(root, blobPath(d))
			if err := errors.Join(os.WriteFile(file, []byte("wrong"), 0o600), os.Chtimes(file, old, old)); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Examine(t.Context(), d, ByRead); CodeOf(err) != Damaged {
				t.Fatalf("%s %s: what is damaged: %v", name, way, err)
			}
			pusher := pushDriver{s.driver, s}
			if way == "put" {
				err = pusher.PutContent(t.Context(), blobPath(d), []byte(content))
			} else {
				upload := uploadPath("r", name) + "/data"
				put(t, s, upload, content)
				err = pusher.Move(t.Context(), upload, blobPath(d))
			}
			if err != nil {
				t.Fatalf("%s %s: %v", name, way, err)
			}
			paths = append(paths, blobPath(d))
		}
	}
	a := putBlob(t, s, "a")
	put(t, s, revisionLink("r", a), "no digest")
	link := filepath.Join(root, revisionLink("r", a))
	if err := os.Chtimes(link, old, old); err != nil {
		t.Fatal(err)
	}
	flaws, err := s.Repository("r").Flaws(t.Context())
	if err != nil || len(flaws) != 1 {
		t.Fatalf("the flaws are %v, %v", flaws, err)
	}
	if mended, _, err := s.Mend(t.Context(), flaws[0]); !mended || err != nil {
		t.Fatalf("the link is mended: %v, %v", mended, err)
	}
	paths = append(paths, revisionLink("r", a))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		info, err := os.Stat(filepath.Join(root, path))
		if err != nil || !info.ModTime().Equal(old) {
			t.Errorf("%s has the time %v, %v, want %v", path, info.ModTime(), err, old)
		}
	}
}
