//go:build unix

package operation

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

// gcStatus is what gc status says with --output json.
type gcStatus struct {
	Running     bool
	Background  bool
	Error       string
	Uncollected int64 `json:"uncollected_bytes"`
	Quarantine  int64 `json:"quarantine_bytes"`
}

// gcReport is what gc says with --output json.
type gcReport struct {
	Going []struct {
		What, Digest string
		Bytes        int64
	}
	DryRun bool `json:"dry_run"`
	Freed  struct {
		Links        int
		Swept        struct{ Bytes int64 }
		Unreferenced struct{ Bytes int64 }
	}
}

func runGC(t *testing.T, b *harness.Berth, into any, args ...string) {
	t.Helper()
	args = append(append([]string{"gc"}, args...), "--data", b.Data, "--output", "json")
	stdout, stderr, code := harness.CommandLine(t, b.Env, args...)
	if err := json.Unmarshal([]byte(stdout), into); err != nil || code != 0 {
		t.Fatalf("gc %q exited with %d and said %q, %q: %v", args, code, stdout, stderr, err)
	}
}

// diskUse is what the files below a folder take, each once, however many names it
// has; other says which of them to leave out.
func diskUse(t *testing.T, dir string, other func(path string) bool) (bytes int64) {
	t.Helper()
	seen := map[string]bool{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || other(path) {
			return nil // what went meanwhile takes nothing
		}
		info, err := entry.Info()
		if err == nil && !seen[identity(info)] {
			seen[identity(info)] = true
			bytes += info.Size()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

// TestCollect has the room of deleted images come back, in the background of a
// registry that runs, and by the command on one that runs or is stopped.
func TestCollect(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"background", "running", "stopped"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			b := harness.Start(t, harness.WithEnv("BERTH_COLLECT_LEASE=1s", "BERTH_COLLECT_QUARANTINE=1s", "BERTH_COLLECT_INTERVAL=1s",
				fmt.Sprint("BERTH_COLLECT_ENABLED=", how == "background")))
			const images, size = 8, 1 << 20
			kept, err := b.Push("alice/app", "kept", harness.NewSizedImage("k", "kept", size))
			if err != nil {
				t.Fatal(err)
			}
			for i := range images {
				d, err := b.Push("alice/app", "gone", harness.NewSizedImage("k", fmt.Sprint("gone", i), size))
				if err != nil {
					t.Fatal(err)
				}
				b.Must(t, http.StatusAccepted, http.MethodDelete, "/v2/alice/app/manifests/"+d, nil)
			}
			var status gcStatus
			if runGC(t, b, &status, "status"); !status.Running || status.Background != (how == "background") {
				t.Errorf("the status is %+v", status)
			}
			if how == "stopped" {
				time.Sleep(1100 * time.Millisecond) // time in which it does not run does not count
				b.Stop()
			}
			var freed int64
			for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
				if how != "background" {
					var report gcReport
					runGC(t, b, &report)
					freed += report.Freed.Unreferenced.Bytes
				}
				if runGC(t, b, &status, "status"); status.Uncollected == 0 {
					break
				}
				if how == "stopped" { // the time goes on while it runs
					b.Restart()
					time.Sleep(1100 * time.Millisecond)
					b.Stop()
				}
				if time.Now().After(deadline) {
					t.Fatalf("it does not go: %+v, log:\n%s", status, b.Log.String())
				}
			}
			if how != "background" && freed < images*size {
				t.Errorf("%d bytes were freed, want %d", freed, images*size)
			}
			if how == "stopped" {
				b.Restart()
			}
			wantRoom(t, b, 2*size)
			b.Must(t, http.StatusOK, http.MethodGet, "/v2/alice/app/manifests/"+kept, nil)
			if metrics := string(b.Get(t, "/metrics", "")); how == "background" &&
				(strings.Contains(metrics, `berth_collect_freed_bytes_total{reason="unreferenced"} 0`) || !strings.Contains(metrics, "berth_collect_removed_total{what=\"link\"}")) {
				t.Error("the metrics do not tell of it")
			}
		})
	}
}

// wantRoom waits until no more than so many bytes are taken below the folder of the
// images, but for the journal, whose size is its own.
func wantRoom(t *testing.T, b *harness.Berth, most int64) {
	t.Helper()
	journal := func(path string) bool { return strings.HasPrefix(filepath.Base(path), ".berth-journal") }
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(time.Second) {
		used := diskUse(t, filepath.Join(b.Data, "storage"), journal)
		if used <= most {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are taken, want %d at most", used, most)
		}
	}
}

// TestCollectDryRun: a dry run shows what goes, and leaves it; what clients may
// still need, neither takes.
func TestCollectDryRun(t *testing.T) {
	t.Parallel()
	b := harness.Start(t, harness.WithEnv("BERTH_COLLECT_ENABLED=false", "BERTH_COLLECT_LEASE=1s", "BERTH_COLLECT_QUARANTINE=0"))
	blob := []byte("nobody refers to it")
	if err := b.PushBlob("alice/app", blob); err != nil {
		t.Fatal(err)
	}
	var dry, real gcReport
	for deadline := time.Now().Add(time.Minute); len(dry.Going) == 0; {
		dry = gcReport{}
		runGC(t, b, &dry, "--dry-run")
		if time.Now().After(deadline) {
			t.Fatal("nothing would ever go")
		}
	}
	if !dry.DryRun || dry.Going[0].What != "link" || dry.Going[0].Digest != harness.Digest(blob) {
		t.Errorf("a dry run says %+v", dry)
	}
	b.Must(t, http.StatusOK, http.MethodGet, "/v2/alice/app/blobs/"+harness.Digest(blob), nil)
	if runGC(t, b, &real); real.Freed.Links != 1 || real.Freed.Unreferenced.Bytes != int64(len(blob)) {
		t.Errorf("a run says %+v", real)
	}
	b.Must(t, http.StatusNotFound, http.MethodGet, "/v2/alice/app/blobs/"+harness.Digest(blob), nil)
}
