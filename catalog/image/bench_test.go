package image_test

import (
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
)

// benchManifests are what Describe and Parse are measured with.
func benchManifests(b *testing.B) map[string]struct {
	content  *memContent
	manifest image.Manifest
} {
	b.Helper()
	type given = struct {
		content  *memContent
		manifest image.Manifest
	}
	hello, index := layout(b, "kraft-hello")
	child, err := hello.Manifest(b.Context(), sha+"6e6acb6540d44e40cdd89f82c8146a2d78e5d98c6816cb0d7ca2da381b0bb110")
	if err != nil {
		b.Fatal(err)
	}
	large := newContent()
	var layers []object
	for i := range 10_000 {
		layers = append(layers, desc(ociTar, large.blob(fmt.Append(nil, "layer ", i)), kernelMark))
	}
	signed := newContent()
	annotations := object{"dev.sigstore.bundle": "x", "org.opencontainers.image.created": "2026-07-01T12:00:00Z"}
	signature := signed.manifest(object{
		"schemaVersion": 2, "mediaType": ociManifest, "artifactType": "application/vnd.example.signature",
		"config":      desc("application/vnd.oci.empty.v1+json", signed.blob([]byte("{}"))),
		"layers":      []object{desc("application/vnd.example.bundle", signed.blob([]byte("bundle")))},
		"subject":     desc(ociManifest, digest.FromString("subject")),
		"annotations": annotations,
	})
	return map[string]given{
		"index":         {hello, index},
		"manifest":      {hello, child},
		"referrer":      {signed, signature},
		"10,000 layers": {large, large.image(object{}, layers...)},
	}
}

func BenchmarkDescribe(b *testing.B) {
	for name, given := range benchManifests(b) {
		b.Run(name, func(b *testing.B) {
			memory := newMemory()
			b.ReportAllocs()
			b.SetBytes(int64(len(given.manifest.Bytes)))
			for b.Loop() {
				if _, err := whole(b.Context(), given.manifest, given.content, memory); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	for name, given := range benchManifests(b) {
		body := given.manifest.Bytes
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if _, err := image.Parse(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkMediaType(b *testing.B) {
	for name, given := range benchManifests(b) {
		body := given.manifest.Bytes
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if image.MediaType(body) == "" {
					b.Fatal("no media type")
				}
			}
		})
	}
}
