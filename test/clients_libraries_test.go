package test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	ggcrname "github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/regclient/regclient"
	"github.com/regclient/regclient/config"
	"github.com/regclient/regclient/types/ref"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"
	orasremote "oras.land/oras-go/v2/registry/remote"
)

// clientLibrary is an OCI client that others build on.
type clientLibrary struct {
	name string
	// push copies an image of an OCI layout to a repository of berth.
	push func(t *testing.T, b *Berth, layout, tag, repository string) error
	// pull copies an image, by its digest, from a repository into a new layout.
	pull func(t *testing.T, b *Berth, repository, digest, layout string) error
	// believes says that it takes a descriptor's size for the truth.
	believes bool
}

var clientLibraries = []clientLibrary{
	{name: "go-containerregistry", push: pushGGCR, pull: pullGGCR},
	{name: "oras-go", push: pushORAS, pull: pullORAS, believes: true},
	{name: "regclient", push: pushRegclient, pull: pullRegclient},
}

// TestClients pushes every fixture with every client, compares what the API
// says in the very next request, and pulls it back by the digest it gave.
func TestClients(t *testing.T) {
	for _, c := range clientLibraries {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			for _, f := range fixtures {
				t.Run(f.name, func(t *testing.T) {
					repository := "alice/" + f.name
					err := c.push(t, b, f.dir(), f.tag, repository)
					if f.lies && c.believes {
						if !errors.Is(err, content.ErrTrailingData) {
							t.Errorf("got %v, want the client to find more bytes than the descriptor says", err)
						}
						wantNoImage(t, b, "/v1/images", `{"tag":"`+repository+":"+f.tag+`"}`)
						return
					}
					if err != nil {
						t.Fatal(err)
					}
					wantFixture(t, b, f, repository, f.tag)

					// A digest without a name is found in every repository.
					wantImages(t, b, "/v1/images/list", `{"digest":"`+f.digest+`"}`, f.v1(repository, f.tag))
					wantImages(t, b, "/v1/images", `{"digest":"`+f.digest+`"}`, f.current(b.Host, repository, f.tag))

					name, digest := digestByTag(t, b, repository+":"+f.tag)
					pulled := t.TempDir()
					if err := c.pull(t, b, name, digest, pulled); err != nil {
						t.Fatal(err)
					}
					sameBlobs(t, pulled, f.dir())
				})
			}
		})
	}
}

// indexOf returns the index that a tag of a layout names.
func indexOf(t *testing.T, dir, tag string) ggcr.ImageIndex {
	t.Helper()
	all, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := all.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range manifest.Manifests {
		if m.Annotations["org.opencontainers.image.ref.name"] == tag {
			index, err := all.ImageIndex(m.Digest)
			if err != nil {
				t.Fatal(err)
			}
			return index
		}
	}
	t.Fatalf("%s has no tag %s", dir, tag)
	return nil
}

// ggcrRef names an image of berth: alice/app:tag or alice/app@sha256:…
func ggcrRef(t *testing.T, b *Berth, image string) ggcrname.Reference {
	t.Helper()
	r, err := ggcrname.ParseReference(b.Host + "/" + image)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func pushGGCR(t *testing.T, b *Berth, dir, tag, repository string) error {
	return remote.WriteIndex(ggcrRef(t, b, repository+":"+tag), indexOf(t, dir, tag), remote.WithContext(t.Context()))
}

func pullGGCR(t *testing.T, b *Berth, repository, digest, dir string) error {
	index, err := remote.Index(ggcrRef(t, b, repository+"@"+digest), remote.WithContext(t.Context()))
	if err != nil {
		return err
	}
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	return path.AppendIndex(index)
}

func orasRepository(t *testing.T, b *Berth, repository string) *orasremote.Repository {
	t.Helper()
	r, err := orasremote.NewRepository(b.Host + "/" + repository)
	if err != nil {
		t.Fatal(err)
	}
	r.PlainHTTP = true
	r.Client = http.DefaultClient // no tokens, and no second try
	return r
}

func pushORAS(t *testing.T, b *Berth, dir, tag, repository string) error {
	source, err := oci.NewFromFS(t.Context(), os.DirFS(dir))
	if err != nil {
		return err
	}
	_, err = oras.Copy(t.Context(), source, tag, orasRepository(t, b, repository), tag, oras.DefaultCopyOptions)
	return err
}

func pullORAS(t *testing.T, b *Berth, repository, digest, dir string) error {
	target, err := oci.New(dir)
	if err != nil {
		return err
	}
	_, err = oras.Copy(t.Context(), orasRepository(t, b, repository), digest, target, "", oras.DefaultCopyOptions)
	return err
}

func copyRegclient(t *testing.T, b *Berth, from, to string) error {
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

func pushRegclient(t *testing.T, b *Berth, dir, tag, repository string) error {
	// It keeps house in a layout, also in one that it only reads.
	own := filepath.Join(t.TempDir(), "layout")
	if err := os.CopyFS(own, os.DirFS(dir)); err != nil {
		return err
	}
	return copyRegclient(t, b, "ocidir://"+own+":"+tag, b.Host+"/"+repository+":"+tag)
}

func pullRegclient(t *testing.T, b *Berth, repository, digest, dir string) error {
	return copyRegclient(t, b, b.Host+"/"+repository+"@"+digest, "ocidir://"+dir+":pulled")
}
