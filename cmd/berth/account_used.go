package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/berth-oci/berth/catalog/bolt"
	"github.com/berth-oci/berth/config"
	"github.com/berth-oci/berth/registry/access"
	"github.com/berth-oci/berth/storage"
)

// usedBy says what an account's namespace holds: a berth that runs on the same
// configuration is asked, else the index is read. It is nil if neither is there.
func usedBy(ctx context.Context, c *config.Config, name string) (*usage, error) {
	if used := askUsed(ctx, c, name); used != nil {
		return used, nil
	}
	return readUsed(ctx, c, name)
}

// askUsed asks a running berth, by a token that only who can read its secret
// can make.
func askUsed(ctx context.Context, c *config.Config, name string) *usage {
	secret, err := keptSecret(c)
	if err != nil || secret == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	url := strings.TrimSuffix(readyURL(c), "/readyz") + "/v1/users/quotas"
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil
	}
	gate := access.NewGate(nil, access.GateOptions{Secret: []byte(secret)})
	r.Header.Set("Authorization", "Bearer "+gate.SignLocal(name))
	// The certificate is for the public name, and what is asked stays here.
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	response, err := client.Do(r)
	if err != nil {
		return nil
	}
	defer response.Body.Close()
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
	if response.StatusCode != http.StatusOK || json.NewDecoder(response.Body).Decode(&answer) != nil || len(answer.Data.Quotas) != 1 {
		return nil
	}
	used := answer.Data.Quotas[0].Used
	return &usage{Bytes: used.Bytes, Images: used.Images}
}

// readUsed reads the index, if nobody has it open.
func readUsed(ctx context.Context, c *config.Config, name string) (*usage, error) {
	if _, err := os.Stat(c.Catalog.Path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	section, err := c.DistributionStorage()
	if err != nil || section.Type() == "inmemory" {
		return nil, err
	}
	store, err := storage.Open(ctx, section.Type(), section.Parameters())
	if err != nil {
		return nil, err
	}
	index, err := bolt.Open(c.Catalog.Path, store.Identity())
	if err != nil {
		return nil, nil // in use, or of another place: not known
	}
	held, err := index.Usage(ctx, name)
	return &usage{Bytes: held.Bytes, Images: held.Images}, errors.Join(err, index.Close())
}
