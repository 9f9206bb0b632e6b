package registry

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	v2 "github.com/distribution/distribution/v3/registry/api/v2"
	"github.com/gorilla/mux"
)

const (
	hex64 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	dgst  = "sha256:" + hex64
)

func newRequest(method, target string) *http.Request {
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil
	}
	return &http.Request{Method: method, URL: u, Header: http.Header{}, Host: "berth.test"}
}

func TestParse(t *testing.T) {
	for target, want := range map[string]route{
		"/v2":                                            {kind: kindBase},
		"/v2/":                                           {kind: kindBase},
		"/v2/_catalog?n=1":                               {kind: kindCatalog},
		"/v2/a/tags/list":                                {kind: kindTags, name: "a"},
		"/v2/tags/list/tags/list":                        {kind: kindTags, name: "tags/list"},
		"/v2/a/b/manifests/v1":                           {kind: kindManifest, name: "a/b", tag: "v1"},
		"/v2/a/manifests/manifests/manifests":            {kind: kindManifest, name: "a/manifests", tag: "manifests"},
		"/v2/a/manifests/" + dgst:                        {kind: kindManifest, name: "a", digest: dgst},
		"/v2/a/manifests/sha256%3A" + hex64:              {kind: kindManifest, name: "a", digest: dgst},
		"/v2/a/blobs/" + dgst:                            {kind: kindBlob, name: "a", digest: dgst},
		"/v2/a/blobs/uploads/blobs/" + dgst:              {kind: kindBlob, name: "a/blobs/uploads", digest: dgst},
		"/v2/a/blobs/uploads/":                           {kind: kindUploads, name: "a"},
		"/v2/a/blobs/uploads":                            {kind: kindUploads, name: "a"},
		"/v2/a/blobs/uploads/blobs/uploads/":             {kind: kindUploads, name: "a/blobs/uploads"},
		"/v2/a/blobs/uploads/0a-b_c.d=":                  {kind: kindUpload, name: "a", upload: "0a-b_c.d="},
		"/v2/" + strings.Repeat("a", 255) + "/tags/list": {kind: kindTags, name: strings.Repeat("a", 255)},
	} {
		got, p := parse(newRequest(http.MethodGet, target))
		if p != nil || got != want {
			t.Errorf("%s: %+v, %+v; want %+v", target, got, p, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct {
		method, target string
		status         int
		code           string
	}{
		{"GET", "/v2/a//tags/list", 400, "NAME_INVALID"},
		{"GET", "/v2//a/tags/list", 400, "NAME_INVALID"},
		{"GET", "/v2/a/../b/tags/list", 400, "NAME_INVALID"},
		{"GET", "/v2/a/%2e%2e/b/tags/list", 400, "NAME_INVALID"},
		{"GET", "/v2/a%2Fb/tags/list", 400, "NAME_INVALID"},
		{"GET", "/v2/%61/tags/list", 400, "NAME_INVALID"},
		{"GET", "/v2/A/tags/list", 400, "NAME_INVALID"},
		{"GET", "/v2/" + strings.Repeat("a", 256) + "/tags/list", 400, "NAME_INVALID"},
		{"GET", "/v2/tags/list", 404, "NOT_FOUND"},
		{"GET", "/v2/manifests/v1", 404, "NOT_FOUND"},
		{"GET", "/v2/a", 404, "NOT_FOUND"},
		{"GET", "/v2/a/tags/list/", 404, "NOT_FOUND"},
		{"GET", "/v2/a/manifests/.v1", 404, "MANIFEST_UNKNOWN"},
		{"PUT", "/v2/a/manifests/.v1", 400, "TAG_INVALID"},
		{"PUT", "/v2/a/manifests/" + strings.Repeat("t", 129), 400, "TAG_INVALID"},
		{"GET", "/v2/a/manifests/sha256:" + hex64[1:], 400, "DIGEST_INVALID"},
		{"GET", "/v2/a/manifests/sha256:" + strings.ToUpper(hex64), 400, "DIGEST_INVALID"},
		{"GET", "/v2/a/blobs/md5:d41d8cd98f00b204e9800998ecf8427e", 400, "DIGEST_INVALID"},
		{"GET", "/v2/a/blobs/nothing", 400, "DIGEST_INVALID"},
		{"GET", "/v2/a/referrers/nothing", 400, "DIGEST_INVALID"},
		{"GET", "/v2/a/referrers/uploads", 400, "DIGEST_INVALID"},
		{"PUT", "/v2/a/blobs/uploads/a%20b", 400, "NAME_INVALID"},
		{"PUT", "/v2/a/blobs/uploads/a~b", 404, "BLOB_UPLOAD_UNKNOWN"},
	} {
		got, p := parse(newRequest(c.method, c.target))
		if p == nil || p.status != c.status || p.code != c.code {
			t.Errorf("%s %s: %+v, %+v; want %d %s", c.method, c.target, got, p, c.status, c.code)
		}
	}
}

// FuzzParse checks that distribution's own router understands what we write
// exactly as we do: whoever is asked whether a request is allowed and whoever
// carries it out must mean the same thing.
func FuzzParse(f *testing.F) {
	for _, path := range []string{
		"/v2/", "/v2/_catalog", "/v2/a/b/manifests/v1", "/v2/a/blobs/" + dgst, "/v2/a/blobs/uploads/",
		"/v2/a/blobs/uploads/x", "/v2/a/tags/list", "/v2/tags/list/manifests/tags", "/v2/a/blobs/uploads/manifests/blobs",
		"/v2/_catalog/tags/list", "/v2/a/manifests/blobs/uploads/", "/v2/a%2f/manifests/x", "/v2/uploads/blobs/uploads/blobs/uploads/1",
	} {
		f.Add(path)
	}
	router := v2.RouterWithPrefix("")
	kinds := map[kind]string{
		kindBase: v2.RouteNameBase, kindCatalog: v2.RouteNameCatalog, kindTags: v2.RouteNameTags,
		kindManifest: v2.RouteNameManifest, kindBlob: v2.RouteNameBlob,
		kindUploads: v2.RouteNameBlobUpload, kindUpload: v2.RouteNameBlobUploadChunk,
	}
	f.Fuzz(func(t *testing.T, path string) {
		r := newRequest(http.MethodGet, path)
		if r == nil {
			return
		}
		found, p := parse(r)
		if p != nil || found.kind == kindReferrers { // which distribution does not have
			return
		}
		var match mux.RouteMatch
		if !router.Match(rebuild(r, found), &match) || match.Route == nil {
			t.Fatalf("%q: we read %+v, distribution nothing", path, found)
		}
		if name := match.Route.GetName(); name != kinds[found.kind] || match.Vars["name"] != found.name ||
			match.Vars["reference"] != found.tag+map[bool]string{true: found.digest.String()}[found.kind == kindManifest] ||
			found.kind == kindBlob && match.Vars["digest"] != found.digest.String() || match.Vars["uuid"] != found.upload {
			t.Fatalf("%q: we read %+v, distribution %s %v", path, found, name, match.Vars)
		}
	})
}

func TestRebuild(t *testing.T) {
	body := "mount=" + dgst + "&from=bob/secret&digest=" + dgst
	r := httptest.NewRequest(http.MethodPost, "/v2/alice/app/blobs/uploads/?digest=x&other=1&digest=y", strings.NewReader(body))
	for name, value := range map[string]string{
		"Content-Type": "application/x-www-form-urlencoded; charset=utf-8", "X-Forwarded-Host": "evil.test",
		"Forwarded": "host=evil.test", "Authorization": "Basic Og==", "Content-Range": "0-1",
	} {
		r.Header.Set(name, value)
	}
	found, p := parse(r)
	if p != nil {
		t.Fatal(p)
	}
	out := rebuild(r, found)
	if got := out.URL.String(); got != "/v2/alice/app/blobs/uploads/?digest=x" {
		t.Errorf("URL is %s", got)
	}
	if out.FormValue("mount") != "" || out.FormValue("from") != "" || out.FormValue("digest") != "x" {
		t.Errorf("the body counts: %v", out.Form)
	}
	for _, name := range []string{"X-Forwarded-Host", "Forwarded", "Authorization"} {
		if out.Header.Get(name) != "" {
			t.Errorf("%s gets through", name)
		}
	}
	if out.Header.Get("Content-Range") != "0-1" {
		t.Error("Content-Range is lost")
	}
	for _, form := range []string{"multipart/form-data; boundary=x", "Multipart/Mixed", "APPLICATION/X-WWW-FORM-URLENCODED", "multipart/form-data; boundary=\""} {
		r.Header.Set("Content-Type", form)
		manifest := route{kind: kindManifest, name: "a", tag: "b"}
		if got := rebuild(r, manifest).Header.Get("Content-Type"); got != "application/octet-stream" {
			t.Errorf("%s becomes %s", form, got)
		}
	}
}
