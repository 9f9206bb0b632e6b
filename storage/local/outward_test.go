package local

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheckLinks finds the links that are not followed, and no others.
func TestCheckLinks(t *testing.T) {
	const v2 = "docker/registry/v2/"
	elsewhere := t.TempDir()
	for _, test := range []struct {
		link, to string
		bad      bool
	}{
		{"docker", elsewhere, true}, {"docker/registry", elsewhere, true}, {v2 + "repositories", elsewhere, true}, {v2 + "blobs", "../../../..", true},
		{v2 + "blobs/sha256", elsewhere, true}, {v2 + "blobs/sha256/ab", elsewhere, true}, {v2 + "repositories/alice", elsewhere, true},
		{v2 + "repositories/.lost", elsewhere, false}, {v2 + "repositories/notes", "/etc/passwd", false}, {"elsewhere", elsewhere, false}, {"docker/gone", "nowhere", false},
		{v2 + "repositories/bob", "alice", false}, {v2 + "repositories/bob", "nowhere", true}, {v2 + "blobs/sha512", "sha256", false},
	} {
		root := t.TempDir()
		for _, dir := range []string{v2 + "repositories/alice/app/_layers/sha256", v2 + "blobs/sha256/ab/abcd", "other/a/b/c/d"} {
			if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if err := CheckLinks(root); err != nil {
			t.Fatalf("without a link: %v", err)
		}
		link := filepath.Join(root, test.link)
		if err := os.RemoveAll(link); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(test.to, link); err != nil {
			t.Fatal(err)
		}
		err := CheckLinks(root)
		if (err != nil) != test.bad || err != nil && !strings.Contains(err.Error(), "link "+link+" leads to "+test.to+" ") {
			t.Errorf("%s to %s: %v", test.link, test.to, err)
		}
	}
	if err := CheckLinks(filepath.Join(elsewhere, "absent")); err != nil {
		t.Errorf("without a root: %v", err)
	}
}
