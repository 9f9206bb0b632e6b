package spec

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// FuzzLists reads every list with anything as its parameters, to its end: it has
// one, and every link leads on.
func FuzzLists(f *testing.F) {
	for _, query := range []string{
		"", "n=1", "n=0", "n=-1", "n=99999999999999999999", "n=1&last=a/b", "last=%00", "last=sha256:x", "n=1&last=-", "n=1;last=x",
		"artifactType=a/b&n=1", "artifactType=%ff", "last=" + strings.Repeat("z", 300), "n=2&n=1", "n=+1", "%zz",
	} {
		f.Add(query)
	}
	g := newFuzzed(f)
	body := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
	subject := digest.FromBytes(body).String()
	prepare := func(t *testing.T) {
		for _, repository := range []string{"a/b", "a/c", "d"} {
			g.ask(t, "PUT", "/v2/"+repository+"/manifests/"+subject+"?tag=v1&tag=v2", bytes.NewReader(body), "Content-Type", "application/vnd.oci.image.index.v1+json")
		}
		refers := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","artifactType":"a/b","manifests":[],"subject":{"mediaType":"a/b","size":1,"digest":"` + subject + `"}}`)
		g.ask(t, "PUT", "/v2/a/b/manifests/"+digest.FromBytes(refers).String(), bytes.NewReader(refers), "Content-Type", "application/vnd.oci.image.index.v1+json")
	}
	prepared := false
	f.Fuzz(func(t *testing.T, query string) {
		if strings.Contains(query, "#") {
			t.Skip("another part of the address")
		}
		if !prepared {
			prepare(t)
			prepared = true
		}
		for _, path := range []string{"/v2/_catalog", "/v2/a/b/tags/list", "/v2/a/b/referrers/" + subject} {
			target := path + "?" + query
			for pages := 0; target != ""; pages++ {
				if pages > 20 {
					t.Fatalf("%s?%s: there is no end", path, query)
				}
				w := g.ask(t, "GET", target, nil)
				target = ""
				if link := w.Header().Get("Link"); link != "" && w.Code == http.StatusOK {
					next, _, ok := strings.Cut(strings.TrimPrefix(link, "<"), ">")
					if _, err := url.Parse(next); err != nil || !ok {
						t.Fatalf("%s?%s: the link is %q", path, query, link)
					}
					target = next
				}
			}
		}
	})
}

// FuzzConditions reads and writes under any condition: none makes a fault of the
// registry's own, or changes what it is to keep.
func FuzzConditions(f *testing.F) {
	for _, value := range []string{"", "*", `"x"`, `W/"x"`, `"a", "b"`, "\"", `W/*`, ",,,", strings.Repeat(`"a",`, 500), "sha256:0", "Thu, 01 Jan 1970 00:00:00 GMT"} {
		f.Add(value)
	}
	g := newFuzzed(f)
	bodies := [][]byte{
		[]byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`),
		[]byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],"annotations":{}}`),
	}
	f.Fuzz(func(t *testing.T, value string) {
		const target, index = "/v2/a/b/manifests/v1", "application/vnd.oci.image.index.v1+json"
		g.ask(t, "PUT", target, bytes.NewReader(bodies[0]), "Content-Type", index)
		first := digest.FromBytes(bodies[0]).String()
		for _, header := range []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range"} {
			w := g.ask(t, "GET", target, nil, header, value, "Range", "bytes=0-3")
			if w.Code == http.StatusOK && !bytes.Equal(w.Body.Bytes(), bodies[0]) {
				t.Fatalf("%s %q: %q", header, value, w.Body)
			}
		}
		w := g.ask(t, "PUT", target, bytes.NewReader(bodies[1]), "Content-Type", index, "If-Match", value)
		now := g.ask(t, "GET", target, nil).Header().Get("Docker-Content-Digest")
		switch {
		case w.Code == http.StatusPreconditionFailed && now != first:
			t.Fatalf("If-Match %q: refused, and the tag has moved", value)
		case w.Code == http.StatusCreated && value != "" && !strings.Contains(value, "*") && !strings.Contains(value, first):
			t.Fatalf("If-Match %q: it does not, and the tag has moved", value)
		}
	})
}

// FuzzHarbor asks the routes of the Harbor API for anything: an error has the
// specification's form, and none is of a fault of berth's own.
func FuzzHarbor(f *testing.F) {
	for _, path := range []string{"a/summary", "robot$a.users.kraftcloud/summary", "a/repositories/b", "a/repositories/b%252Fc", "a/repositories/%2e%2e", "A/summary", "/", "a/repositories/b/c", "%zz/summary"} {
		f.Add(path)
	}
	g := newFuzzed(f)
	harbor := fuzzed{g.Handler.(interface{ Harbor() http.Handler }).Harbor()}
	f.Fuzz(func(t *testing.T, path string) {
		if strings.ContainsAny(path, "?#") {
			t.Skip("another part of the address")
		}
		harbor.ask(t, "GET", "/api/v2.0/projects/"+path, nil)
		harbor.ask(t, "DELETE", "/api/v2.0/projects/"+path, nil)
	})
}
