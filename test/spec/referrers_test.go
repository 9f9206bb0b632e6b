package spec

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/test/harness"
)

const signatureType = "application/vnd.example.signature"

// artifact is a manifest that refers to a subject. Its config is the empty one,
// which the repository must have.
func (s *client) artifact(repository, subject string, size int, artifactType, salt string, annotations map[string]string) []byte {
	s.t.Helper()
	empty := s.blob(repository, "{}")
	empty.MediaType = "application/vnd.oci.empty.v1+json"
	m := map[string]any{
		"schemaVersion": 2, "mediaType": harness.OCIManifest, "artifactType": artifactType, "config": empty, "layers": []any{empty},
		"subject": map[string]any{"mediaType": harness.OCIManifest, "digest": subject, "size": size},
	}
	all := maps.Clone(annotations)
	if all == nil {
		all = map[string]string{}
	}
	all["salt"] = salt
	m["annotations"] = all
	return harness.JSON(m)
}

// referrers reads a list of referrers, page by page.
func (s *client) referrers(repository, subject, query string) (all []harness.Referrer, pages int) {
	s.t.Helper()
	return s.Client.Referrers(s.t, repository, subject, query)
}

// referred wants exactly these referrers, in any order.
func (s *client) referred(repository, subject, query string, want ...string) {
	s.t.Helper()
	s.Client.Referred(s.t, repository, subject, query, want...)
}

func TestReferrers(t *testing.T) {
	s := specified(t)
	const repository = "alice/signed"
	image := s.image(repository, "signed")
	d := harness.Digest(image)
	empty := s.ask(200, "HEAD", "/v2/"+repository+"/referrers/"+d, nil)
	s.referred(repository, d, "")
	s.referred("nobody/has-this", harness.NoDigest, "")
	if empty.Header.Get("Content-Length") == "" || len(empty.Body) != 0 {
		t.Errorf("HEAD: %v, %d bytes", empty.Header, len(empty.Body))
	}

	// The referrers come before their subject.
	first := s.artifact(repository, d, len(image), signatureType, "1", map[string]string{"key": "value"})
	s.has(s.put(repository, harness.Digest(first), first), "OCI-Subject", d)
	second := s.artifact(repository, d, len(image), "application/vnd.example.sbom", "2", nil)
	s.has(s.put(repository, "second", second), "OCI-Subject", d)
	index := harness.JSON(map[string]any{"schemaVersion": 2, "mediaType": harness.OCIIndex, "artifactType": signatureType, "manifests": []any{},
		"subject": map[string]any{"mediaType": harness.OCIManifest, "digest": d, "size": len(image)}})
	s.has(s.put(repository, harness.Digest(index), index), "OCI-Subject", d)
	// Without a type of its own, an artifact has that of its config.
	config := s.blob(repository, "{}")
	config.MediaType = "application/vnd.example.config"
	plain := harness.JSON(map[string]any{"schemaVersion": 2, "mediaType": harness.OCIManifest, "config": config, "layers": []any{},
		"subject": map[string]any{"mediaType": harness.OCIManifest, "digest": d, "size": len(image)}})
	s.put(repository, harness.Digest(plain), plain)
	s.has(s.put(repository, "v1", image), "OCI-Subject", "")

	all := []string{harness.Digest(first), harness.Digest(second), harness.Digest(index), harness.Digest(plain)}
	check := func() {
		t.Helper()
		s.referred(repository, d, "", slices.Clone(all)...)
		s.referred(repository, d, "?artifactType="+signatureType, harness.Digest(first), harness.Digest(index))
		s.referred(repository, d, "?artifactType=application/vnd.example.config", harness.Digest(plain))
		s.referred(repository, d, "?artifactType=none")
		// Another repository knows nothing of it.
		s.referred("other/repository", d, "")
	}
	check()
	list, _ := s.referrers(repository, d, "?artifactType="+signatureType)
	for _, r := range list {
		if r.Digest == harness.Digest(first) && (r.MediaType != harness.OCIManifest || r.Size != int64(len(first)) || r.Annotations["key"] != "value" || r.ArtifactType != signatureType) {
			t.Errorf("the descriptor is %+v", r)
		}
	}
	s.b.Stop()
	harness.RemoveIndex(t, s.b)
	s.b.Restart()
	check()
	if got := s.ListedDigests(t, repository); !slices.Equal(got, []string{d}) {
		t.Errorf("the images API lists %v, want the image alone", got)
	}

	// A referrer that is deleted is gone with the answer.
	s.ask(202, "DELETE", "/v2/"+repository+"/manifests/"+harness.Digest(second), nil)
	s.referred(repository, d, "", harness.Digest(first), harness.Digest(index), harness.Digest(plain))
	// The subject goes; what refers to it stays.
	s.ask(202, "DELETE", "/v2/"+repository+"/manifests/"+d, nil)
	s.referred(repository, d, "", harness.Digest(first), harness.Digest(index), harness.Digest(plain))
	s.got(repository, harness.Digest(first), first)
}

// TestReferrersFallback has what older clients push where they find no list
// of referrers: an index under a tag that is the subject's digest.
func TestReferrersFallback(t *testing.T) {
	s := specified(t)
	const repository = "alice/older"
	image := s.image(repository, "older")
	d := harness.Digest(image)
	s.put(repository, "v1", image)
	// What it lists names no subject, or the client would not need the tag.
	old := s.image(repository, "signature")
	s.put(repository, harness.Digest(old), old)
	both := s.artifact(repository, d, len(image), signatureType, "both", nil)
	s.put(repository, harness.Digest(both), both)
	listed := func(m []byte, artifactType string) map[string]any {
		return map[string]any{"mediaType": harness.OCIManifest, "digest": harness.Digest(m), "size": len(m), "artifactType": artifactType}
	}
	fallback := harness.JSON(map[string]any{"schemaVersion": 2, "mediaType": harness.OCIIndex, "manifests": []any{
		listed(old, "application/vnd.example.old"), listed(both, signatureType), listed([]byte("not there"), signatureType),
	}})
	tag := strings.Replace(d, ":", "-", 1)
	s.put(repository, tag, fallback)
	s.referred(repository, d, "", harness.Digest(old), harness.Digest(both))
	s.referred(repository, d, "?artifactType=application/vnd.example.old", harness.Digest(old))
	s.referred(repository, d, "?artifactType="+signatureType, harness.Digest(both))
	s.b.Kill()
	harness.RemoveIndex(t, s.b)
	s.b.Restart()
	s.referred(repository, d, "", harness.Digest(old), harness.Digest(both))
	s.ask(202, "DELETE", "/v2/"+repository+"/manifests/"+harness.Digest(old), nil)
	s.referred(repository, d, "", harness.Digest(both))
	s.ask(202, "DELETE", "/v2/"+repository+"/manifests/"+tag, nil)
	s.referred(repository, d, "", harness.Digest(both))

	// A tag of that form may hold anything.
	s.put(repository, tag, image)
	s.referred(repository, d, "", harness.Digest(both))
}

// TestReferrersPages has more referrers than one answer holds, some of them
// also under the fallback tag, which is large by itself.
func TestReferrersPages(t *testing.T) {
	s := specified(t)
	const repository = "alice/many"
	image := s.image(repository, "many")
	d := harness.Digest(image)
	s.put(repository, "v1", image)
	var want []string
	var fallback []any
	for i, size := range []int{900 << 10, 900 << 10, 900 << 10, 1000, 3 << 20, 10, 10, 900 << 10} {
		m := s.artifact(repository, d, len(image), signatureType, fmt.Sprint(i), map[string]string{"padding": strings.Repeat("x", size)})
		s.put(repository, harness.Digest(m), m)
		want = append(want, harness.Digest(m))
		if i < 2 {
			fallback = append(fallback, map[string]any{"mediaType": harness.OCIManifest, "digest": harness.Digest(m), "size": len(m), "artifactType": signatureType,
				"annotations": map[string]string{"padding": strings.Repeat("x", 1200<<10)}})
		}
	}
	for i := range 300 {
		m := s.artifact(repository, d, len(image), "application/vnd.example.small", fmt.Sprint(i), nil)
		s.put(repository, harness.Digest(m), m)
		want = append(want, harness.Digest(m))
	}
	s.referred(repository, d, "", slices.Clone(want)...)
	s.referred(repository, d, "?artifactType="+signatureType, slices.Clone(want[:8])...)
	s.referred(repository, d, "?artifactType=application/vnd.example.small", slices.Clone(want[8:])...)
	if _, pages := s.referrers(repository, d, ""); pages < 3 {
		t.Errorf("%d pages, want several", pages)
	}
	s.put(repository, strings.Replace(d, ":", "-", 1), harness.JSON(map[string]any{"schemaVersion": 2, "mediaType": harness.OCIIndex, "manifests": fallback}))
	s.referred(repository, d, "", slices.Clone(want)...)
	s.referred(repository, d, "?artifactType="+signatureType, slices.Clone(want[:8])...)

	// The pages work under a name that is short for an official one, too.
	official := s.image("many", "many")
	s.put("many", "v1", official)
	var short []string
	for i := range 3 {
		m := s.artifact("many", d, len(image), signatureType, fmt.Sprint(i), map[string]string{"padding": strings.Repeat("x", 1<<20)})
		s.put("many", harness.Digest(m), m)
		short = append(short, harness.Digest(m))
	}
	first := s.ask(200, "GET", "/v2/many/referrers/"+d, nil)
	if next := s.next(first); !strings.HasPrefix(next, "/v2/many/referrers/") {
		t.Errorf("the next page is %q", next)
	}
	s.referred("many", d, "", short...)
}

// TestReferrersSHA512 names the subject by another digest than the one that
// it is asked by.
func TestReferrersSHA512(t *testing.T) {
	s := specified(t)
	const repository = "alice/digests"
	image := s.image(repository, "digests")
	d, long := harness.Digest(image), sum(digest.SHA512, image)
	s.put(repository, long, image)
	one := s.artifact(repository, long, len(image), signatureType, "one", nil)
	s.has(s.put(repository, harness.Digest(one), one), "OCI-Subject", long)
	two := s.artifact(repository, d, len(image), signatureType, "two", nil)
	s.put(repository, sum(digest.SHA512, two), two)
	tag := "sha512-" + strings.TrimPrefix(long, "sha512:")[:64] // a tag cannot hold all of it
	three := s.image(repository, "three")
	s.put(repository, harness.Digest(three), three)
	s.put(repository, tag, harness.IndexOf(harness.Describe(harness.OCIManifest, three)))
	check := func() {
		t.Helper()
		s.referred(repository, long, "", harness.Digest(one), harness.Digest(two), harness.Digest(three))
		s.referred(repository, d, "", harness.Digest(one), harness.Digest(two))
	}
	check()
	s.b.Stop()
	harness.RemoveIndex(t, s.b)
	s.b.Restart()
	check()
	s.ask(202, "DELETE", "/v2/"+repository+"/manifests/"+sum(digest.SHA512, two), nil)
	s.referred(repository, d, "", harness.Digest(one))
}
