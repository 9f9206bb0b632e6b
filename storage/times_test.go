package storage

import (
	"errors"
	"os"
	"path/filepath"
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
