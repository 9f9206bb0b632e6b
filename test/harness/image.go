package harness

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
)

// NewSizedImage is an image of which size bytes are its own.
func NewSizedImage(kernel, salt string, size int) Image {
	image := NewImage(kernel, salt)
	initrd := append([]byte("initrd "+salt), bytes.Repeat([]byte{'.'}, size)...)
	config := image.Blobs[2]
	manifest := ManifestOf(Describe(OCIConfig, config),
		Describe(OCILayer, image.Blobs[0]).Marked("org.unikraft.kernel.image", "/unikraft/bin/kernel"),
		Describe(OCILayer, initrd).Marked("org.unikraft.kernel.initrd", "/unikraft/bin/initrd"))
	return Image{[][]byte{image.Blobs[0], initrd, config}, manifest, IndexOf(Describe(OCIManifest, manifest))}
}

// NoDigest is well-formed, and that of nothing.
const NoDigest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

// Digest is the canonical digest of bytes: their SHA-256.
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Descriptor is a descriptor as it stands in manifests.
type Descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Platform    map[string]any    `json:"platform,omitempty"`
}

// Describe returns the descriptor of a content.
func Describe(mediaType string, content []byte) Descriptor {
	return Descriptor{MediaType: mediaType, Digest: Digest(content), Size: int64(len(content))}
}

// Marked returns the descriptor with one annotation.
func (d Descriptor) Marked(annotation, value string) Descriptor {
	d.Annotations = map[string]string{annotation: value}
	return d
}

// JSON encodes what is made of strings and numbers.
func JSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and numbers only
	}
	return data
}

// ManifestOf is a manifest of OCI.
func ManifestOf(config Descriptor, layers ...Descriptor) []byte {
	return JSON(map[string]any{"schemaVersion": 2, "mediaType": OCIManifest, "config": config, "layers": layers})
}

// IndexOf is an index of OCI.
func IndexOf(manifests ...Descriptor) []byte {
	return JSON(map[string]any{"schemaVersion": 2, "mediaType": OCIIndex, "manifests": manifests})
}

// Image is a unikernel of kernel and initrd, as kraft pushes it: an index
// with one manifest.
type Image struct {
	Blobs           [][]byte // kernel, initrd, config
	Manifest, Index []byte
}

// NewImage makes an image. Those with the same kernel share its layer; salt
// makes everything else its own.
func NewImage(kernel, salt string) Image {
	kernelLayer := []byte("kernel " + strings.Repeat(kernel, 1000))
	initrd := []byte("initrd " + salt)
	config := JSON(map[string]any{
		"created": "2026-01-02T03:04:05Z", "os": "kraftcloud", "architecture": "x86_64",
		"config": map[string]any{"Cmd": []string{"--", "/app", salt}, "Env": []string{"SALT=" + salt}, "Labels": map[string]string{"salt": salt}},
	})
	manifest := ManifestOf(Describe(OCIConfig, config),
		Describe(OCILayer, kernelLayer).Marked("org.unikraft.kernel.image", "/unikraft/bin/kernel"),
		Describe(OCILayer, initrd).Marked("org.unikraft.kernel.initrd", "/unikraft/bin/initrd"))
	child := Describe(OCIManifest, manifest)
	child.Platform = map[string]any{"os": "kraftcloud", "architecture": "x86_64"}
	return Image{[][]byte{kernelLayer, initrd, config}, manifest, IndexOf(child)}
}
