package storage_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage"
)

// TestForeignNames has folders of others in every folder of local files, by names
// for which a driver cannot even be asked: people write them, and other systems.
func TestForeignNames(t *testing.T) {
	root := t.TempDir()
	s := open(t, "filesystem", map[string]any{"rootdirectory": root})
	ctx := t.Context()
	blob := []byte("a blob")
	d := digest.FromBytes(blob)
	const v2 = "/docker/registry/v2/"
	for p, content := range map[string][]byte{
		v2 + "blobs/sha256/" + d.Encoded()[:2] + "/" + d.Encoded() + "/data":               blob,
		v2 + "repositories/alice/app/_layers/sha256/" + d.Encoded() + "/link":              []byte(d),
		v2 + "repositories/alice/app/_manifests/revisions/sha256/" + d.Encoded() + "/link": []byte(d),
		v2 + "repositories/alice/app/_manifests/tags/v1/current/link":                      []byte(d),
		v2 + "repositories/alice/app/_uploads/one/startedat":                               []byte("2026-01-02T03:04:05Z"),
		"/berth/quarantine/sha256/" + d.Encoded() + "/one":                                 blob,
	} {
		if err := s.Driver().PutContent(ctx, p, content); err != nil {
			t.Fatal(err)
		}
	}
	var folders []string
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			folders = append(folders, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		for _, name := range []string{"My Folder", "\xff\xfe", "ü", "a:b", "100%"} {
			if err := os.MkdirAll(filepath.Join(folder, name, "x"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
	}
	blobs, uploads, repositories := 0, 0, 0
	for what, err := range map[string]error{
		"blobs":        s.Blobs(ctx, "", func(digest.Digest) error { blobs++; return nil }),
		"uploads":      s.Uploads(ctx, func(storage.OpenUpload) error { uploads++; return nil }),
		"repositories": s.Repositories(ctx, func(string) error { repositories++; return nil }),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if blobs != 1 || uploads != 1 || repositories != 1 {
		t.Errorf("%d blobs, %d uploads and %d repositories, want one of each", blobs, uploads, repositories)
	}
	if _, err := s.LeftNotes(ctx); err != nil {
		t.Error(err)
	}
	if _, err := s.Unhealed(ctx); err != nil {
		t.Error(err)
	}
	r := s.Repository("alice/app")
	if tags, err := r.Tags(ctx); err != nil || len(tags) != 1 {
		t.Errorf("tags: %v, %v", tags, err)
	}
	if manifests, _, err := r.Manifests(ctx); err != nil || len(manifests) != 1 {
		t.Errorf("manifests: %v, %v", manifests, err)
	}
	if links, err := r.Blobs(ctx); err != nil || len(links) != 1 {
		t.Errorf("links: %v, %v", links, err)
	}
}
