package spec

import (
	"bytes"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// TestSmallBlobs asks for blobs that are kept in memory and for one that is not,
// in all ways, twice: nobody can tell where an answer comes from.
func TestSmallBlobs(t *testing.T) {
	s := specified(t)
	const repository, small = "alice/small", 16 << 10
	var first []string
	for _, size := range []int{0, 1, small - 1, small, small + 1, 3 * small} {
		content := bytes.Repeat([]byte("0123456789"), size/10+1)[:size]
		d := harness.Digest(content)
		if err := s.PushBlob(repository, content); err != nil {
			t.Fatal(err)
		}
		path := "/v2/" + repository + "/blobs/" + d
		for range 2 {
			whole := s.ask(200, "GET", path, nil)
			if !bytes.Equal(whole.Body, content) {
				t.Errorf("%d bytes: got %d others", size, len(whole.Body))
			}
			s.has(whole, "Docker-Content-Digest", d, "ETag", `"`+d+`"`, "Accept-Ranges", "bytes", "Content-Type", "application/octet-stream")
			if names := slices.Sorted(maps.Keys(whole.Header)); first == nil {
				first = names
			} else if !slices.Equal(names, first) {
				t.Errorf("%d bytes: the headers are %v, and were %v", size, names, first)
			}
			head := s.ask(200, "HEAD", path, nil)
			if head.Header.Get("Content-Length") != whole.Header.Get("Content-Length") || len(head.Body) != 0 {
				t.Errorf("%d bytes: HEAD says %v and sends %d bytes", size, head.Header, len(head.Body))
			}
			s.ask(304, "GET", path, nil, "If-None-Match", `"`+d+`"`)
			s.ask(412, "GET", path, nil, "If-Match", `"something else"`)
			if size < 10 {
				continue
			}
			part := s.ask(206, "GET", path, nil, "Range", "bytes=5-8")
			if string(part.Body) != "5678" {
				t.Errorf("%d bytes: the part is %q", size, part.Body)
			}
			s.ask(416, "GET", path, nil, "Range", "bytes=1000000-")
		}
		s.ask(202, "DELETE", path, nil)
		s.ask(404, "GET", path, nil)
		s.ask(404, "HEAD", path, nil)
	}
}

// TestSmallBlobKept changes the file of a blob that is in memory, and of one
// before it was ever asked for: what is served from memory has its digest.
func TestSmallBlobKept(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	change := func(d string) {
		t.Helper()
		hex := strings.TrimPrefix(d, "sha256:")
		file := filepath.Join(b.Data, "storage/docker/registry/v2/blobs/sha256", hex[:2], hex, "data")
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		content[0] ^= 1
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := func(d string) string { return "/v2/alice/app/blobs/" + d }
	kept, never := []byte("asked for before"), []byte("not asked for before")
	for _, content := range [][]byte{kept, never} {
		if err := b.PushBlob("alice/app", content); err != nil {
			t.Fatal(err)
		}
	}
	b.Get(t, path(harness.Digest(kept)), "")
	lost := []byte("asked for before, and lost")
	if err := b.PushBlob("alice/app", lost); err != nil {
		t.Fatal(err)
	}
	b.Get(t, path(harness.Digest(lost)), "")
	hex := strings.TrimPrefix(harness.Digest(lost), "sha256:")
	if err := os.Remove(filepath.Join(b.Data, "storage/docker/registry/v2/blobs/sha256", hex[:2], hex, "data")); err != nil {
		t.Fatal(err)
	}
	// Who is about to push it must not be told that it is stored.
	b.Must(t, http.StatusNotFound, http.MethodHead, path(harness.Digest(lost)), nil)
	change(harness.Digest(kept))
	change(harness.Digest(never))
	for range 2 {
		if got := b.Get(t, path(harness.Digest(kept)), ""); !bytes.Equal(got, kept) {
			t.Errorf("from memory came %q", got)
		}
		a, err := b.Do(http.MethodGet, path(harness.Digest(never)), nil)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(a.Body, never) {
			t.Errorf("the file is not what was served: %q", a.Body)
		}
	}
	// What was damaged was not kept for what it should have been.
	change(harness.Digest(never))
	if got := b.Get(t, path(harness.Digest(never)), ""); !bytes.Equal(got, never) {
		t.Errorf("after the file was put right came %q", got)
	}
}
