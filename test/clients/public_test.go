package clients

import (
	"slices"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/regclient/regclient"
	"github.com/regclient/regclient/config"

	"github.com/berth-oci/berth/test/harness"
)

// TestPublicRepository pulls and lists with each client library, without an account,
// what is published; and lists with one, whose client only shows it when it is
// challenged.
func TestPublicRepository(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	alice := harness.AddAccount(t, b, "alice")
	f := harness.FixtureNamed(t, "kraft-hello")
	other := harness.FixtureNamed(t, "unikraft-rom")
	for _, repository := range []string{"alice/hello", "alice/secret"} {
		if err := pushGGCRAs(t, b, alice, f.Dir(), f.Tag, repository); err != nil {
			t.Fatal(err)
		}
	}
	harness.AccountCommand(t, b, nil, "publish", "alice/hello")
	for _, c := range libraries {
		pulled := t.TempDir()
		if err := c.pull(t, b, "alice/hello", f.Digest, pulled); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		harness.SameBlobs(t, pulled, f.Dir())
		if err := c.pull(t, b, "alice/secret", f.Digest, t.TempDir()); err == nil {
			t.Errorf("%s pulls what is not public", c.name)
		}
		if err := c.push(t, b, other.Dir(), other.Tag, "alice/hello"); err == nil {
			t.Errorf("%s pushes to what is public", c.name)
		}
	}

	registry, err := name.NewRegistry(b.Host, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		who  harness.Account
		want []string
	}{{harness.Account{}, []string{"alice/hello"}}, {alice, []string{"alice/hello", "alice/secret"}}} {
		options := []remote.Option{remote.WithContext(t.Context())}
		host := config.Host{Name: b.Host, TLS: config.TLSDisabled}
		if test.who.Name != "" {
			options = ggcrAs(t.Context(), test.who)
			host.User, host.Pass = test.who.Name, test.who.Secret
		}
		if got, err := remote.Catalog(t.Context(), registry, options...); err != nil || !slices.Equal(got, test.want) {
			t.Errorf("go-containerregistry as %q lists %q, %v", test.who.Name, got, err)
		}
		list, err := regclient.New(regclient.WithConfigHost(host)).RepoList(t.Context(), b.Host)
		if err != nil {
			t.Errorf("regclient as %q: %v", test.who.Name, err)
			continue
		}
		if got, err := list.GetRepos(); err != nil || !slices.Equal(got, test.want) {
			t.Errorf("regclient as %q lists %q, %v", test.who.Name, got, err)
		}
	}
}
