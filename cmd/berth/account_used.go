package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/berth-oci/berth/catalog/bolt"
	"github.com/berth-oci/berth/config"
	"github.com/berth-oci/berth/storage"
)

// usedBy says what the namespaces of accounts hold: a berth that runs with the
// same configuration is asked, else the index is read. Where neither can be,
// unknown says why.
func usedBy(ctx context.Context, c *config.Config, names []string) (used map[string]usage, unknown string, err error) {
	if used := askUsed(ctx, c, names); used != nil {
		return used, "", nil
	}
	used, why, err := readUsed(ctx, c, names)
	if used == nil && err == nil {
		unknown = fmt.Sprintf("no berth with this data folder answers at %s, and %s", c.HTTP.Listen, why)
	}
	return used, unknown, err
}

// askUsed returns nil if nobody can be asked.
func askUsed(ctx context.Context, c *config.Config, names []string) map[string]usage {
	l := newLocal(c)
	if l == nil {
		return nil
	}
	all := make(map[string]usage, len(names))
	for _, name := range names {
		var answer struct {
			Data struct {
				Quotas []struct {
					Used struct {
						Bytes  int64 `json:"image_storage_bytes"`
						Images int64 `json:"images"`
					} `json:"used"`
				} `json:"quotas"`
			} `json:"data"`
		}
		if err := l.get(ctx, name, "/v1/users/quotas", &answer); err != nil || len(answer.Data.Quotas) != 1 {
			return nil
		}
		used := answer.Data.Quotas[0].Used
		all[name] = usage{Bytes: used.Bytes, Images: used.Images}
	}
	return all
}

// readUsed reads the index, if nobody has it open. It returns nil, and why, if
// it cannot be read.
func readUsed(ctx context.Context, c *config.Config, names []string) (all map[string]usage, why string, err error) {
	if _, err := os.Stat(c.Catalog.Path); errors.Is(err, fs.ErrNotExist) {
		return nil, "there is no index in " + c.Catalog.Path, nil
	}
	if where, _ := concerned(c); where == registryRunning || where == registryOther {
		return nil, "the index is in use by one that does not", nil
	}
	section, err := c.DistributionStorage()
	if err != nil {
		return nil, "", err
	}
	if section.Type() == "inmemory" {
		return nil, "its storage is in memory", nil
	}
	store, err := storage.Open(ctx, section.Type(), section.Parameters())
	if err != nil {
		return nil, "", err
	}
	defer store.Close()
	index, err := bolt.Open(c.Catalog.Path, store.Identity())
	if err != nil {
		return nil, "the index cannot be read: " + err.Error(), nil
	}
	all = make(map[string]usage, len(names))
	for _, name := range names {
		held, err := index.Usage(ctx, name)
		if err != nil {
			return nil, "", errors.Join(err, index.Close())
		}
		all[name] = usage{Bytes: held.Bytes, Images: held.Images}
	}
	return all, "", index.Close()
}
