package clients

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/berth-oci/berth/test/harness"
)

// TestImageLibrary pushes as the unikraft CLI's image library does: the child
// to the tag first, then the index to the same tag.
func TestImageLibrary(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	f := harness.FixtureNamed(t, "unikraft-http-python312")
	const repository = "alice/python"
	index := harness.LayoutIndex(t, f.Dir(), f.Tag)
	child := childOf(t, index, f.Platforms[0].Digest)
	latest := harness.GGCRRef(t, b, repository+":latest")

	if err := remote.Write(latest, child, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	harness.WantAll(t, b, f.Child().V1(repository, "latest"))
	harness.WantFixture(t, b, f.Child(), repository, "latest")

	if err := remote.WriteIndex(latest, index, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	harness.WantAll(t, b, f.V1(repository, "latest"))
	harness.WantFixture(t, b, f, repository, "latest")
	// The child is part of the index now, and still found by its own digest.
	bare := f.Child()
	for _, body := range []string{`{"digest":"` + repository + "@" + bare.Digest + `"}`, `{"digest":"` + bare.Digest + `"}`} {
		harness.WantImages(t, b, "/v1/images/list", body, bare.V1(repository))
		harness.WantImages(t, b, "/v1/images", body, bare.Current(b.Host, repository))
	}

	// With a tag of its own, it is an image of its own, as long as it has it.
	if err := remote.Put(harness.GGCRRef(t, b, repository+":child"), child, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	harness.WantFixture(t, b, bare, repository, "child")
	harness.WantFixture(t, b, f, repository, "latest")
	if a := harness.AskImages(t, b, "/v1/images/list", ""); len(a.Data.Images) != 2 {
		t.Errorf("want the index and its tagged child, got %s", a.Raw)
	}
	if err := remote.Delete(harness.GGCRRef(t, b, repository+":child"), remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	harness.WantAll(t, b, f.V1(repository, "latest"))
}

func childOf(t *testing.T, index ggcr.ImageIndex, digest string) ggcr.Image {
	t.Helper()
	hash, err := ggcr.NewHash(digest)
	if err != nil {
		t.Fatal(err)
	}
	child, err := index.Image(hash)
	if err != nil {
		t.Fatal(err)
	}
	return child
}

// TestNotListed stores what is no unikernel: it is pulled like anywhere else,
// and no image of the API.
func TestNotListed(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	const ociManifest = "application/vnd.oci.image.manifest.v1+json"
	const ociConfig = "application/vnd.oci.image.config.v1+json"
	rootfs := gzipped(t, tarOf(t, "bin/sh", "#!", "etc/passwd", "root:x:0:0", "usr/lib/os-release", "ID=debian"))
	pushed := map[string]harness.Descriptor{}
	for _, test := range []struct {
		name           string
		config, layer  []byte
		configType     string
		layerType      string
		artifactType   string
		subject        string // which of these it refers to
		annotations    map[string]string
		dockerManifest bool
	}{
		{
			name: "container", config: []byte(`{"architecture":"amd64","os":"linux","config":{"Cmd":["/bin/sh"]}}`), configType: ociConfig,
			layer: rootfs, layerType: harness.TarLayer + "+gzip",
		},
		{
			name: "docker", config: []byte(`{"architecture":"arm64","os":"linux","config":{"Cmd":["/bin/sh"]}}`),
			configType: "application/vnd.docker.container.image.v1+json",
			layer:      rootfs, layerType: "application/vnd.docker.image.rootfs.diff.tar.gzip", dockerManifest: true,
		},
		{
			name: "helm", config: []byte(`{"name":"chart","version":"0.1.0"}`), configType: "application/vnd.cncf.helm.config.v1+json",
			layer: gzipped(t, tarOf(t, "chart/Chart.yaml", "name: chart")), layerType: "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
		},
		{
			name: "signature", config: []byte(`{"architecture":"","os":"","rootfs":{"type":"layers","diff_ids":[]},"config":{}}`), configType: ociConfig,
			layer: []byte(`{"critical":{"type":"cosign container image signature"}}`), layerType: "application/vnd.dev.cosign.simplesigning.v1+json",
			annotations: map[string]string{"dev.cosignproject.cosign/signature": "MEUCIQ"},
		},
		{
			name: "sbom", config: []byte(`{}`), configType: "application/vnd.oci.empty.v1+json", artifactType: "application/spdx+json",
			layer: []byte(`{"spdxVersion":"SPDX-2.3"}`), layerType: "application/spdx+json", subject: "container",
		},
	} {
		repository := "alice/" + test.name
		if test.subject != "" {
			repository = "alice/" + test.subject
		}
		mediaType := ociManifest
		if test.dockerManifest {
			mediaType = "application/vnd.docker.distribution.manifest.v2+json"
		}
		m := map[string]any{
			"schemaVersion": 2, "mediaType": mediaType,
			"config": b.PutBlob(t, repository, test.configType, test.config),
			"layers": []any{b.PutBlob(t, repository, test.layerType, test.layer)},
		}
		if test.artifactType != "" {
			m["artifactType"] = test.artifactType
		}
		if test.annotations != nil {
			m["annotations"] = test.annotations
		}
		if test.subject != "" {
			m["subject"] = pushed[test.subject]
		}
		content, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		digest := b.PutManifest(t, repository, test.name, mediaType, content)
		pushed[test.name] = harness.Describe(mediaType, content)

		harness.WantAll(t, b)
		harness.WantImages[harness.EntryCurrent](t, b, "/v1/images", "")
		harness.WantNoImage(t, b, "/v1/images/list", `{"digest":"`+repository+"@"+digest+`"}`)
		harness.WantNoImage(t, b, "/v1/images", `{"digest":"`+digest+`"}`)
		harness.WantNoImage(t, b, "/v1/images", `{"tag":"`+repository+":"+test.name+`"}`)
		harness.WantNoImage(t, b, "/v1/images?uuid="+harness.UUIDOf(repository, digest), "")
		for _, ref := range []string{test.name, digest} {
			if got := b.Get(t, "/v2/"+repository+"/manifests/"+ref, mediaType); !bytes.Equal(got, content) {
				t.Errorf("%s: pulled another manifest", ref)
			}
		}
		if got := b.Get(t, "/v2/"+repository+"/blobs/"+harness.Digest(test.layer), ""); !bytes.Equal(got, test.layer) {
			t.Errorf("%s: pulled another layer", test.name)
		}
	}
}

// tarOf makes an archive of pairs of path and content.
func tarOf(t testing.TB, files ...string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for i := 0; i < len(files); i += 2 {
		header := &tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))}
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, files[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func gzipped(t testing.TB, content []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}
