package load

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
)

// The media types of what is pushed.
const (
	ManifestType = "application/vnd.oci.image.manifest.v1+json"
	IndexType    = "application/vnd.oci.image.index.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar"
)

// Image is a unikernel as kraft pushes it: an index with one manifest, of a
// kernel, an initrd and a config.
type Image struct {
	Kernel, Initrd, Config Blob
	Manifest, Index        Blob
}

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Platform    map[string]string `json:"platform,omitempty"`
}

func describe(mediaType string, b Blob) descriptor {
	return descriptor{MediaType: mediaType, Digest: b.Digest, Size: b.Size}
}

// NewImage is an image of these layers, with a config of its own.
func NewImage(kernel, initrd Blob) Image {
	i := Image{Kernel: kernel, Initrd: initrd}
	i.Config = encode(map[string]any{
		"created": "2026-01-02T03:04:05Z", "os": "kraftcloud", "architecture": "x86_64",
		"config": map[string]any{
			"Cmd":    []string{"/server", "--port", "8080", fmt.Sprintf("--number=%016x", rand.Uint64())},
			"Env":    []string{"MODE=prod", "PORT=8080"},
			"Labels": map[string]string{"owner": "benchmark"},
		},
	})
	k, d := describe(layerType, kernel), describe(layerType, initrd)
	k.Annotations = map[string]string{"org.unikraft.kernel.image": "/unikraft/bin/kernel"}
	d.Annotations = map[string]string{"org.unikraft.kernel.initrd": "/unikraft/bin/initrd"}
	i.Manifest = encode(map[string]any{
		"schemaVersion": 2, "mediaType": ManifestType,
		"config": describe(configType, i.Config), "layers": []descriptor{k, d},
	})
	child := describe(ManifestType, i.Manifest)
	child.Platform = map[string]string{"os": "kraftcloud", "architecture": "x86_64"}
	i.Index = encode(map[string]any{"schemaVersion": 2, "mediaType": IndexType, "manifests": []descriptor{child}})
	return i
}

// encode is the JSON of what is made of strings and numbers.
func encode(v any) Blob {
	content, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and numbers only
	}
	return Bytes(content)
}

// Blobs are the image's blobs.
func (i Image) Blobs() []Blob { return []Blob{i.Kernel, i.Initrd, i.Config} }
