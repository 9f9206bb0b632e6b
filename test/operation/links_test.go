package operation

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// TestOutwardLink moves a part of the storage elsewhere and links to it: berth
// does not start as if there were nothing, and says which link it is. With the
// part back in place, all is there.
func TestOutwardLink(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	digest, err := b.Push("alice/app", "v1", harness.NewImage("k", "linked"))
	if err != nil {
		t.Fatal(err)
	}
	b.Stop()
	folder, away := filepath.Join(b.Data, "storage", "docker"), filepath.Join(t.TempDir(), "docker")
	if err := os.Rename(folder, away); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(away, folder); err != nil {
		t.Fatal(err)
	}
	_, stderr, code := harness.CommandLine(t, nil, "serve", "--data", b.Data, "--listen", harness.FreeAddress(t))
	if code != 1 || !strings.Contains(stderr, "the symbolic link "+folder+" leads to "+away) {
		t.Errorf("exit status %d: %s", code, stderr)
	}
	if err := os.Remove(folder); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(away, folder); err != nil {
		t.Fatal(err)
	}
	b.Restart()
	b.Must(t, http.StatusOK, http.MethodGet, "/v2/alice/app/manifests/"+digest, nil)
}
