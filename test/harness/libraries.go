package harness

import (
	"testing"

	ggcrname "github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// LayoutIndex returns the index that a tag of a layout names.
func LayoutIndex(t *testing.T, dir, tag string) ggcr.ImageIndex {
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

// GGCRRef names an image of berth: alice/app:tag or alice/app@sha256:…
func GGCRRef(t *testing.T, b *Berth, image string) ggcrname.Reference {
	t.Helper()
	r, err := ggcrname.ParseReference(b.Host + "/" + image)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// PushGGCR pushes an image of an OCI layout by its tag, with go-containerregistry.
func PushGGCR(t *testing.T, b *Berth, dir, tag, repository string) error {
	return remote.WriteIndex(GGCRRef(t, b, repository+":"+tag), LayoutIndex(t, dir, tag), remote.WithContext(t.Context()))
}

// PullGGCR pulls an image by its digest into an OCI layout that it makes.
func PullGGCR(t *testing.T, b *Berth, repository, digest, dir string) error {
	index, err := remote.Index(GGCRRef(t, b, repository+"@"+digest), remote.WithContext(t.Context()))
	if err != nil {
		return err
	}
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	return path.AppendIndex(index)
}
