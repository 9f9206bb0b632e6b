package operation

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// TestRestoredIndex puts a copy of the index back that is older than storage: berth
// notices it, and builds the index anew. What was numbered by the old one is to be
// listed again.
func TestRestoredIndex(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	index := filepath.Join(b.Data, "catalog.db")
	revision := func() string {
		return b.Must(t, http.StatusOK, http.MethodGet, "/v1/images", nil).Header.Get("Berth-Revision")
	}
	harness.PushSmall(t, b, "alice/app", "old", "2026-01-01T00:00:00Z", "v1")
	before := revision()
	b.Stop()
	copied, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	b.Restart()
	b.Must(t, http.StatusOK, http.MethodGet, "/v1/changes?since="+before, nil) // a restart changes nothing
	later := harness.PushSmall(t, b, "alice/app", "new", "2026-01-02T00:00:00Z", "v1")
	last := revision()
	b.Kill()
	if err := os.WriteFile(index, copied, 0o600); err != nil {
		t.Fatal(err)
	}
	b.Restart()
	if !strings.Contains(b.Log.String(), "built anew from storage") {
		t.Errorf("nobody says that the index is an old one:\n%s", b.Log)
	}
	if got, err := b.DigestOf("alice/app", "v1"); err != nil || got != later.Digest {
		t.Errorf("the tag is at %s, %v, want %s", got, err, later.Digest)
	}
	for _, r := range []string{before, last} {
		b.Must(t, http.StatusGone, http.MethodGet, "/v1/changes?since="+r, nil)
	}
	if now := revision(); strings.Split(now, ".")[0] == strings.Split(before, ".")[0] {
		t.Errorf("%s goes on from %s", now, before)
	}
	b.Stop()
	b.Restart()
	if strings.Contains(b.Log.String(), "built anew") {
		t.Errorf("an index that is its own is built again:\n%s", b.Log)
	}
}
