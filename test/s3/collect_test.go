package s3

import (
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// TestCollect has the objects of deleted images go from a bucket, through the
// quarantine, and nothing else.
func TestCollect(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := harness.Start(t, s.bucket("collected", false), harness.WithEnv(
		"BERTH_COLLECT_LEASE=1s", "BERTH_COLLECT_QUARANTINE=1s", "BERTH_COLLECT_INTERVAL=1s"))
	kept := harness.NewImage("k", "kept")
	if _, err := b.Push("alice/app", "kept", kept); err != nil {
		t.Fatal(err)
	}
	for i := range 12 {
		d, err := b.Push("alice/app", "gone", harness.NewImage("k", fmt.Sprint("gone", i)))
		if err != nil {
			t.Fatal(err)
		}
		b.Must(t, http.StatusAccepted, http.MethodDelete, "/v2/alice/app/manifests/"+d, nil)
	}
	harness.WantCollected(t, b)
	// Both manifests, and the blobs.
	if got, want := s.objects("collected", "data"), 2+len(kept.Blobs); got != want {
		t.Errorf("%d blobs are left in the bucket, want %d", got, want)
	}
	for _, blob := range kept.Blobs {
		b.Must(t, http.StatusOK, http.MethodGet, "/v2/alice/app/blobs/"+harness.Digest(blob), nil)
	}
	if stdout, stderr, code := harness.CommandLine(t, b.Env, "fsck", "--deep", "--data", b.Data); code != 0 {
		t.Errorf("fsck exited with %d: %s%s", code, stdout, stderr)
	}
}

// objects counts those of a bucket whose names end so.
func (s *server) objects(bucket, name string) (n int) {
	s.t.Helper()
	err := filepath.WalkDir(filepath.Join(s.root, bucket), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && strings.HasSuffix(path, "/"+name) {
			n++
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}
