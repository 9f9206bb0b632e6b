package s3

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/test/harness"
)

// TestNamesFromStorage deletes the index: other digests than sha256, tags that
// were set as parameters and referrers are all in storage, on the filesystem
// and in a bucket.
func TestNamesFromStorage(t *testing.T) {
	t.Parallel()
	t.Run("filesystem", func(t *testing.T) { namesFromStorage(t, harness.Start(t)) })
	t.Run("s3", func(t *testing.T) { namesFromStorage(t, harness.Start(t, startServer(t).bucket("images", false))) })
}

func namesFromStorage(t *testing.T, b *harness.Berth) {
	c := harness.NewClient(b.URL)
	must := func(_ *harness.Answer, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	const repository, base = "alice/app", "/v2/alice/app/"
	long := func(content []byte) string { return digest.SHA512.FromBytes(content).String() }
	image := harness.NewImage("k", "names")
	pushed, err := c.Push(repository, "latest", image)
	if err != nil {
		t.Fatal(err)
	}
	// A blob and an image under sha512 alone, with three tags as parameters.
	config := []byte(`{"os":"linux"}`)
	if err := c.PushBlobFrom(repository, long(config), config); err != nil {
		t.Fatal(err)
	}
	described := harness.Descriptor{MediaType: harness.OCIConfig, Digest: long(config), Size: int64(len(config))}
	manifest := harness.ManifestOf(described)
	must(c.Want(http.StatusCreated, http.MethodPut, base+"manifests/"+long(manifest)+"?tag=c&tag=a&tag=b", manifest, "Content-Type", harness.OCIManifest))
	must(c.Want(http.StatusCreated, http.MethodPut, base+"manifests/moved", manifest, "Content-Type", harness.OCIManifest))
	must(c.Want(http.StatusAccepted, http.MethodDelete, base+"manifests/b", nil))
	// Referrers, by either digest, to what is there and to what is not.
	absent := digest.FromString("absent").String()
	refer := func(subject, artifactType string) []byte {
		return harness.JSON(map[string]any{
			"schemaVersion": 2, "mediaType": harness.OCIManifest, "artifactType": artifactType, "config": described, "layers": []any{},
			"subject": harness.Descriptor{MediaType: harness.OCIManifest, Digest: subject, Size: 1}, "annotations": map[string]string{"a": "b"},
		})
	}
	subjects := []string{pushed, long(manifest), harness.Digest(manifest), absent}
	for i, subject := range subjects {
		referrer := refer(subject, "application/vnd.example.sbom")
		must(c.Want(http.StatusCreated, http.MethodPut, base+"manifests/"+harness.Digest(referrer), referrer, "Content-Type", harness.OCIManifest))
		referrer = refer(subject, fmt.Sprintf("application/vnd.example.signature%d", i))
		must(c.Want(http.StatusCreated, http.MethodPut, base+"manifests/"+long(referrer)+"?tag=signature", referrer, "Content-Type", harness.OCIManifest))
	}

	paths := []string{"/v2/_catalog", base + "tags/list", "/v1/images", base + "blobs/" + long(config), base + "blobs/" + harness.Digest(config)}
	for _, reference := range []string{"latest", "a", "b", "c", "moved", "signature", long(manifest), harness.Digest(manifest), pushed} {
		paths = append(paths, base+"manifests/"+reference)
	}
	for _, subject := range subjects {
		paths = append(paths, base+"referrers/"+subject, base+"referrers/"+subject+"?artifactType=application/vnd.example.sbom")
	}
	ask := func() map[string]string {
		c.HTTP.CloseIdleConnections()
		said := map[string]string{}
		for _, path := range paths {
			a, err := c.Do(http.MethodGet, path, nil, "X-Request-Id", "the-same")
			if err != nil {
				t.Fatal(err)
			}
			said[path] = fmt.Sprintf("%d %s %s %s", a.Status, a.Header.Get("Docker-Content-Digest"), a.Header.Get("OCI-Filters-Applied"),
				harness.TimeTaken.ReplaceAll(a.Body, nil))
		}
		return said
	}
	before := ask()
	for path, want := range map[string][]string{
		base + "tags/list":                   {`"tags":["a","c","latest","moved","signature"]`},
		base + "manifests/a":                 {"200 " + long(manifest)},
		base + "manifests/b":                 {"404 "},
		base + "manifests/moved":             {"200 " + harness.Digest(manifest)},
		base + "manifests/" + long(manifest): {"200 " + long(manifest)},
		base + "blobs/" + long(config):       {"200 " + long(config)},
		base + "referrers/" + pushed:         {"200 ", "vnd.example.sbom", "vnd.example.signature0"},
		base + "referrers/" + long(manifest): {"200 ", "vnd.example.sbom", "vnd.example.signature1"},
		base + "referrers/" + subjects[2]:    {"200 ", "vnd.example.sbom", "vnd.example.signature2"},
		base + "referrers/" + absent:         {"200 ", "vnd.example.sbom", "vnd.example.signature3"},
	} {
		for _, part := range want {
			if !strings.Contains(before[path], part) {
				t.Errorf("%s: got %s, want it with %s", path, before[path], part)
			}
		}
	}
	for _, end := range []func(){b.Stop, b.Kill} {
		end()
		harness.RemoveIndex(t, b)
		b.Restart()
		harness.SameAnswers(t, "index deleted", ask(), before)
	}
}
