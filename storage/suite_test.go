package storage_test

import (
	"testing"

	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"

	"github.com/berth-oci/berth/storage"
	_ "github.com/berth-oci/berth/storage/local"
	"github.com/berth-oci/berth/storage/storagetest"
)

func open(t *testing.T, kind string, parameters map[string]any) *storage.Store {
	t.Helper()
	s, err := storage.Open(t.Context(), kind, parameters)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFilesystem(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) *storage.Store {
		return open(t, "filesystem", map[string]any{"rootdirectory": t.TempDir()})
	})
}

func TestInMemory(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) *storage.Store { return open(t, "inmemory", nil) })
}
