package operation

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// TestReload moves the log and the audit log away, as logrotate does, and
// tells berth.
func TestReload(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log, audit := filepath.Join(dir, "berth.log"), filepath.Join(dir, "audit.log")
	b := harness.Start(t, harness.WithArgs("--log-format", "json"), harness.WithEnv("BERTH_LOG_FILE="+log, "BERTH_AUDIT_FILE="+audit))
	push := func(tag string) {
		t.Helper()
		if _, err := b.Push("alice/app", tag, harness.NewImage("k", tag)); err != nil {
			t.Fatal(err)
		}
	}
	holds := func(path, text string) bool {
		content, _ := os.ReadFile(path)
		return strings.Contains(string(content), text)
	}
	push("first")
	for _, path := range []string{log, audit} {
		if err := os.Rename(path, path+".1"); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the log is not opened again", func() bool { return holds(log, "SIGHUP") })
	push("second")
	harness.Eventually(t, "the new log has no request", func() bool { return holds(log, "manifests/second") })
	if !holds(audit, `"tag":"second"`) || holds(audit, `"tag":"first"`) || !holds(audit+".1", `"tag":"first"`) || holds(audit+".1", `"tag":"second"`) {
		t.Error("the audit log is not split where it was moved")
	}
	if holds(log+".1", "manifests/second") || !holds(log+".1", "manifests/first") {
		t.Error("the log is not split where it was moved")
	}
	// What cannot be read leaves what was there in force, and says so.
	if err := os.WriteFile(filepath.Join(b.Data, "accounts.yaml"), []byte("accounts: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.Cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "a wrong accounts file is not reported", func() bool { return holds(log, "not all could be read again") })
	b.Must(t, http.StatusOK, http.MethodGet, "/readyz", nil)
	content, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		if !json.Valid([]byte(line)) {
			t.Errorf("no line of JSON: %s", line)
		}
	}
}
