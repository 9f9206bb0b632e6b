package spec

import (
	"fmt"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// TestErrors provokes an error on every endpoint, in every way that is not
// already about one feature. Each must have the specification's form.
func TestErrors(t *testing.T) {
	s := specified(t)
	const repository = "alice/errors"
	m := s.image(repository, "errors")
	s.put(repository, "v1", m)
	blob := "/v2/" + repository + "/blobs/" + s.blob(repository, "blob").Digest
	at := s.begin(repository)
	manifest := []string{"Content-Type", harness.OCIManifest}
	for _, c := range []struct {
		status         int
		code           string
		method, target string
		body           any
		header         []string
	}{
		{404, "NOT_FOUND", "GET", "/v2/nothing", nil, nil},
		{404, "NOT_FOUND", "GET", "/v2/a/b/c/d", nil, nil},
		{404, "NOT_FOUND", "PUT", "/v2/a/manifest/v1", m, manifest},
		{404, "NOT_FOUND", "GET", "/v2/_catalog/x", nil, nil},
		{404, "NOT_FOUND", "GET", "/v2/" + repository + "/tags", nil, nil},
		{404, "NOT_FOUND", "GET", "/v2/" + repository + "/_trust/tuf/root.json", nil, nil},
		{400, "NAME_INVALID", "GET", "/v2/UPPER/manifests/v1", nil, nil},
		{400, "NAME_INVALID", "POST", "/v2/a..b/blobs/uploads/", nil, nil},
		{400, "NAME_INVALID", "GET", "/v2/%2e%2e/manifests/v1", nil, nil},
		{405, "UNSUPPORTED", "POST", "/v2/", nil, nil},
		{405, "UNSUPPORTED", "PUT", "/v2/_catalog", nil, nil},
		{405, "UNSUPPORTED", "DELETE", "/v2/" + repository + "/tags/list", nil, nil},
		{405, "UNSUPPORTED", "POST", "/v2/" + repository + "/manifests/v1", m, manifest},
		{405, "UNSUPPORTED", "PATCH", "/v2/" + repository + "/manifests/v1", m, manifest},
		{405, "UNSUPPORTED", "PUT", blob, "x", nil},
		{405, "UNSUPPORTED", "GET", "/v2/" + repository + "/blobs/uploads/", nil, nil},
		{405, "UNSUPPORTED", "POST", at.RequestURI(), nil, nil},
		{405, "UNSUPPORTED", "DELETE", "/v2/" + repository + "/referrers/" + harness.Digest(m), nil, nil},
		{405, "UNSUPPORTED", "TRACE", "/v2/", nil, nil},
		{405, "UNSUPPORTED", "OPTIONS", blob, nil, nil},
		{405, "UNSUPPORTED", "MADEUP", blob, nil, nil},
		{404, "MANIFEST_UNKNOWN", "GET", "/v2/" + repository + "/manifests/v2", nil, nil},
		{404, "MANIFEST_UNKNOWN", "GET", "/v2/no/body/manifests/v1", nil, nil},
		{404, "MANIFEST_UNKNOWN", "GET", "/v2/" + repository + "/manifests/" + harness.NoDigest, nil, nil},
		{404, "MANIFEST_UNKNOWN", "DELETE", "/v2/" + repository + "/manifests/v2", nil, nil},
		{404, "MANIFEST_UNKNOWN", "DELETE", "/v2/" + repository + "/manifests/" + harness.NoDigest, nil, nil},
		{400, "DIGEST_INVALID", "GET", "/v2/" + repository + "/manifests/sha256:1", nil, nil},
		{400, "DIGEST_INVALID", "GET", "/v2/" + repository + "/blobs/sha256:1", nil, nil},
		{400, "DIGEST_INVALID", "GET", "/v2/" + repository + "/referrers/sha256:1", nil, nil},
		{400, "DIGEST_INVALID", "GET", "/v2/" + repository + "/referrers/v1", nil, nil},
		{400, "DIGEST_INVALID", "GET", "/v2/" + repository + "/referrers/uploads", nil, nil},
		{400, "DIGEST_INVALID", "GET", "/v2/" + repository + "/blobs/md5:d41d8cd98f00b204e9800998ecf8427e", nil, nil},
		{400, "TAG_INVALID", "PUT", "/v2/" + repository + "/manifests/.v1", m, manifest},
		{404, "BLOB_UNKNOWN", "GET", "/v2/" + repository + "/blobs/" + harness.NoDigest, nil, nil},
		{404, "BLOB_UNKNOWN", "DELETE", "/v2/" + repository + "/blobs/" + harness.NoDigest, nil, nil},
		{416, "RANGE_INVALID", "GET", blob, nil, []string{"Range", "bytes=100-"}},
		{404, "BLOB_UPLOAD_UNKNOWN", "GET", "/v2/" + repository + "/blobs/uploads/none", nil, nil},
		{404, "BLOB_UPLOAD_INVALID", "PATCH", at.Path, "x", nil},
		{400, "DIGEST_INVALID", "PUT", at.RequestURI(), "x", nil},
		{400, "MANIFEST_INVALID", "PUT", "/v2/" + repository + "/manifests/v2", "{", manifest},
		{400, "MANIFEST_INVALID", "PUT", "/v2/" + repository + "/manifests/v2", "{}", manifest},
		{400, "MANIFEST_INVALID", "PUT", "/v2/" + repository + "/manifests/v2", "", manifest},
		{400, "MANIFEST_INVALID", "PUT", "/v2/" + repository + "/manifests/v2", m, []string{"Content-Type", "text/plain"}},
		{400, "MANIFEST_INVALID", "PUT", "/v2/" + repository + "/manifests/v2", m, []string{"Content-Type", harness.OCIIndex}},
		{413, "SIZE_INVALID", "PUT", "/v2/" + repository + "/manifests/v2", strings.Repeat(" ", 4<<20+1), manifest},
		{404, "NAME_UNKNOWN", "GET", "/v2/no/body/tags/list", nil, nil},
	} {
		t.Run(fmt.Sprintf("%s %.60s", c.method, strings.ReplaceAll(c.target, "/", " ")), func(t *testing.T) {
			s := &client{s.Client, t, s.b}
			a := s.refuse(c.code, c.status, c.method, c.target, c.body, c.header...)
			if c.status == 405 && a.Header.Get("Allow") == "" {
				t.Error("405 without Allow")
			}
			if c.method == "GET" && c.status != 405 {
				s.ask(c.status, "HEAD", c.target, nil, c.header...)
			}
		})
	}
	// All of that has changed nothing.
	s.got(repository, "v1", m)
	if got, _ := s.names("/v2/" + repository + "/tags/list"); len(got) != 1 {
		t.Errorf("the tags are %v", got)
	}
}

// TestReadOnly refuses every change while reading goes on.
func TestReadOnly(t *testing.T) {
	s := specified(t)
	const repository = "alice/readonly"
	m := s.image(repository, "readonly")
	s.put(repository, "v1", m)
	blob := s.blob(repository, "a blob")
	at := s.begin(repository)
	s.b.Stop()
	s.b.Env = append(s.b.Env, "BERTH_STORAGE_MAINTENANCE_READONLY_ENABLED=true")
	s.b.Restart()
	manifests := "/v2/" + repository + "/manifests/"
	for _, r := range [][2]string{
		{"PUT", manifests + "v1"}, {"PUT", manifests + "v2"}, {"DELETE", manifests + "v1"}, {"DELETE", manifests + harness.Digest(m)},
		{"DELETE", "/v2/" + repository + "/blobs/" + blob.Digest}, {"POST", "/v2/" + repository + "/blobs/uploads/"},
		{"POST", "/v2/bob/app/blobs/uploads/?from=" + repository + "&mount=" + blob.Digest},
		{"PATCH", at.RequestURI()}, {"PUT", harness.WithDigest(at, blob.Digest)}, {"DELETE", at.RequestURI()},
	} {
		s.refuse("UNSUPPORTED", 405, r[0], r[1], m, "Content-Type", harness.OCIManifest)
	}
	s.got(repository, "v1", m)
	s.blobIs(repository, blob.Digest, []byte("a blob"))
	if got, _ := s.names("/v2/_catalog"); len(got) != 1 {
		t.Errorf("the catalog is %v", got)
	}
}
