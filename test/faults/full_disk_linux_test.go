package faults

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-oci/berth/test/harness"
)

// smallDiskEnv tells the test that it runs in a namespace of its own, where it
// may mount.
const smallDiskEnv = "BERTH_TEST_MAY_MOUNT"

// smallDisk mounts a disk of so many bytes. Who may not mount runs the test
// again in a namespace where it may, and has nothing left to do here: then dir
// is "".
func smallDisk(t *testing.T, size int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size))
	if err == nil {
		t.Cleanup(func() {
			if err := unix.Unmount(dir, 0); err != nil {
				t.Error(err)
			}
		})
		return dir
	}
	if os.Getenv(smallDiskEnv) != "" {
		t.Skipf("skipped: needs a small disk, and may not mount one in a namespace either: %v", err)
	}
	if _, missing := exec.LookPath("unshare"); missing != nil || exec.Command("unshare", "-rm", "true").Run() != nil {
		t.Skipf("skipped: needs a small disk, and may neither mount one (%v) nor unshare", err)
	}
	again := exec.Command("unshare", "-rm", os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=5m")
	again.Env = append(os.Environ(), smallDiskEnv+"=1")
	output, err := again.CombinedOutput()
	t.Logf("in a namespace of its own:\n%s", output)
	switch {
	case err != nil:
		t.Fatal(err)
	case !strings.Contains(string(output), "--- PASS: "+t.Name()):
		t.Skip("skipped: see above")
	}
	return ""
}

// fullDisk is a berth on a small disk, and what is read from it.
type fullDisk struct {
	*harness.Client
	t      *testing.T
	b      *harness.Berth
	filler *os.File
	// reads are what no write of the test changes: method and path.
	reads   [][2]string
	refused int
	// moving and going are what two tags may point to: what they did, or what a
	// refused change makes of them later.
	moving, going []string
	// added are the blobs that were pushed with success while the disk was full.
	added map[string][]byte
	// tried are the deletions that were sent: the next may find nothing.
	tried map[string]bool
}

// fill takes what room there is left on the disk, to the last byte.
func (d *fullDisk) fill() {
	d.t.Helper()
	for block := make([]byte, 64<<10); len(block) > 0; {
		if _, err := d.filler.Write(block); errors.Is(err, syscall.ENOSPC) {
			block = block[:len(block)/2]
		} else if err != nil {
			d.t.Fatal(err)
		}
	}
}

// answers are all reads, less what differs each time.
func (d *fullDisk) answers() map[string]string {
	d.t.Helper()
	answers := make(map[string]string)
	for _, read := range d.reads {
		a, err := d.Want(http.StatusOK, read[0], read[1], nil, "Accept", harness.OCIIndex+", "+harness.OCIManifest)
		if err != nil {
			d.t.Error(err)
			continue
		}
		answers[read[0]+" "+read[1]] = fmt.Sprint(a.Header["Docker-Content-Digest"], string(harness.TimeTaken.ReplaceAll(a.Body, nil)))
	}
	return answers
}

// same wants all reads to be as they were, and nothing that is half done: what
// else there is to read is from before a change or from after it.
func (d *fullDisk) same(when string, want map[string]string) {
	d.t.Helper()
	got := d.answers()
	for _, read := range slices.Sorted(maps.Keys(want)) {
		if got[read] != want[read] {
			d.t.Errorf("%s: %s: got\n%.500s\nwant\n%.500s", when, read, got[read], want[read])
		}
	}
	for _, path := range []string{"/readyz", "/metrics", "/v2/_catalog", "/v1/images", "/v1/images/list", "/v2/full/app/tags/list"} {
		if _, err := d.Want(http.StatusOK, http.MethodGet, path, nil); err != nil {
			d.t.Errorf("%s: %v", when, err)
		}
	}
	for tag, allowed := range map[string][]string{"moving": d.moving, "going": d.going} {
		found, err := d.DigestOf("full/app", tag)
		if err != nil || !slices.Contains(allowed, found) {
			d.t.Errorf("%s: the tag %s is %q (%v), want one of %q", when, tag, found, err, allowed)
		}
		if found == "" {
			continue
		}
		a, err := d.Want(http.StatusOK, http.MethodGet, "/v2/full/app/manifests/"+found, nil, "Accept", harness.OCIIndex)
		if err != nil || harness.Digest(a.Body) != found {
			d.t.Errorf("%s: the tag %s points to what cannot be pulled: %v", when, tag, err)
		}
	}
}

// write sends a request that writes. It succeeds, or is refused for want of room
// in the specification's form, and then nothing has changed.
func (d *fullDisk) write(what, method, target string, body any, header ...string) (a *harness.Answer, ok bool) {
	d.t.Helper()
	d.fill()
	before := d.answers()
	a, err := d.Do(method, target, body, header...)
	if err != nil {
		d.t.Fatalf("%s: %v", what, err)
	}
	d.same("after "+what, before)
	again := method == http.MethodDelete && d.tried[target]
	d.tried[target] = true
	if a.Status < 300 || again && a.Status == http.StatusNotFound {
		return a, true
	}
	d.refused++
	var answer struct {
		Errors []struct{ Code, Message string }
	}
	if a.Status != http.StatusInsufficientStorage && a.Status != http.StatusServiceUnavailable ||
		json.Unmarshal(a.Body, &answer) != nil || len(answer.Errors) != 1 || answer.Errors[0].Code != "UNAVAILABLE" {
		d.t.Errorf("%s: got %d %.300s, want 507 or 503 in the specification's form", what, a.Status, a.Body)
	}
	for _, inside := range []string{d.b.Data, "no space", "goroutine", ".go:", "/docker/", "_uploads"} {
		if bytes.Contains(a.Body, []byte(inside)) {
			d.t.Errorf("%s: the answer shows the inside of the server: %.300s", what, a.Body)
		}
	}
	return a, false
}

// writeBlobs pushes blobs in every way, into uploads that were begun while there
// was room, and new ones.
func (d *fullDisk) writeBlobs(uploads []string) {
	d.t.Helper()
	const start = "/v2/other/app/blobs/uploads/"
	binary := []string{"Content-Type", "application/octet-stream"}
	for i, blob := range [][]byte{[]byte("small"), bytes.Repeat([]byte("far more than a buffer "), 20_000)} {
		what := fmt.Sprintf(" of %d bytes", len(blob))
		blob = append(blob, " at once"...)
		if _, ok := d.write("a single POST"+what, http.MethodPost, start+"?digest="+harness.Digest(blob), blob, binary...); ok {
			d.added[harness.Digest(blob)] = blob
		}
		d.write("an upload", http.MethodPost, start, nil)
		blob = append(blob, " in one PUT"...)
		if _, ok := d.write("a PUT"+what, http.MethodPut, uploads[2*i]+"&digest="+harness.Digest(blob), blob, binary...); ok {
			d.added[harness.Digest(blob)] = blob
		}
		location, ok := uploads[2*i+1], true
		// Without a length, and with one.
		for _, body := range []any{io.MultiReader(bytes.NewReader(blob)), blob} {
			var a *harness.Answer
			if a, ok = d.write("a chunk"+what, http.MethodPatch, location, body, binary...); !ok {
				break
			}
			location = d.b.URL + a.Header.Get("Location")
		}
		if whole := append(slices.Clone(blob), blob...); ok {
			if _, ok := d.write("the end of chunks"+what, http.MethodPut, location+"&digest="+harness.Digest(whole), nil); ok {
				d.added[harness.Digest(whole)] = whole
			}
		}
	}
}

// writeManifests pushes, moves and deletes.
func (d *fullDisk) writeManifests(first, second harness.Image) {
	d.t.Helper()
	// Longer than what the driver buffers.
	long := harness.IndexOf(harness.Describe(harness.OCIManifest, second.Manifest).Marked("long", strings.Repeat("x", 10_000)))
	old, next := harness.Digest(first.Index), harness.Digest(second.Index)
	d.write("a push of a manifest", http.MethodPut, "/v2/other/app/manifests/new", second.Manifest, "Content-Type", harness.OCIManifest)
	d.write("a push of a long manifest", http.MethodPut, "/v2/other/app/manifests/long", long, "Content-Type", harness.OCIIndex)
	if !slices.Contains(d.moving, next) {
		d.moving = append(d.moving, next)
	}
	if _, ok := d.write("a re-tag", http.MethodPut, "/v2/full/app/manifests/moving", second.Index, "Content-Type", harness.OCIIndex); ok {
		d.moving = []string{next}
	}
	if !slices.Contains(d.going, "") {
		d.going = append(d.going, "")
	}
	if _, ok := d.write("an untag", http.MethodDelete, "/v2/full/app/manifests/going", nil); ok {
		d.going = []string{""}
	}
	d.write("a deletion", http.MethodDelete, "/v2/gone/app/manifests/"+old, nil)
	d.write("a deletion of a blob", http.MethodDelete, "/v2/gone/app/blobs/"+harness.Digest(first.Blobs[1]), nil)
}

// must fails the test where something cannot go on.
func (d *fullDisk) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// newFullDisk starts berth on a small disk, with some images on it.
func newFullDisk(t *testing.T, images ...harness.Image) *fullDisk {
	t.Helper()
	const size = 24 << 20
	disk := smallDisk(t, size)
	if disk == "" {
		return nil
	}
	data := filepath.Join(disk, "data")
	d := &fullDisk{t: t, added: make(map[string][]byte), tried: make(map[string]bool)}
	var err error
	d.filler, err = os.Create(filepath.Join(disk, "filler"))
	d.must(err)
	t.Cleanup(func() { _ = d.filler.Close() })
	d.b = harness.Start(t, harness.WithData(data), harness.WithEnv("BERTH_STORAGE_FREE_FLOOR=0")) // to the last byte
	d.Client = harness.NewClient(d.b.URL)
	for _, tag := range []string{"v1", "v2"} {
		for i, image := range images {
			_, err := d.Push("kept/app", fmt.Sprintf("%s-%d", tag, i), image)
			d.must(err)
		}
	}
	for _, tag := range []string{"moving", "going"} {
		_, err := d.Push("full/app", tag, images[0])
		d.must(err)
	}
	_, err = d.Push("gone/app", "latest", images[0])
	d.must(err)
	// The manifests of the writes find their blobs.
	for _, repository := range []string{"full/app", "other/app"} {
		for _, blob := range images[1].Blobs {
			d.must(d.PushBlob(repository, blob))
		}
	}
	d.must(d.PushManifest("full/app", harness.Digest(images[1].Manifest), harness.OCIManifest, images[1].Manifest))
	old := harness.Digest(images[0].Index)
	d.moving, d.going = []string{old}, []string{old}

	get := func(paths ...string) {
		for _, path := range paths {
			d.reads = append(d.reads, [2]string{http.MethodGet, path})
			if strings.HasPrefix(path, "/v2/") {
				d.reads = append(d.reads, [2]string{http.MethodHead, path})
			}
		}
	}
	get("/v2/", "/v2/kept/app/tags/list", "/v1/images?namespace=kept", "/v1/images/list?namespace=kept", "/v2/kept/app/referrers/"+old)
	for i, image := range images {
		get(fmt.Sprintf("/v2/kept/app/manifests/v1-%d", i), "/v2/kept/app/manifests/"+harness.Digest(image.Index), "/v2/kept/app/manifests/"+harness.Digest(image.Manifest))
		for _, blob := range image.Blobs {
			get("/v2/kept/app/blobs/" + harness.Digest(blob))
		}
	}
	return d
}

// TestFullDisk fills the disk under berth. Every kind of write is refused as a
// whole or succeeds, and everything can be read, also after a crash and a start
// on the disk that is still full. With room again, all is well by itself.
func TestFullDisk(t *testing.T) {
	first, second := harness.NewImage("k", "first"), harness.NewImage("k", "second")
	d := newFullDisk(t, first, second)
	if d == nil {
		return // it has run elsewhere
	}
	before := d.answers()
	begin := func() (uploads []string) {
		for range 4 {
			location, err := d.Upload("other/app")
			d.must(err)
			uploads = append(uploads, location.String())
		}
		return uploads
	}
	uploads := begin()

	d.fill()
	d.same("on a full disk", before)
	d.writeBlobs(uploads)
	d.writeManifests(first, second)
	if d.refused == 0 {
		t.Error("nothing was refused: the disk was not full")
	}
	for _, how := range []string{"killed", "killed again"} {
		d.fill()
		d.b.Kill()
		d.b.Restart()
		d.HTTP.CloseIdleConnections()
		d.same(how+", and started on a full disk", before)
	}
	d.must(d.filler.Truncate(0)) // an upload that has received nothing does not outlive a crash
	more := begin()
	d.fill()
	d.writeBlobs(more)
	d.writeManifests(first, second)
	t.Logf("%d writes were refused", d.refused)

	d.must(d.filler.Truncate(0))
	for _, repository := range []string{"kept/app", "full/app", "gone/app", "other/app"} {
		harness.Eventually(t, "with room again, nothing can be pushed to "+repository, func() bool {
			_, err := d.Push(repository, "after", harness.NewImage("k", "after"))
			return err == nil
		})
	}
	for digest, blob := range d.added {
		if a, err := d.Want(http.StatusOK, http.MethodGet, "/v2/other/app/blobs/"+digest, nil); err != nil || !bytes.Equal(a.Body, blob) {
			t.Errorf("a blob that was acknowledged is not what was pushed: %v", err)
		}
	}
	for _, read := range d.reads {
		if read[0] == http.MethodGet && strings.Contains(read[1], "/manifests/") || strings.Contains(read[1], "/blobs/") {
			a, err := d.Want(http.StatusOK, read[0], read[1], nil, "Accept", harness.OCIIndex+", "+harness.OCIManifest)
			d.must(err)
			if got := fmt.Sprint(a.Header["Docker-Content-Digest"], string(a.Body)); got != before[read[0]+" "+read[1]] {
				t.Errorf("with room again, %s %s has changed", read[0], read[1])
			}
		}
	}
	harness.CompareRebuilt(t, d.b)
}
