package wired

import (
	"context"
	"io/fs"
	"maps"
	"net/http"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// files are all files of storage, relative to it.
func (b *fullBerth) files() (found []string) {
	b.t.Helper()
	dir := filepath.Join(b.dir, "storage")
	err := filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			file, err = filepath.Rel(dir, file)
			found = append(found, filepath.ToSlash(file))
		}
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return found
}

// linked reports whether any repository has a link to bytes by their hex.
func linked(files []string, hex string) bool {
	return slices.ContainsFunc(files, func(f string) bool { return strings.HasSuffix(f, "/sha256/"+hex+"/link") })
}

// TestFullLeavesNothing writes in every way while there is no room, or the disk
// fails, for some kind of writing: what a refused request has written is gone
// once it is answered, or, if even that fails, once uploads succeed again.
func TestFullLeavesNothing(t *testing.T) {
	t.Parallel()
	all := []string{"put", "write", "close", "commit", "move"}
	kinds := map[string][]string{"everything": all, "everything, on a failing disk": append(slices.Clone(all), failingDisk)}
	for _, kind := range all {
		kinds[kind] = []string{kind}
		kinds[kind+", on a failing disk"] = []string{kind, failingDisk}
	}
	for name, kinds := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newFullBerth(t, t.TempDir(), "catalog.db", nil)
			b.push(fullKept, "kept", "v1", "v2")
			writes := b.writes()
			before := b.files()
			b.full.Store(&kinds)
			known := map[string]bool{} // uploads that a client was told of
			for _, write := range writes {
				w := write.request()
				if w.Code == http.StatusAccepted {
					known[w.Header().Get("Docker-Upload-UUID")] = true
				} else if w.Code >= 300 {
					b.refused(write.what, w)
				}
				// What was refused is gone before the next request.
				for _, f := range b.files() {
					if upload, ok := uploadOf(f); ok && w.Code >= 500 && !known[upload] && !slices.Contains(before, f) {
						t.Errorf("%s was refused, and leaves %s", write.what, f)
					}
				}
			}
			b.full.Store(nil)
			b.settled()
			b.push("after/app", "after", "v1")
			after := b.files()
			for _, f := range after {
				upload, ok := uploadOf(f)
				switch hex := path.Base(path.Dir(f)); {
				case ok && !known[upload]: // every upload that was begun before was written to
					t.Errorf("there is room again, and %s is still there", f)
				case slices.Contains(before, f):
				case strings.HasSuffix(f, ".tmp"):
					t.Errorf("a temporary file is left: %s", f)
				case strings.Contains(f, "/v2/blobs/") && !linked(after, hex):
					t.Errorf("bytes are left that nothing links: %s", f)
				}
			}
		})
	}
}

// uploadOf is the upload that a file belongs to.
func uploadOf(file string) (id string, ok bool) {
	_, below, ok := strings.Cut(file, "/_uploads/")
	id, _, _ = strings.Cut(below, "/")
	return id, ok
}

// settled waits until nothing is unfinished.
func (b *fullBerth) settled() {
	b.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		left := map[string]bool{}
		for intent, err := range b.index.Index.Abandoned(context.Background()) {
			if err != nil {
				b.t.Fatal(err)
			}
			left[intent.Repository] = true
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("unfinished after a minute: %q", slices.Sorted(maps.Keys(left)))
		}
	}
}
