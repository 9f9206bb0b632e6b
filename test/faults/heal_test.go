package faults

import (
	"bytes"
	"encoding/hex"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// stored is the file that holds the bytes of a digest.
func stored(b *harness.Berth, digest string) string {
	encoded := strings.TrimPrefix(digest, "sha256:")
	return filepath.Join(b.Data, "storage/docker/registry/v2/blobs/sha256", encoded[:2], encoded, "data")
}

// flip changes a byte of what is stored under a digest, as a disk might, and
// returns what is stored then.
func flip(t *testing.T, b *harness.Berth, digest string) (wrong []byte) {
	t.Helper()
	wrong, err := os.ReadFile(stored(b, digest))
	if err != nil {
		t.Fatal(err)
	}
	wrong[len(wrong)/2] ^= 1
	if err := os.WriteFile(stored(b, digest), wrong, 0o600); err != nil {
		t.Fatal(err)
	}
	return wrong
}

// quarantined are the contents in quarantine.
func quarantined(t *testing.T, b *harness.Berth, digest string) (found [][]byte) {
	t.Helper()
	dir := filepath.Join(b.Data, "storage/berth/quarantine/sha256", strings.TrimPrefix(digest, "sha256:"))
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Name() == "data" {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			found = append(found, content)
		}
		return err
	})
	if err != nil {
		t.Errorf("in quarantine of %s: %v", digest, err)
	}
	return found
}

func contains(all [][]byte, one []byte) bool {
	return slices.ContainsFunc(all, func(b []byte) bool { return bytes.Equal(b, one) })
}

// TestHealedByPush flips a byte of everything that an image has, and pushes it
// again: what is served then is what was pushed, and what was wrong is kept.
func TestHealedByPush(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	image := harness.NewImage("k", "healed")
	all := append(slices.Clone(image.Blobs), image.Manifest, image.Index)
	push := func() {
		t.Helper()
		for _, blob := range image.Blobs {
			if err := b.PushBlob("alice/app", blob); err != nil {
				t.Fatal(err)
			}
		}
		for _, err := range []error{
			b.PushManifest("alice/app", harness.Digest(image.Manifest), harness.OCIManifest, image.Manifest),
			b.PushManifest("alice/app", "latest", harness.OCIIndex, image.Index),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	serves := func(when string) {
		t.Helper()
		for _, blob := range image.Blobs {
			if got := b.Get(t, "/v2/alice/app/blobs/"+harness.Digest(blob), ""); !bytes.Equal(got, blob) {
				t.Errorf("%s: a blob is served as %q, want %q", when, got, blob)
			}
		}
		for _, manifest := range [][]byte{image.Manifest, image.Index} {
			if got := b.Get(t, "/v2/alice/app/manifests/"+harness.Digest(manifest), ""); !bytes.Equal(got, manifest) {
				t.Errorf("%s: a manifest is served as %q", when, got)
			}
		}
		harness.AskImages(t, b, "/v1/images", "")
		if digests := b.ListedDigests(t, "alice/app"); !slices.Contains(digests, harness.Digest(image.Index)) {
			t.Errorf("%s: listed are %q", when, digests)
		}
	}
	push()
	serves("at first")
	for _, restarted := range []bool{false, false, true} {
		if restarted {
			b.Stop()
		}
		var wrong [][]byte
		for _, content := range all {
			wrong = append(wrong, flip(t, b, harness.Digest(content)))
		}
		if restarted {
			b.Restart()
		}
		push()
		serves("pushed again")
		for i, content := range all {
			if got := quarantined(t, b, harness.Digest(content)); !contains(got, wrong[i]) {
				t.Errorf("what was wrong is not in quarantine, but %q", got)
			}
		}
	}
	metrics := harness.Metrics(t, b)
	if metrics["berth_damage_healed_total"] == "0" || metrics[`berth_damage_found_total{by="push"}`] == "0" || metrics["berth_damage_missing"] != "0" {
		t.Errorf("metrics: healed %q, found %q, missing %q", metrics["berth_damage_healed_total"],
			metrics[`berth_damage_found_total{by="push"}`], metrics["berth_damage_missing"])
	}
	if log := b.Log.String(); !strings.Contains(log, "it is in quarantine") || !strings.Contains(log, "damage is healed") {
		t.Error("the log says nothing of it")
	}
	harness.CompareRebuilt(t, b)
}

// TestDamagedManifest flips a byte of a manifest that two repositories have. It
// is not served again, nowhere, and nothing says that it is there, also after a
// restart; one push brings it back everywhere, with its tags.
func TestDamagedManifest(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	image := harness.NewImage("k", "two repositories")
	digest := harness.Digest(image.Index)
	for _, tag := range []string{"alice/app:v1", "alice/app:v2", "bob/app:v1"} {
		repository, tag, _ := strings.Cut(tag, ":")
		if _, err := b.Push(repository, tag, image); err != nil {
			t.Fatal(err)
		}
	}
	healthy := harness.AllAnswers(t, b.Client)
	b.Stop() // it would be served from memory
	wrong := flip(t, b, digest)
	b.Restart()
	missing := func(when string) {
		t.Helper()
		for _, ref := range []string{"alice/app/manifests/" + digest, "alice/app/manifests/v1", "bob/app/manifests/v1", "alice/app/manifests/v2"} {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				if a, err := b.Want(http.StatusNotFound, method, "/v2/"+ref, nil); err != nil || bytes.Contains(a.Body, wrong) {
					t.Errorf("%s: %v", when, err)
				}
			}
		}
		harness.Eventually(t, when+": the index says that it is there", func() bool {
			// The platform's manifest is an image by itself then.
			images, err := b.Want(http.StatusOK, http.MethodGet, "/v1/images", nil)
			tags, err2 := b.TagsOf("alice/app")
			return err == nil && err2 == nil && !bytes.Contains(images.Body, []byte(digest)) && len(tags) == 0
		})
	}
	missing("read")
	b.Kill()
	b.Restart()
	missing("after a crash")
	b.Stop()
	harness.RemoveIndex(t, b)
	b.Restart()
	missing("with another index")
	if err := b.PushManifest("bob/app", digest, harness.OCIIndex, image.Index); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "not everything is back", func() bool {
		tags, err := b.TagsOf("alice/app")
		return err == nil && slices.Equal(tags, []string{"v1", "v2"})
	})
	for path, want := range healthy {
		harness.Eventually(t, path+" is not what it was", func() bool { return harness.AllAnswers(t, b.Client)[path] == want })
	}
	if got := quarantined(t, b, digest); !contains(got, wrong) {
		t.Errorf("in quarantine: %q", got)
	}
}

// TestDamagedSize cuts a blob: its size alone is reason enough to look.
func TestDamagedSize(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	image := harness.NewImage("k", "cut")
	if _, err := b.Push("alice/app", "v1", image); err != nil {
		t.Fatal(err)
	}
	digest := harness.Digest(image.Blobs[1])
	if err := os.Truncate(stored(b, digest), int64(len(image.Blobs[1])-1)); err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		if _, err := b.Want(http.StatusNotFound, method, "/v2/alice/app/blobs/"+digest, nil); err != nil {
			t.Error(err)
		}
	}
	// A mount does not bring it back, a push of the bytes does.
	b.Must(t, http.StatusAccepted, http.MethodPost, "/v2/bob/app/blobs/uploads/?mount="+digest+"&from=alice/app", nil)
	if err := b.PushBlob("bob/app", image.Blobs[1]); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the blob is not back where it was", func() bool {
		_, err := b.Want(http.StatusOK, http.MethodHead, "/v2/alice/app/blobs/"+digest, nil)
		return err == nil
	})
	if got := b.Get(t, "/v2/alice/app/blobs/"+digest, ""); !bytes.Equal(got, image.Blobs[1]) {
		t.Errorf("served is %s", hex.EncodeToString(got))
	}
	harness.CompareRebuilt(t, b)
}

// TestHealedAtOnce has a blob damaged and pushed many times. What the index is
// told of the damage must not come after what it is told of the push.
func TestHealedAtOnce(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	image := harness.NewImage("k", "at once")
	if _, err := b.Push("alice/app", "v1", image); err != nil {
		t.Fatal(err)
	}
	blob := image.Blobs[0]
	digest := harness.Digest(blob)
	for i := range 40 {
		flip(t, b, digest)
		if i%2 == 0 {
			if err := os.Truncate(stored(b, digest), int64(len(blob)-1)); err != nil {
				t.Fatal(err)
			}
			b.Must(t, http.StatusNotFound, http.MethodHead, "/v2/alice/app/blobs/"+digest, nil)
		}
		if err := b.PushBlob("alice/app", blob); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if _, err := b.Want(http.StatusOK, http.MethodHead, "/v2/alice/app/blobs/"+digest, nil); err != nil {
				t.Fatalf("pushed the %d. time: %v", i, err)
			}
		}
	}
	harness.CompareRebuilt(t, b)
}

// TestScrub flips a byte of a blob that nobody reads. It is found by itself.
func TestScrub(t *testing.T) {
	t.Parallel()
	b := harness.Start(t, harness.WithEnv("BERTH_SCRUB_ENABLED=false"))
	image := harness.NewImage("k", "scrubbed")
	if _, err := b.Push("alice/app", "v1", image); err != nil {
		t.Fatal(err)
	}
	b.Stop()
	digest := harness.Digest(image.Blobs[1])
	wrong := flip(t, b, digest)
	b.Env = []string{"BERTH_SCRUB_OPERATIONS=1000"}
	b.Restart()
	harness.Eventually(t, "scrub has found nothing", func() bool {
		metrics := harness.Metrics(t, b)
		return metrics[`berth_damage_found_total{by="scrub"}`] == "1" && metrics["berth_damage_missing"] == "1" && metrics["berth_scrub_blobs_total"] != "0"
	})
	b.Must(t, http.StatusNotFound, http.MethodHead, "/v2/alice/app/blobs/"+digest, nil)
	if got := quarantined(t, b, digest); !contains(got, wrong) {
		t.Errorf("in quarantine: %q", got)
	}
	if err := b.PushBlob("alice/app", image.Blobs[1]); err != nil {
		t.Fatal(err)
	}
	if got := b.Get(t, "/v2/alice/app/blobs/"+digest, ""); !bytes.Equal(got, image.Blobs[1]) {
		t.Errorf("served is %q", got)
	}
	harness.Eventually(t, "a pass does not end", func() bool { return harness.Metrics(t, b)["berth_scrub_ended_timestamp_seconds"] != "0" })
	harness.CompareRebuilt(t, b)
}
