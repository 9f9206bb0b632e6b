package main

import (
	"context"
	"errors"
	"path"
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
	section, err := c.DistributionStorage()
	if err != nil {
		return false, err
	}
	store, err := storage.Open(ctx, section.Type(), section.Parameters())
	if err != nil {
		return false, err
	}
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
