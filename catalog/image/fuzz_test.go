package image_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
)

// FuzzDescribe reads any manifest, config and layer. In the manifest, CONFIG
// and LAYER stand for their digests.
func FuzzDescribe(f *testing.F) {
	config := `{"created":"2026-07-01T12:00:00Z","os":"fc","config":{"Env":["A=1"],"Cmd":["a.b=[","]","--","x y"],"Labels":{"a":"b"}}}`
	kernel := tarOf(dir("unikraft/"), reg("unikraft/bin/kernel"), reg("/unikraft/bin/initrd"))
	for _, manifest := range []string{
		`{"mediaType":"` + ociManifest + `","config":{"digest":"CONFIG"},"layers":[{"mediaType":"` + ociTar + `","digest":"LAYER"}]}`,
		`{"config":{"digest":"CONFIG"},"layers":[{"mediaType":"` + romType + `","digest":"LAYER"},{"digest":"CONFIG"}]}`,
		`{"layers":[{"digest":"LAYER","annotations":{"org.unikraft.kernel.image":"x","org.unikraft.kernel.initrd":"y"}}],"Layers":[{}]}`,
		`{"manifests":[{"digest":"CONFIG","platform":{"os":"xen"}},{"digest":"LAYER"}],"annotations":{"org.opencontainers.image.created":"2026-07-01T12:00:00Z"}}`,
		`{"mediaType":"x","layers":{},"manifests":[7]}`,
	} {
		for _, layer := range [][]byte{kernel, gzipped(kernel), zstded(kernel), tarOf(reg("bin/sh"))} {
			f.Add([]byte(manifest), []byte(config), layer)
		}
	}
	f.Fuzz(func(t *testing.T, manifest, config, layer []byte) {
		c := newContent()
		manifest = bytes.ReplaceAll(manifest, []byte("CONFIG"), []byte(c.blob(config)))
		manifest = bytes.ReplaceAll(manifest, []byte("LAYER"), []byte(c.blob(layer)))
		bare := c.manifest(manifest)
		// The same bytes as the child of an index, beside one of the layer's.
		index := c.index(
			desc(ociManifest, bare.Digest),
			desc(ociManifest, c.manifest(layer).Digest, on("qemu", "arm64")))
		for _, m := range []image.Manifest{bare, index} {
			checkDescription(t, c, m)
		}
	})
}

func checkDescription(t *testing.T, c *memContent, m image.Manifest) {
	t.Helper()
	start := time.Now()
	d := describe(t, c, m)
	inTime(t, time.Since(start), 5*time.Second)
	first, err := json.Marshal(d)
	if err != nil {
		t.Fatalf("not to be stored: %v", err)
	}
	memory := newMemory()
	for range 2 {
		again, err := whole(t.Context(), m, c, memory)
		if b, _ := json.Marshal(again); err != nil || !bytes.Equal(b, first) {
			t.Errorf("first %s\nthen %s, %v", first, b, err)
		}
	}
	if d.Digest != m.Digest || d.Size != int64(len(m.Bytes)) {
		t.Errorf("digest %s and size %d of %d bytes", d.Digest, d.Size, len(m.Bytes))
	}
	for _, blob := range d.Blobs {
		if blob.Size < 0 || blob.Digest.Validate() != nil {
			t.Errorf("blob %+v", blob)
		}
	}
	for _, child := range d.Children {
		if child.Validate() != nil {
			t.Errorf("child %q", child)
		}
	}
	if d.Image != nil {
		checkImage(t, d.Image)
	}
}

func checkImage(t *testing.T, img *image.Image) {
	t.Helper()
	if len(img.Platforms) == 0 {
		t.Error("an image without platforms")
	}
	if !img.Kernel && !img.Initrd && !img.ROM {
		t.Error("an image without a part to boot")
	}
	if img.Created.Location() != time.UTC || img.Size < 0 {
		t.Errorf("created %v, size %d", img.Created, img.Size)
	}
	for _, p := range img.Platforms {
		if p.ROMs == nil || p.Size < 0 || p.Digest.Validate() != nil {
			t.Errorf("platform %+v", p)
		}
		var sum int64
		seen := map[digest.Digest]bool{}
		parts := append([]image.Part{}, p.ROMs...)
		for _, part := range []*image.Part{p.Kernel, p.Initrd} {
			if part != nil {
				parts = append(parts, *part)
			}
		}
		for _, part := range parts {
			if !seen[part.Digest] {
				seen[part.Digest] = true
				sum += part.Size
			}
		}
		if sum > p.Size {
			t.Errorf("parts of %d bytes in layers of %d", sum, p.Size)
		}
	}
}
