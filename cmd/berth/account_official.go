package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"

	"github.com/berth-oci/berth/config"
	"github.com/berth-oci/berth/storage"
	"github.com/berth-oci/berth/storage/reference"
)

// officialFolder reports whether official images lie below a folder of that name,
// official/<name>/…, by looking into storage. An image official/<name> alone is
// no folder. What is in memory is only known to the berth that runs.
func officialFolder(ctx context.Context, c *config.Config, name string) (bool, error) {
	if c.Storage.Driver == "inmemory" {
		return false, nil
	}
	if root := storageRoot(c); root != "" {
		return folderIn(filepath.Join(root, "docker/registry/v2/repositories", reference.Long(name)))
	}
	section, err := c.DistributionStorage()
	if err != nil {
		return false, err
	}
	store, err := storage.Open(ctx, section.Type(), section.Parameters())
	if err != nil {
		return false, err
	}
	defer store.Close()
	found, err := store.Driver().List(ctx, "/docker/registry/v2/repositories/"+reference.Long(name))
	if errors.As(err, new(storagedriver.PathNotFoundError)) {
		return false, nil
	}
	for _, p := range found {
		// _manifests, _layers and _uploads are the repository's own.
		if !strings.HasPrefix(path.Base(p), "_") {
			return true, nil
		}
	}
	return false, err
}

// folderIn is officialFolder of local files, which are looked at as they lie there:
// a driver that is opened beside the one of a running berth would take what that
// is writing for what an earlier one has left, and remove it.
func folderIn(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "_") {
			return true, nil
		}
	}
	return false, err
}
