package operation

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// fsckReport is what fsck says with --output json.
type fsckReport struct {
	Findings []finding
	Summary  struct {
		Repositories, Manifests, Blobs int
		Kinds                          map[string]int
		Index                          int `json:"left_in_index"`
		Storage                        int `json:"left_in_storage"`
	}
}

type finding struct{ Kind, Repository, Digest, Tag, Detail, Done string }

// fsck runs the command on a data folder.
func fsck(t *testing.T, data string, args ...string) (fsckReport, int) {
	t.Helper()
	stdout, stderr, code := harness.CommandLine(t, nil, append([]string{"fsck", "--data", data, "--output", "json"}, args...)...)
	var report fsckReport
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatalf("fsck %q exited with %d and said %q, %q: %v", args, code, stdout, stderr, err)
	}
	// Also what is being pushed is stored for a moment before anything links it.
	report.Findings = slices.DeleteFunc(report.Findings, func(f finding) bool { return f.Kind == "bytes_unlinked" })
	return report, code
}

// TestFsck damages storage in several ways, and has it found and mended while the
// registry runs and people push, and while it is stopped.
func TestFsck(t *testing.T) {
	t.Parallel()
	for _, running := range []bool{true, false} {
		t.Run(fmt.Sprintf("running %v", running), func(t *testing.T) {
			t.Parallel()
			b := harness.Start(t)
			image := harness.NewImage("k", "checked")
			for _, tag := range []string{"v1", "v2"} {
				if _, err := b.Push("alice/app", tag, image); err != nil {
					t.Fatal(err)
				}
			}
			stop := func() {}
			if running {
				stop = pushing(t, b)
			} else {
				b.Stop()
			}
			if report, code := fsck(t, b.Data, "--deep"); code != 0 || len(report.Findings) != 0 || report.Summary.Blobs < 5 {
				t.Errorf("on a registry that is well, fsck exits with %d: %+v", code, report)
			}
			blobs := filepath.Join(b.Data, "storage/docker/registry/v2/blobs/sha256")
			layer := strings.TrimPrefix(harness.Digest(image.Blobs[1]), "sha256:")
			data := filepath.Join(blobs, layer[:2], layer, "data")
			content, err := os.ReadFile(data)
			if err != nil {
				t.Fatal(err)
			}
			content[0] ^= 1
			tag := filepath.Join(b.Data, "storage/docker/registry/v2/repositories/alice/app/_manifests/tags/v2/current/link")
			for file, content := range map[string][]byte{data: content, tag: []byte("nonsense")} {
				if err := os.WriteFile(file, content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			report, code := fsck(t, b.Data, "--deep")
			if code != 8+16 || report.Summary.Kinds["bytes_damaged"] != 1 || report.Summary.Kinds["link_damaged"] != 1 || report.Summary.Kinds["index_tag"] == 0 {
				t.Errorf("fsck --deep exits with %d: %+v", code, report)
			}
			if report, code := fsck(t, b.Data); code != 8+16 || report.Summary.Kinds["bytes_damaged"] != 0 {
				t.Errorf("fsck exits with %d: %+v", code, report)
			}
			if report, code := fsck(t, b.Data, "--deep", "--repair"); code != 16 {
				t.Errorf("fsck --deep --repair exits with %d: %+v", code, report)
			}
			report, code = fsck(t, b.Data, "--deep")
			if code != 16 || report.Summary.Kinds["bytes_quarantined"] != 1 || report.Summary.Kinds["bytes_damaged"] != 0 || report.Summary.Index != 0 {
				t.Errorf("after the repair, fsck exits with %d: %+v", code, report)
			}
			if !running {
				b.Restart()
			}
			if tags, err := b.TagsOf("alice/app"); err != nil || !slices.Equal(tags, []string{"v1"}) {
				t.Errorf("after the repair, the tags are %q, %v", tags, err)
			}
			if err := b.PushBlob("alice/app", image.Blobs[1]); err != nil {
				t.Fatal(err)
			}
			stop()
			harness.Eventually(t, "the push has not healed everything", func() bool {
				report, code := fsck(t, b.Data, "--deep")
				return code == 0 && len(report.Findings) == 0
			})
			harness.CompareRebuilt(t, b)
		})
	}
}

// pushing pushes, re-tags and deletes until stop is called.
func pushing(t *testing.T, b *harness.Berth) (stop func()) {
	t.Helper()
	done := make(chan struct{})
	var all sync.WaitGroup
	for worker := range 3 {
		all.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				repository := fmt.Sprintf("bob/app%d", worker)
				tag := fmt.Sprint("t", i%3)
				if _, err := b.Push(repository, tag, harness.NewImage("k", fmt.Sprint(worker, i%5))); err != nil {
					t.Error(err)
					return
				}
				if i%4 == 3 {
					_, _ = b.Do("DELETE", "/v2/"+repository+"/manifests/"+tag, nil)
				}
			}
		})
	}
	return sync.OnceFunc(func() {
		close(done)
		all.Wait()
	})
}

// TestIndexRebuild makes the index anew, and wants the same answers of it.
func TestIndexRebuild(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	if _, err := b.Push("alice/app", "v1", harness.NewImage("k", "rebuilt")); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := harness.CommandLine(t, nil, "index", "rebuild", "--data", b.Data); code != 1 || !strings.Contains(stderr, "another berth is using") {
		t.Errorf("while it runs: exited with %d and said %q", code, stderr)
	}
	before := harness.AllAnswers(t, b.Client)
	b.Stop()
	index := filepath.Join(b.Data, "catalog.db")
	old, err := os.Stat(index)
	if err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := harness.CommandLine(t, nil, "index", "rebuild", "--data", b.Data); code != 0 {
		t.Errorf("exited with %d and said %q", code, stderr)
	}
	if now, err := os.Stat(index); err != nil || os.SameFile(old, now) {
		t.Errorf("the index is the one that was there: %v", err)
	}
	b.Restart()
	for path, want := range before {
		if got := harness.AllAnswers(t, b.Client)[path]; got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	for _, args := range [][]string{{"fsck"}, {"index", "rebuild"}} {
		nothing := filepath.Join(t.TempDir(), "nothing")
		if _, stderr, code := harness.CommandLine(t, nil, append(args, "--data", nothing)...); code != 1 || !strings.Contains(stderr, "there is no registry") {
			t.Errorf("%q on nothing: exited with %d and said %q", args, code, stderr)
		}
		if _, err := os.Stat(nothing); err == nil {
			t.Errorf("%q has made a registry", args)
		}
	}
}
