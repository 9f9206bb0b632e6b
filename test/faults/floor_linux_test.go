package faults

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// leaveFree fills a disk until so many bytes are free.
func leaveFree(t *testing.T, filler *os.File, bytes int64) {
	t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(filepath.Dir(filler.Name()), &s); err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 64<<10)
	for left := int64(s.Bavail)*s.Bsize - bytes; left > 0; left -= int64(len(block)) {
		if _, err := filler.Write(block[:min(left, int64(len(block)))]); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFreeFloor has berth keep a tenth of a small disk free: uploads are refused
// before the disk is full, everything else goes on, and uploads too, by
// themselves, once there is room.
func TestFreeFloor(t *testing.T) {
	const size = 64 << 20
	disk := smallDisk(t, size)
	if disk == "" {
		return // it has run elsewhere
	}
	filler, err := os.Create(filepath.Join(disk, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	b := harness.Start(t, harness.WithData(filepath.Join(disk, "data")))
	image := harness.NewImage("k", "kept")
	if _, err := b.Push("alice/app", "v1", image); err != nil {
		t.Fatal(err)
	}
	const start = "/v2/alice/app/blobs/uploads/"
	binary := []string{"Content-Type", "application/octet-stream"}
	refused := func(what, method, target string, body any, header ...string) {
		t.Helper()
		a, err := b.Want(http.StatusInsufficientStorage, method, target, body, header...)
		if err != nil {
			t.Errorf("%s: %v", what, err)
		} else if !strings.Contains(string(a.Body), "nearly full") {
			t.Errorf("%s: the answer does not say why: %s", what, a.Body)
		}
	}
	location, err := b.Upload("alice/app")
	if err != nil {
		t.Fatal(err)
	}

	// One that is declared too large for what is left, and one that is not
	// declared at all.
	leaveFree(t, filler, size/10+12<<20)
	large := bytes.Repeat([]byte("many bytes "), 2<<20)
	refused("a blob that is too large", http.MethodPost, start+"?digest="+harness.Digest(large), large, binary...)
	refused("a stream that is too large", http.MethodPatch, location.String(), io.MultiReader(bytes.NewReader(large)), binary...)
	if _, err := b.Want(http.StatusNotFound, http.MethodGet, location.String(), nil); err != nil {
		t.Errorf("the refused upload is still there: %v", err)
	}

	if location, err = b.Upload("alice/app"); err != nil {
		t.Fatal(err)
	}
	leaveFree(t, filler, size/10-1<<20)
	refused("a new upload", http.MethodPost, start, nil)
	refused("a blob", http.MethodPost, start+"?digest="+harness.Digest([]byte("x")), []byte("x"), binary...)
	refused("a chunk", http.MethodPatch, location.String(), []byte("x"), binary...)
	if _, err := b.Want(http.StatusNotFound, http.MethodGet, location.String(), nil); err != nil {
		t.Errorf("the refused upload is still there: %v", err)
	}
	for _, upload := range uploadsOf(t, b, "alice/app") {
		t.Errorf("an upload is left: %s", upload)
	}
	b.Must(t, http.StatusCreated, http.MethodPost, "/v2/bob/app/blobs/uploads/?from=alice/app&mount="+harness.Digest(image.Blobs[0]), nil)
	b.PutManifest(t, "alice/app", "v2", harness.OCIIndex, image.Index)
	b.Must(t, http.StatusAccepted, http.MethodDelete, "/v2/alice/app/manifests/v2", nil)
	b.Must(t, http.StatusOK, http.MethodGet, "/readyz", nil)
	if free, err := strconv.ParseFloat(harness.Metrics(t, b)["berth_storage_free_bytes"], 64); err != nil || free > size/10 || free == 0 {
		t.Errorf("the metrics say that %v bytes are free, %v", free, err)
	}

	if err := filler.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Push("alice/app", "v3", harness.NewImage("k", "after")); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

// uploadsOf are the folders of the uploads of a repository.
func uploadsOf(t *testing.T, b *harness.Berth, repository string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(b.Data, "storage/docker/registry/v2/repositories", repository, "_uploads/*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}
