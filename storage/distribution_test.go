package storage_test

import (
	"flag"
	"testing"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/testsuites"
)

// TestDistribution runs distribution's own suite for drivers on local files as
// berth makes them durable. Its long form writes 5 GB, so this is the short one,
// and without TestStatCall, which sleeps for 15 seconds: storagetest stats files
// and folders as well.
func TestDistribution(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: writes some hundred megabytes")
	}
	for name, value := range map[string]string{"test.short": "true", "testify.m": "^Test([^S]|S[^t])"} {
		before := flag.Lookup(name).Value.String()
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := flag.Set(name, before); err != nil {
				t.Error(err)
			}
		})
	}
	s := open(t, "filesystem", map[string]any{"rootdirectory": t.TempDir()})
	testsuites.Driver(t, func() (storagedriver.StorageDriver, error) { return s.Driver(), nil }, false)
}
