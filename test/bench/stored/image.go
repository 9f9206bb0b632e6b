// Package stored makes berths that hold many images, without a push: their
// index through the package that keeps it, or their storage as files.
package stored

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
)

// PerRepository is how many images are in a repository, and as many
// repositories are in a namespace. The last repository is alone in its
// namespace: Ten.
const PerRepository = 10

// Ten is a repository with PerRepository images, alone in its namespace.
const Ten = "ten/app"

// Image is one of the images that a store of a size holds.
type Image struct {
	Repository, Tag string
	Digest          digest.Digest

	number int
}

// UUID is how the images API names the image.
func (i Image) UUID() string { return index.ImageUUID(i.Repository, i.Digest).String() }

// Of is the n-th of the images of a store.
func Of(images, n int) Image {
	i := place(images, n)
	i.Digest = contentOf(n).index.Digest
	return i
}

func place(images, n int) Image {
	r := n / PerRepository
	i := Image{Repository: fmt.Sprintf("ns%05d/app%d", r/PerRepository, r%PerRepository), Tag: fmt.Sprintf("v%d", n%PerRepository), number: n}
	if n >= images-PerRepository {
		i.Repository = Ten
	}
	return i
}

// content is all of one image. Kernels are shared by the images of a number of
// repositories, as those of one version of a kernel are.
type content struct {
	kernel, initrd, config blob
	manifest, index        image.Manifest
}

type blob struct {
	digest digest.Digest
	size   int64
	bytes  []byte
}

func newBlob(content []byte) blob {
	return blob{digest.FromBytes(content), int64(len(content)), content}
}

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	indexType    = "application/vnd.oci.image.index.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar"
	perKernel    = 1000
)

// created is when the first of the images was made; each is a minute younger.
var created = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

type object map[string]any

func contentOf(n int) content {
	at := created.Add(time.Duration(n) * time.Minute)
	c := content{
		kernel: newBlob(fmt.Appendf(nil, "kernel %d", n/perKernel)),
		initrd: newBlob(fmt.Appendf(nil, "initrd %d", n)),
		config: newBlob(encode(object{
			"created": at.Format(time.RFC3339), "os": "kraftcloud", "architecture": "x86_64",
			"config": object{
				"Cmd":    []string{"/server", "--port", "8080", fmt.Sprintf("--number=%d", n)},
				"Env":    []string{"MODE=prod", "PORT=8080"},
				"Labels": object{"owner": "benchmark"},
			},
		})),
	}
	c.manifest = manifest(object{
		"schemaVersion": 2, "mediaType": manifestType, "config": c.config.descriptor(configType),
		"layers": []object{
			c.kernel.descriptor(layerType, "org.unikraft.kernel.image", "/unikraft/bin/kernel"),
			c.initrd.descriptor(layerType, "org.unikraft.kernel.initrd", "/unikraft/bin/initrd"),
		},
	}, at)
	child := newBlob(c.manifest.Bytes).descriptor(manifestType)
	child["platform"] = object{"os": "kraftcloud", "architecture": "x86_64"}
	c.index = manifest(object{"schemaVersion": 2, "mediaType": indexType, "manifests": []object{child}}, at)
	return c
}

func manifest(v object, at time.Time) image.Manifest {
	content := encode(v)
	return image.Manifest{Digest: digest.FromBytes(content), Bytes: content, Modified: at}
}

func (b blob) descriptor(mediaType string, annotation ...string) object {
	d := object{"mediaType": mediaType, "digest": b.digest, "size": b.size}
	if len(annotation) == 2 {
		d["annotations"] = object{annotation[0]: annotation[1]}
	}
	return d
}

func encode(v object) []byte {
	content, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and numbers only
	}
	return content
}

func (c content) blobs() []blob { return []blob{c.kernel, c.initrd, c.config} }

// Manifest implements image.Content.
func (c content) Manifest(_ context.Context, d digest.Digest) (image.Manifest, error) {
	if d == c.manifest.Digest {
		return c.manifest, nil
	}
	return image.Manifest{}, storage.ErrNotFound
}

// Size implements image.Content.
func (c content) Size(_ context.Context, d digest.Digest) (int64, error) {
	for _, b := range c.blobs() {
		if b.digest == d {
			return b.size, nil
		}
	}
	return 0, storage.ErrNotFound
}

// Open implements image.Content.
func (c content) Open(_ context.Context, d digest.Digest) (io.ReadSeekCloser, error) {
	for _, b := range c.blobs() {
		if b.digest == d {
			return opened{bytes.NewReader(b.bytes)}, nil
		}
	}
	return nil, storage.ErrNotFound
}

type opened struct{ *bytes.Reader }

// Close implements io.Closer.
func (opened) Close() error { return nil }
