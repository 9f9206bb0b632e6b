package operation

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

// TestBadAccountsFile: while the accounts file is wrong, the metrics say so, and
// the accounts of before are in force.
func TestBadAccountsFile(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	alice := harness.AddAccount(t, b, "alice")
	path := filepath.Join(b.Data, "accounts.yaml")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	bad := func(want string) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			if got := harness.Metrics(t, b)["berth_accounts_file_bad"]; got == want {
				break
			} else if time.Now().After(deadline) {
				t.Fatalf("berth_accounts_file_bad is %q, want %s", got, want)
			}
		}
		alice.On(b).Must(t, http.StatusOK, http.MethodGet, "/v1/images", nil)
	}
	bad("0")
	for _, spoil := range []func() error{
		func() error { return os.WriteFile(path, []byte("accounts: ["), 0o600) },
		func() error { return os.Remove(path) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		bad("1")
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
		bad("0")
	}
}

// TestDiskMetrics: the disk is the one of the folder, and the index is as large
// as its file.
func TestDiskMetrics(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	info, err := os.Stat(filepath.Join(b.Data, "catalog.db"))
	if err != nil {
		t.Fatal(err)
	}
	m := harness.Metrics(t, b)
	number := func(name string) float64 {
		n, err := strconv.ParseFloat(m[name], 64)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return n
	}
	if size := number("berth_index_size_bytes"); size != float64(info.Size()) {
		t.Errorf("the index has %v bytes, want %d", size, info.Size())
	}
	free, size := number(`berth_disk_free_bytes{folder="data"}`), number(`berth_disk_size_bytes{folder="data"}`)
	if free <= 0 || free > size {
		t.Errorf("%v of %v bytes are free", free, size)
	}
}
