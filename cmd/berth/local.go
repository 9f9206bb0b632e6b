package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/berth-oci/berth/config"
	"github.com/berth-oci/berth/registry/access"
)

// localPatience is how long a berth on this machine may take to answer a
// question; what it is told to do may take longer.
const localPatience = 2 * time.Second

// local asks the berth that runs with the same configuration on this machine.
type local struct {
	base   string
	gate   *access.Gate
	client *http.Client
}

// newLocal returns nil if there is no secret, and so none has run.
func newLocal(c *config.Config) *local {
	secret, err := keptSecret(c)
	if err != nil || secret == "" {
		return nil
	}
	return &local{
		base: strings.TrimSuffix(readyURL(c), "/readyz"),
		gate: access.NewGate(nil, access.GateOptions{Secret: []byte(secret)}),
		// The certificate is for the public name, and what is asked stays here.
		client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}},
	}
}

// get asks as an account, by a token that only who can read berth's secret can
// make, and decodes the answer. An answer of 401 comes from another berth.
func (l *local) get(ctx context.Context, account, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, localPatience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, l.base+path, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+l.gate.SignLocal(account))
	response, err := l.client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", l.base, response.Status)
	}
	return json.NewDecoder(response.Body).Decode(into)
}

// repositories are those of an account's own namespace.
func (l *local) repositories(ctx context.Context, account string) (names []string, err error) {
	const most = 1000
	for last := account + "/"; ; {
		var page struct{ Repositories []string }
		if err := l.get(ctx, account, fmt.Sprintf("/v2/_catalog?n=%d&last=%s", most, url.QueryEscape(last)), &page); err != nil {
			return nil, err
		}
		for _, last = range page.Repositories {
			if strings.HasPrefix(last, account+"/") {
				names = append(names, last)
			}
		}
		if len(page.Repositories) < most {
			return names, nil
		}
	}
}

// clear deletes everything in a repository, by a token of its account. It is the
// one request that does so in one step.
func (l *local) clear(ctx context.Context, account, secret, repository string) error {
	path := "/api/v2.0/projects/" + account + "/repositories/" +
		strings.ReplaceAll(strings.TrimPrefix(repository, account+"/"), "/", "%252F")
	r, err := http.NewRequestWithContext(ctx, http.MethodDelete, l.base+path, nil)
	if err != nil {
		return err
	}
	r.SetBasicAuth(account, secret)
	response, err := l.client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK || response.StatusCode == http.StatusNotFound {
		return nil
	}
	message, _ := io.ReadAll(io.LimitReader(response.Body, 1024))
	return fmt.Errorf("%s: %s", response.Status, strings.TrimSpace(string(message)))
}
