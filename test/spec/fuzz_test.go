package spec

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog"
	"github.com/berth-oci/berth/catalog/bolt"
	"github.com/berth-oci/berth/registry"
	"github.com/berth-oci/berth/registry/access"
	"github.com/berth-oci/berth/storage"
	"github.com/berth-oci/berth/test/harness"
)

// fuzzed is a registry in memory, open to everyone, that takes every manifest.
type fuzzed struct{ http.Handler }

func newFuzzed(tb testing.TB) fuzzed {
	tb.Helper()
	ctx, dir, quiet := context.Background(), tb.TempDir(), slog.New(slog.DiscardHandler)
	registry.LogTo(quiet)
	accounts, err := access.Open(filepath.Join(dir, "accounts.yaml"), quiet)
	if err != nil {
		tb.Fatal(err)
	}
	section := configuration.Storage{"inmemory": configuration.Parameters{}, "delete": configuration.Parameters{"enabled": true}}
	store, err := storage.Open(ctx, section.Type(), section.Parameters())
	if err != nil {
		tb.Fatal(err)
	}
	index, err := bolt.Build(filepath.Join(dir, "catalog.db"), store.Identity(), func(*bolt.Index) error { return nil })
	if err != nil {
		tb.Fatal(err)
	}
	all := catalog.New(index, store, quiet)
	g, err := registry.New(ctx, registry.Options{
		Store: store, Section: section, Secret: "secret", Catalog: all, MissingLayers: true,
		Accounts: accounts,
		Begin: func(ctx context.Context, repository string) (registry.Tx, error) {
			return all.Begin(ctx, repository)
		},
		Referrers: all.Referrers,
		RequestID: func(context.Context) string { return "" }, Log: quiet,
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_, _, _ = g.Close(), all.Close(), index.Close()
		accounts.Close()
	})
	return fuzzed{g}
}

// ask sends a request. Whatever it says, the answer is none of a fault of the
// registry's own, and an error has the specification's form.
func (f fuzzed) ask(t *testing.T, method, target string, body io.Reader, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := harness.NewRequest(method, "/", body, header...)
	u, err := r.URL.Parse(target)
	if err != nil {
		t.Skip("no address")
	}
	r.URL, r.RequestURI = u, u.RequestURI()
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	if w.Code >= 500 {
		t.Fatalf("%s %q: %d %s", method, target, w.Code, w.Body)
	}
	var answer struct {
		Errors []struct{ Code, Message string }
	}
	if w.Code >= 400 && (json.Unmarshal(w.Body.Bytes(), &answer) != nil || len(answer.Errors) == 0 || answer.Errors[0].Code == "" || answer.Errors[0].Message == "") {
		t.Fatalf("%s %q: %d is no error of the specification: %s", method, target, w.Code, w.Body)
	}
	return w
}

// FuzzRange reads parts of a blob and of a manifest: what is given is what
// Content-Range says, and never more than there is.
func FuzzRange(f *testing.F) {
	for _, value := range []string{
		"", "bytes=0-0", "bytes=5-", "bytes=-5", "bytes=0-4,10-14", "bytes=4-2", "bytes=99-", "bytes=-0", "bytes=0-99999999999999999999",
		"lines=1-2", "bytes=", "bytes=a-b", "bytes= 1 - 2 ", "Bytes=1-2", "bytes=0-0,0-0,0-0", "bytes=1-2;q=1",
	} {
		f.Add(value)
	}
	g := newFuzzed(f)
	body := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
	d := digest.FromBytes(body).String()
	f.Fuzz(func(t *testing.T, value string) {
		if !strings.HasPrefix(value, "bytes") && len(value) > 100 || len(value) > 4096 {
			t.Skip("longer than what is looked for")
		}
		g.ask(t, "POST", "/v2/a/b/blobs/uploads/?digest="+d, bytes.NewReader(body))
		g.ask(t, "PUT", "/v2/a/b/manifests/"+d, bytes.NewReader(body), "Content-Type", "application/vnd.oci.image.index.v1+json")
		for _, target := range []string{"/v2/a/b/blobs/" + d, "/v2/a/b/manifests/" + d} {
			w := g.ask(t, "GET", target, nil, "Range", value)
			switch w.Code {
			case http.StatusOK:
				if !bytes.Equal(w.Body.Bytes(), body) {
					t.Fatalf("%q: %q", value, w.Body)
				}
			case http.StatusPartialContent:
				if strings.HasPrefix(w.Header().Get("Content-Type"), "multipart/byteranges") {
					continue
				}
				var first, last, size int
				if _, err := fmt.Sscanf(w.Header().Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &size); err != nil || size != len(body) {
					t.Fatalf("%q: Content-Range is %q", value, w.Header().Get("Content-Range"))
				}
				if !bytes.Equal(w.Body.Bytes(), body[first:last+1]) {
					t.Fatalf("%q: %s is %q", value, w.Header().Get("Content-Range"), w.Body)
				}
			case http.StatusRequestedRangeNotSatisfiable:
			default:
				t.Fatalf("%q: %d %s", value, w.Code, w.Body)
			}
		}
	})
}

// chunkRange is the Content-Range of a chunk as the specification has it, less
// what no upload can come to.
var chunkRange = regexp.MustCompile(`^([0-9]{1,18})-([0-9]{1,18})$`)

// FuzzContentRange sends chunks whose ranges may be true or not: those that are
// go on where the upload is, and nothing else moves it.
func FuzzContentRange(f *testing.F) {
	for _, value := range []string{
		"", "3-5", "0-2", "3-6", "3-4", "5-3", "4-6", "bytes 3-5/6", "3-", "-5", "3-5-7", "+3-5", "03-05", "3 - 5",
		"999999999999999999-999999999999999999", "9999999999999999999-9999999999999999999", "3-5\n", "３-５",
	} {
		f.Add(value, "abc", true)
		f.Add(value, "abc", false)
	}
	f.Add("3-2", "", true)
	g := newFuzzed(f)
	f.Fuzz(func(t *testing.T, value, chunk string, sized bool) {
		at := g.ask(t, "POST", "/v2/a/b/blobs/uploads/", nil).Header().Get("Location")
		at = g.ask(t, "PATCH", at, strings.NewReader("012")).Header().Get("Location")
		var body io.Reader = strings.NewReader(chunk)
		if !sized {
			body = io.MultiReader(body)
		}
		w := g.ask(t, "PATCH", at, body, "Content-Range", value)
		want, size := http.StatusAccepted, 3+len(chunk)
		if value != "" {
			m := chunkRange.FindStringSubmatch(value)
			var first, last int
			if m != nil {
				first, _ = strconv.Atoi(m[1])
				last, _ = strconv.Atoi(m[2])
			}
			switch {
			case m == nil || first > last || first != 3:
				want, size = http.StatusRequestedRangeNotSatisfiable, 3
			case sized && last-first+1 != len(chunk):
				want, size = http.StatusBadRequest, 3
			}
		}
		if w.Code != want {
			t.Fatalf("%q of %q: %d %s, want %d", value, chunk, w.Code, w.Body, want)
		}
		if got := g.ask(t, "GET", at, nil).Header().Get("Range"); got != fmt.Sprintf("0-%d", size-1) {
			t.Fatalf("%q of %q: the upload has %s, want %d bytes", value, chunk, got, size)
		}
		at = g.ask(t, "GET", at, nil).Header().Get("Location")
		g.ask(t, "DELETE", at, nil)
	})
}

// FuzzManifest pushes anything as a manifest: it is taken and given back as it
// is, or refused and not there.
func FuzzManifest(f *testing.F) {
	const manifest, index = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"
	const descriptor = `{"mediaType":"a/b","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}`
	for body, mediaType := range map[string]string{
		"": manifest, "{}": manifest, "null": manifest, "[]": index, `{"schemaVersion":2}`: "",
		`{"schemaVersion":2,"config":` + descriptor + `,"layers":[]}`:                                                                 manifest,
		`{"schemaVersion":2,"config":` + descriptor + `,"layers":[` + descriptor + `],"annotations":{"a":"b"}}`:                       manifest,
		`{"schemaVersion":2,"mediaType":"` + manifest + `","config":` + descriptor + `,"layers":null,"subject":` + descriptor + `}`:   "",
		`{"schemaVersion":2,"mediaType":"` + index + `","manifests":[` + descriptor + `],"subject":` + descriptor + `}`:               index,
		`{"schemaVersion":2,"mediaType":"` + index + `","manifests":[null,{}],"subject":{"digest":"x"}}`:                              index,
		`{"schemaVersion":2,"manifests":null,"layers":{},"config":[]}`:                                                                index,
		`{"schemaVersion":2,"mediaType":1,"config":{"digest":"sha512:0","size":-1}}`:                                                  manifest,
		`{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json","manifests":[{"platform":null}]}`: "application/vnd.docker.distribution.manifest.list.v2+json",
	} {
		f.Add([]byte(body), mediaType)
	}
	g := newFuzzed(f)
	f.Fuzz(func(t *testing.T, body []byte, mediaType string) {
		target := "/v2/a/b/manifests/" + digest.FromBytes(body).String()
		w := g.ask(t, "PUT", target+"?tag=v1", bytes.NewReader(body), "Content-Type", mediaType)
		back := g.ask(t, "GET", target, nil)
		if w.Code != http.StatusCreated {
			if back.Code != http.StatusNotFound {
				t.Fatalf("refused with %d and there", w.Code)
			}
			return
		}
		if back.Code != http.StatusOK || !bytes.Equal(back.Body.Bytes(), body) || back.Header().Get("Content-Type") == "" {
			t.Fatalf("%d %q", back.Code, back.Body)
		}
		if subject := w.Header().Get("OCI-Subject"); subject != "" {
			list := g.ask(t, "GET", "/v2/a/b/referrers/"+subject, nil)
			if !strings.Contains(list.Body.String(), digest.FromBytes(body).String()) {
				t.Fatalf("it has the subject %s, which lists %s", subject, list.Body)
			}
		}
		if w := g.ask(t, "DELETE", target, nil); w.Code != http.StatusAccepted {
			t.Fatalf("deleted with %d", w.Code)
		}
	})
}

// FuzzParameters starts uploads with anything as parameters, and asks for
// anything as a reference: what is stored has the digest that it says.
func FuzzParameters(f *testing.F) {
	d := digest.FromString("content").String()
	for _, query := range []string{
		"", "digest=" + d, "mount=" + d, "mount=" + d + "&from=a/b", "mount=" + d + "&digest=" + d, "digest=sha256:", "digest=%zz", "digest=" + d + "&digest=x",
		"digest=sha512:" + strings.Repeat("0", 128), "mount=x&from=../..", "mount=" + d + "&from=UPPER", "_state=x", "digest=" + strings.ToUpper(d), ";", "tag=v1&tag=.",
	} {
		f.Add(query, d)
		f.Add(query, "v1")
	}
	g := newFuzzed(f)
	f.Fuzz(func(t *testing.T, query, reference string) {
		if strings.ContainsAny(query, "#") || strings.ContainsAny(reference, "?#") {
			t.Skip("another part of the address")
		}
		w := g.ask(t, "POST", "/v2/a/c/blobs/uploads/?"+query, strings.NewReader("content"))
		switch named := digest.Digest(w.Header().Get("Docker-Content-Digest")); {
		case w.Code == http.StatusCreated && (named.Validate() != nil || named.Algorithm().FromString("content") != named):
			t.Fatalf("%q: stored as %s", query, named)
		case w.Code == http.StatusAccepted:
			g.ask(t, "DELETE", w.Header().Get("Location"), nil)
		}
		for _, path := range []string{"manifests/", "blobs/", "referrers/"} {
			for _, method := range []string{"GET", "DELETE"} {
				g.ask(t, method, "/v2/a/c/"+path+reference, nil)
			}
		}
		g.ask(t, "PUT", "/v2/a/c/manifests/"+reference+"?"+query, strings.NewReader("{}"))
		g.ask(t, "GET", "/v2/a/c/tags/list?"+query, nil)
	})
}
