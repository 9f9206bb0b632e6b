package spec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// TestContents has manifests of all forms that the specification knows.
func TestContents(t *testing.T) {
	s := specified(t)
	const repository = "alice/contents"
	config := s.blob(repository, "{}")
	config.MediaType = harness.OCIConfig
	elsewhere := func(mediaType string) harness.Descriptor {
		return harness.Describe(mediaType, []byte("not here: "+mediaType))
	}
	// Layers that clients fetch from somewhere else are not asked for.
	for _, mediaType := range []string{
		"application/vnd.oci.image.layer.nondistributable.v1.tar", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
	} {
		for _, urls := range [][]string{nil, {"https://layers.example.com/a"}, {"ftp://layers.example.com/a", "not an address"}} {
			d := elsewhere(mediaType)
			m := harness.JSON(map[string]any{"schemaVersion": 2, "mediaType": harness.OCIManifest, "config": config,
				"layers": []any{map[string]any{"mediaType": mediaType, "digest": d.Digest, "size": d.Size, "urls": urls}}})
			s.put(repository, "foreign", m)
			s.got(repository, "foreign", m)
		}
	}
	for name, m := range map[string][]byte{
		"no layers":        harness.ManifestOf(config),
		"an empty layer":   harness.ManifestOf(config, s.blob(repository, "")),
		"an empty index":   harness.IndexOf(),
		"a sparse index":   harness.IndexOf(elsewhere(harness.OCIManifest), elsewhere(harness.OCIIndex)),
		"unknown types":    harness.ManifestOf(harness.Descriptor{MediaType: "application/x.config", Digest: config.Digest, Size: config.Size}, harness.Descriptor{MediaType: "application/x", Digest: config.Digest, Size: 2}),
		"an unknown child": harness.IndexOf(harness.Descriptor{MediaType: "application/x", Digest: config.Digest, Size: 2}),
		"unknown fields":   []byte(strings.Replace(string(harness.ManifestOf(config)), "{", `{"x.field":{"a":[1,null]},`, 1)),
		"blanks":           []byte("\n  " + string(harness.ManifestOf(config)) + "\n"),
	} {
		tag := strings.ReplaceAll(name, " ", "-")
		s.put(repository, tag, m)
		s.got(repository, tag, m)
		s.got(repository, harness.Digest(m), m)
	}
	// An index of indexes of indexes, which is deleted with all that is in it.
	inner := s.image(repository, "nested")
	s.put(repository, harness.Digest(inner), inner)
	nested := harness.IndexOf(harness.Describe(harness.OCIManifest, inner))
	for range 3 {
		s.put(repository, harness.Digest(nested), nested)
		nested = harness.IndexOf(harness.Describe(harness.OCIIndex, nested))
	}
	s.put(repository, "nested", nested)
	s.got(repository, "nested", nested)
	s.ask(202, "DELETE", "/v2/"+repository+"/manifests/"+harness.Digest(nested), nil)
	s.ask(404, "HEAD", "/v2/"+repository+"/manifests/"+harness.Digest(inner), nil)
}

// TestMediaTypes gives back each manifest with the type that it was pushed
// with, also where it does not say its type itself.
func TestMediaTypes(t *testing.T) {
	s := specified(t)
	const repository = "alice/types"
	config, layer := s.blob(repository, "{}"), s.blob(repository, "layer")
	config.MediaType = harness.OCIConfig
	const dockerManifest, dockerList = "application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.distribution.manifest.list.v2+json"
	manifest := func(mediaType string) []byte {
		m := map[string]any{"schemaVersion": 2, "config": config, "layers": []any{layer}, "annotations": map[string]string{"manifests": `"manifests"`}}
		if mediaType != "" {
			m["mediaType"] = mediaType
		}
		return harness.JSON(m)
	}
	list := func(mediaType string) []byte {
		m := map[string]any{"schemaVersion": 2, "manifests": []any{}, "annotations": map[string]string{"layers": "config"}}
		if mediaType != "" {
			m["mediaType"] = mediaType
		}
		return harness.JSON(m)
	}
	null := func(body []byte) []byte { // as programs write an empty list
		return []byte(strings.NewReplacer(`"manifests":[]`, `"manifests":null`, `"layers":[`, `"manifests":null,"layers":[`).Replace(string(body)))
	}
	for _, c := range []struct {
		body       []byte
		sent, want string
	}{
		{null(manifest("")), harness.OCIManifest, harness.OCIManifest},
		{null(list("")), harness.OCIIndex, harness.OCIIndex},
		{manifest(harness.OCIManifest), harness.OCIManifest, harness.OCIManifest},
		{manifest(""), harness.OCIManifest, harness.OCIManifest},
		{manifest(harness.OCIManifest), harness.OCIManifest + "; charset=utf-8", harness.OCIManifest},
		{manifest(dockerManifest), dockerManifest, dockerManifest},
		{list(harness.OCIIndex), harness.OCIIndex, harness.OCIIndex},
		{list(""), harness.OCIIndex, harness.OCIIndex},
		{list(dockerList), dockerList, dockerList},
	} {
		s.put(repository, "x", c.body, "Content-Type", c.sent)
		for _, accept := range []string{"", "*/*", c.want, "text/html", "application/json, " + harness.OCIManifest + ";q=0.1", "garbage"} {
			for _, method := range []string{"GET", "HEAD"} {
				a := s.ask(200, method, "/v2/"+repository+"/manifests/x", nil, "Accept", accept)
				s.has(a, "Content-Type", c.want, "Docker-Content-Digest", harness.Digest(c.body), "Content-Length", fmt.Sprint(len(c.body)))
				if method == "GET" && !bytes.Equal(a.Body, c.body) {
					t.Errorf("Accept %q: got %.200s", accept, a.Body)
				}
			}
		}
	}
}

// TestMissingLayers refuses a manifest and names what is missing, unless a
// setting takes it.
func TestMissingLayers(t *testing.T) {
	const repository = "alice/missing"
	one, two, three := harness.Describe(harness.OCIConfig, []byte("one")), harness.Describe(harness.OCILayer, []byte("two")), harness.Describe(harness.OCILayer, []byte("three"))
	m := harness.ManifestOf(one, two, three, two)
	t.Run("refused", func(t *testing.T) {
		s := specified(t)
		s.blob(repository, "three")
		s.blob("alice/other", "one")
		a := s.refuse("MANIFEST_BLOB_UNKNOWN", 400, "PUT", "/v2/"+repository+"/manifests/v1", m, "Content-Type", harness.OCIManifest)
		var named []string
		for _, e := range errorIn(a).Errors {
			var d string
			if e.Code != "MANIFEST_BLOB_UNKNOWN" || json.Unmarshal(e.Detail, &d) != nil {
				t.Errorf("an error of %s", a.Body)
			}
			named = append(named, d)
		}
		if want := []string{one.Digest, two.Digest}; !slices.Equal(named, want) {
			t.Errorf("missing are %v, want %v", named, want)
		}
		s.ask(404, "HEAD", "/v2/"+repository+"/manifests/v1", nil)
		s.ask(404, "HEAD", "/v2/"+repository+"/manifests/"+harness.Digest(m), nil)
		s.blob(repository, "one")
		s.blob(repository, "two")
		s.put(repository, "v1", m)
	})
	t.Run("taken", func(t *testing.T) {
		s := specified(t, harness.WithEnv("BERTH_REGISTRY_MISSING_LAYERS=true"))
		s.put(repository, "v1", m)
		s.got(repository, harness.Digest(m), m)
		s.refuse("BLOB_UNKNOWN", 404, "GET", "/v2/"+repository+"/blobs/"+one.Digest, nil)
	})
}

// TestSizes takes manifests up to the size that the specification asks for.
func TestSizes(t *testing.T) {
	s := specified(t)
	const repository, most = "alice/large", 4 << 20
	config := s.blob(repository, "{}")
	sized := func(n int) []byte {
		of := func(n int) []byte { return harness.ManifestOf(config.Marked("padding", strings.Repeat("x", n))) }
		return of(n - len(of(0)))
	}
	large := sized(most)
	s.put(repository, "v1", large)
	s.got(repository, "v1", large)
	s.refuse("SIZE_INVALID", 413, "PUT", "/v2/"+repository+"/manifests/v2", sized(most+1), "Content-Type", harness.OCIManifest)
	s.ask(404, "HEAD", "/v2/"+repository+"/manifests/v2", nil)
}

// TestPreconditions changes a tag only if it is what the client thinks.
func TestPreconditions(t *testing.T) {
	s := specified(t)
	const repository = "alice/locks"
	target := "/v2/" + repository + "/manifests/v1"
	images := make([][]byte, 20)
	for i := range images {
		images[i] = s.image(repository, fmt.Sprint(i))
	}
	put := func(status, i int, header ...string) *harness.Answer {
		t.Helper()
		header = append(header, "Content-Type", harness.OCIManifest)
		if status == 412 {
			return s.refuse("PRECONDITION_FAILED", status, "PUT", target, images[i], header...)
		}
		return s.ask(status, "PUT", target, images[i], header...)
	}
	etag := func(i int) string { return `"` + harness.Digest(images[i]) + `"` }
	is := func(i int) {
		t.Helper()
		s.has(s.got(repository, "v1", images[i]), "ETag", etag(i))
	}
	put(412, 0, "If-Match", "*")
	put(412, 0, "If-Match", etag(0))
	s.ask(404, "HEAD", target, nil)

	// Of many that want to be the first, one is.
	var wg sync.WaitGroup
	var mu sync.Mutex
	var winners []int
	for i := range images {
		wg.Go(func() {
			a, err := s.Do("PUT", target, images[i], "Content-Type", harness.OCIManifest, "If-None-Match", "*")
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				t.Error(err)
			case a.Status == http.StatusCreated:
				winners = append(winners, i)
			case a.Status != http.StatusPreconditionFailed:
				t.Errorf("%d %s", a.Status, a.Body)
			}
		})
	}
	wg.Wait()
	if len(winners) != 1 {
		t.Fatalf("%v were the first", winners)
	}
	is(winners[0])
	// What lost is not there, not even by its digest.
	if got := s.ListedDigests(t, repository); !slices.Equal(got, []string{harness.Digest(images[winners[0]])}) {
		t.Errorf("listed are %v", got)
	}
	put(201, 1)
	put(412, 2, "If-Match", etag(2))
	put(412, 2, "If-Match", etag(2)+`, W/"x"`)
	put(412, 2, "If-None-Match", etag(1))
	put(412, 2, "If-None-Match", `"x", `+etag(1))
	put(412, 2, "If-Match", etag(1), "If-None-Match", "*")
	is(1)
	put(201, 2, "If-Match", etag(1))
	is(2)
	put(201, 3, "If-Match", etag(1)+", "+etag(2))
	put(201, 4, "If-None-Match", etag(1))
	put(201, 5, "If-Match", "*")
	is(5)
	// Of many that saw the same, one wins.
	winners = nil
	for i := 6; i < len(images); i++ {
		wg.Go(func() {
			a, err := s.Do("PUT", target, images[i], "Content-Type", harness.OCIManifest, "If-Match", etag(5))
			mu.Lock()
			defer mu.Unlock()
			if err == nil && a.Status == http.StatusCreated {
				winners = append(winners, i)
			}
		})
	}
	wg.Wait()
	if len(winners) != 1 {
		t.Fatalf("%v changed the same", winners)
	}
	is(winners[0])
}

// TestConditionalGet reads manifests and blobs in parts and on conditions.
func TestConditionalGet(t *testing.T) {
	s := specified(t)
	const repository = "alice/conditions"
	m := s.image(repository, "conditions")
	s.put(repository, "v1", m)
	blob := []byte("kernel " + strings.Repeat("k", 1000))
	for target, content := range map[string][]byte{
		"/v2/" + repository + "/manifests/v1":                   m,
		"/v2/" + repository + "/manifests/" + harness.Digest(m): m,
		"/v2/" + repository + "/blobs/" + harness.Digest(blob):  blob,
	} {
		etag := `"` + harness.Digest(content) + `"`
		length := fmt.Sprint(len(content))
		for _, method := range []string{"GET", "HEAD"} {
			a := s.ask(200, method, target, nil)
			s.has(a, "ETag", etag, "Content-Length", length, "Accept-Ranges", "bytes", "Docker-Content-Digest", harness.Digest(content))
			for _, none := range []string{etag, "W/" + etag, `"x", ` + etag, "*"} {
				if a := s.ask(304, method, target, nil, "If-None-Match", none); len(a.Body) != 0 {
					t.Errorf("304 with %q", a.Body)
				}
			}
			s.ask(200, method, target, nil, "If-None-Match", `"x"`)
			s.ask(200, method, target, nil, "If-Match", etag)
			s.refuse("PRECONDITION_FAILED", 412, method, target, nil, "If-Match", `"x"`)
			s.refuse("RANGE_INVALID", 416, method, target, nil, "Range", "bytes="+length+"-")
		}
		for value, want := range map[string][]byte{
			"bytes=0-0": content[:1], "bytes=10-19": content[10:20], "bytes=-5": content[len(content)-5:],
			"bytes=10-": content[10:], "bytes=0-999999": content, "bytes=-999999": content,
		} {
			a := s.ask(206, "GET", target, nil, "Range", value)
			if !bytes.Equal(a.Body, want) {
				t.Errorf("%s of %s is %q, want %q", value, target, a.Body, want)
			}
			if !strings.HasSuffix(a.Header.Get("Content-Range"), "/"+length) || a.Header.Get("Content-Length") != fmt.Sprint(len(want)) {
				t.Errorf("%s of %s: Content-Range %q", value, target, a.Header.Get("Content-Range"))
			}
		}
		// A range of something else is all of it.
		s.ask(200, "GET", target, nil, "Range", "bytes=0-0", "If-Range", `"x"`)
		s.ask(206, "GET", target, nil, "Range", "bytes=0-0", "If-Range", etag)
	}
}

// TestDigestNeverLies pushes content under the digest of other content that
// is there: what is there stays.
func TestDigestNeverLies(t *testing.T) {
	s := specified(t)
	const repository = "alice/honest"
	m, other := s.image(repository, "m"), s.image(repository, "other")
	s.put(repository, harness.Digest(m), m)
	content := s.blob(repository, "true content")
	for _, d := range []string{harness.Digest(m), sum("sha512", m)} {
		s.refuse("DIGEST_INVALID", 400, "PUT", "/v2/"+repository+"/manifests/"+d, other, "Content-Type", harness.OCIManifest)
		s.refuse("DIGEST_INVALID", 400, "PUT", "/v2/bob/app/manifests/"+d, other, "Content-Type", harness.OCIManifest)
	}
	for _, target := range []string{repository, "bob/app"} {
		s.refuse("DIGEST_INVALID", 400, "PUT", harness.WithDigest(s.begin(target), content.Digest), "false")
		s.refuse("DIGEST_INVALID", 400, "POST", "/v2/"+target+"/blobs/uploads/?digest="+content.Digest, "false")
	}
	s.got(repository, harness.Digest(m), m)
	s.blobIs(repository, content.Digest, []byte("true content"))
	s.ask(404, "HEAD", "/v2/bob/app/blobs/"+content.Digest, nil)
}
