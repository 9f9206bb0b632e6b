// Package clients pushes and pulls with what people use: client libraries, skopeo,
// docker, and the programs that sign and attach.
package clients

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/regclient/regclient"
	"github.com/regclient/regclient/config"
	"github.com/regclient/regclient/types/ref"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"
	orasremote "oras.land/oras-go/v2/registry/remote"

	"github.com/berth-oci/berth/test/harness"
)

// library is an OCI client that others build on.
type library struct {
	name string
	// push copies an image of an OCI layout to a repository of berth.
	push func(t *testing.T, b *harness.Berth, layout, tag, repository string) error
	// pull copies an image, by its digest, from a repository into a new layout.
	pull func(t *testing.T, b *harness.Berth, repository, digest, layout string) error
	// believes says that it takes a descriptor's size for the truth.
	believes bool
}

var libraries = []library{
	{name: "go-containerregistry", push: harness.PushGGCR, pull: harness.PullGGCR},
	{name: "oras-go", push: pushORAS, pull: pullORAS, believes: true},
	{name: "regclient", push: pushRegclient, pull: pullRegclient},
}

// TestLibraries pushes every fixture with every client, compares what the API
// says in the very next request, and pulls it back by the digest it gave.
func TestLibraries(t *testing.T) {
	for _, c := range libraries {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := harness.Start(t)
			for _, f := range harness.Fixtures {
				t.Run(f.Name, func(t *testing.T) {
					repository := "alice/" + f.Name
					err := c.push(t, b, f.Dir(), f.Tag, repository)
					if f.Lies && c.believes {
						if !errors.Is(err, content.ErrTrailingData) {
							t.Errorf("got %v, want the client to find more bytes than the descriptor says", err)
						}
						harness.WantNoImage(t, b, "/v1/images", `{"tag":"`+repository+":"+f.Tag+`"}`)
						return
					}
					if err != nil {
						t.Fatal(err)
					}
					harness.WantFixture(t, b, f, repository, f.Tag)

					// A digest without a name is found in every repository.
					harness.WantImages(t, b, "/v1/images/list", `{"digest":"`+f.Digest+`"}`, f.V1(repository, f.Tag))
					harness.WantImages(t, b, "/v1/images", `{"digest":"`+f.Digest+`"}`, f.Current(b.Host, repository, f.Tag))

					name, digest := harness.DigestByTag(t, b, repository+":"+f.Tag)
					pulled := t.TempDir()
					if err := c.pull(t, b, name, digest, pulled); err != nil {
						t.Fatal(err)
					}
					harness.SameBlobs(t, pulled, f.Dir())
				})
			}
		})
	}
}

func orasRepository(t *testing.T, b *harness.Berth, repository string) *orasremote.Repository {
	t.Helper()
	r, err := orasremote.NewRepository(b.Host + "/" + repository)
	if err != nil {
		t.Fatal(err)
	}
	r.PlainHTTP = true
	r.Client = http.DefaultClient // no tokens, and no second try
	return r
}

func pushORAS(t *testing.T, b *harness.Berth, dir, tag, repository string) error {
	source, err := oci.NewFromFS(t.Context(), os.DirFS(dir))
	if err != nil {
		return err
	}
	_, err = oras.Copy(t.Context(), source, tag, orasRepository(t, b, repository), tag, oras.DefaultCopyOptions)
	return err
}

func pullORAS(t *testing.T, b *harness.Berth, repository, digest, dir string) error {
	target, err := oci.New(dir)
	if err != nil {
		return err
	}
	_, err = oras.Copy(t.Context(), orasRepository(t, b, repository), digest, target, "", oras.DefaultCopyOptions)
	return err
}

func copyRegclient(t *testing.T, b *harness.Berth, from, to string) error {
	rc := regclient.New(regclient.WithConfigHost(config.Host{Name: b.Host, TLS: config.TLSDisabled}))
	source, err := ref.New(from)
	if err != nil {
		return err
	}
	target, err := ref.New(to)
	if err != nil {
		return err
	}
	return errors.Join(rc.ImageCopy(t.Context(), source, target), rc.Close(t.Context(), source), rc.Close(t.Context(), target))
}

func pushRegclient(t *testing.T, b *harness.Berth, dir, tag, repository string) error {
	// It keeps house in a layout, also in one that it only reads.
	own := filepath.Join(t.TempDir(), "layout")
	if err := os.CopyFS(own, os.DirFS(dir)); err != nil {
		return err
	}
	return copyRegclient(t, b, "ocidir://"+own+":"+tag, b.Host+"/"+repository+":"+tag)
}

func pullRegclient(t *testing.T, b *harness.Berth, repository, digest, dir string) error {
	return copyRegclient(t, b, b.Host+"/"+repository+"@"+digest, "ocidir://"+dir+":pulled")
}
