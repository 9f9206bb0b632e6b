package test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

const specArtifact = "application/vnd.example.signature"

// artifact is a manifest that refers to a subject. Its config is the empty one,
// which the repository must have.
func (s *specClient) artifact(repository, subject string, size int, artifactType, salt string, annotations map[string]string) []byte {
	s.t.Helper()
	empty := s.blob(repository, "{}")
	empty.MediaType = "application/vnd.oci.empty.v1+json"
	m := map[string]any{
		"schemaVersion": 2, "mediaType": rawOCIManifest, "artifactType": artifactType, "config": empty, "layers": []any{empty},
		"subject": map[string]any{"mediaType": rawOCIManifest, "digest": subject, "size": size},
	}
	all := maps.Clone(annotations)
	if all == nil {
		all = map[string]string{}
	}
	all["salt"] = salt
	m["annotations"] = all
	return rawJSON(m)
}

// referrers reads a list of referrers, page by page.
func (s *specClient) referrers(repository, subject, query string) (all []rawReferrer, pages int) {
	s.t.Helper()
	return s.rawClient.referrers(s.t, repository, subject, query)
}

// referred wants exactly these referrers, in any order.
func (s *specClient) referred(repository, subject, query string, want ...string) {
	s.t.Helper()
	s.rawClient.referred(s.t, repository, subject, query, want...)
}

func TestSpecReferrers(t *testing.T) {
	s := specified(t)
	const repository = "alice/signed"
	image := s.image(repository, "signed")
	d := rawDigest(image)
	empty := s.ask(200, "HEAD", "/v2/"+repository+"/referrers/"+d, nil)
	s.referred(repository, d, "")
	s.referred("nobody/has-this", rawNoDigest, "")
	if empty.header.Get("Content-Length") == "" || len(empty.body) != 0 {
		t.Errorf("HEAD: %v, %d bytes", empty.header, len(empty.body))
	}

	// The referrers come before their subject.
	first := s.artifact(repository, d, len(image), specArtifact, "1", map[string]string{"key": "value"})
	s.has(s.put(repository, rawDigest(first), first), "OCI-Subject", d)
	second := s.artifact(repository, d, len(image), "application/vnd.example.sbom", "2", nil)
	s.has(s.put(repository, "second", second), "OCI-Subject", d)
	index := rawJSON(map[string]any{"schemaVersion": 2, "mediaType": rawOCIIndex, "artifactType": specArtifact, "manifests": []any{},
		"subject": map[string]any{"mediaType": rawOCIManifest, "digest": d, "size": len(image)}})
	s.has(s.put(repository, rawDigest(index), index), "OCI-Subject", d)
	// Without a type of its own, an artifact has that of its config.
	config := s.blob(repository, "{}")
	config.MediaType = "application/vnd.example.config"
	plain := rawJSON(map[string]any{"schemaVersion": 2, "mediaType": rawOCIManifest, "config": config, "layers": []any{},
		"subject": map[string]any{"mediaType": rawOCIManifest, "digest": d, "size": len(image)}})
	s.put(repository, rawDigest(plain), plain)
	s.has(s.put(repository, "v1", image), "OCI-Subject", "")

	all := []string{rawDigest(first), rawDigest(second), rawDigest(index), rawDigest(plain)}
	check := func() {
		t.Helper()
		s.referred(repository, d, "", slices.Clone(all)...)
		s.referred(repository, d, "?artifactType="+specArtifact, rawDigest(first), rawDigest(index))
		s.referred(repository, d, "?artifactType=application/vnd.example.config", rawDigest(plain))
		s.referred(repository, d, "?artifactType=none")
		// Another repository knows nothing of it.
		s.referred("other/repository", d, "")
	}
	check()
	list, _ := s.referrers(repository, d, "?artifactType="+specArtifact)
	for _, r := range list {
		if r.Digest == rawDigest(first) && (r.MediaType != rawOCIManifest || r.Size != int64(len(first)) || r.Annotations["key"] != "value" || r.ArtifactType != specArtifact) {
			t.Errorf("the descriptor is %+v", r)
		}
	}
	s.b.stop()
	removeIndex(t, s.b)
	s.b.restart()
	check()
	if got := s.listedDigests(t, repository); !slices.Equal(got, []string{d}) {
		t.Errorf("the images API lists %v, want the image alone", got)
	}

	// A referrer that is deleted is gone with the answer.
	s.ask(202, "DELETE", "/v2/"+repository+"/manifests/"+rawDigest(second), nil)
	s.referred(repository, d, "", rawDigest(first), rawDigest(index), rawDigest(plain))
	// The subject goes; what refers to it stays.
	s.ask(202, "DELETE", "/v2/"+repository+"/manifests/"+d, nil)
	s.referred(repository, d, "", rawDigest(first), rawDigest(index), rawDigest(plain))
	s.got(repository, rawDigest(first), first)
}

// TestSpecReferrersFallback has what older clients push where they find no list
// of referrers: an index under a tag that is the subject's digest.
func TestSpecReferrersFallback(t *testing.T) {
	s := specified(t)
	const repository = "alice/older"
	image := s.image(repository, "older")
	d := rawDigest(image)
	s.put(repository, "v1", image)
	// What it lists names no subject, or the client would not need the tag.
	old := s.image(repository, "signature")
	s.put(repository, rawDigest(old), old)
	both := s.artifact(repository, d, len(image), specArtifact, "both", nil)
	s.put(repository, rawDigest(both), both)
	listed := func(m []byte, artifactType string) map[string]any {
		return map[string]any{"mediaType": rawOCIManifest, "digest": rawDigest(m), "size": len(m), "artifactType": artifactType}
	}
	fallback := rawJSON(map[string]any{"schemaVersion": 2, "mediaType": rawOCIIndex, "manifests": []any{
		listed(old, "application/vnd.example.old"), listed(both, specArtifact), listed([]byte("not there"), specArtifact),
	}})
	tag := strings.Replace(d, ":", "-", 1)
	s.put(repository, tag, fallback)
	s.referred(repository, d, "", rawDigest(old), rawDigest(both))
	s.referred(repository, d, "?artifactType=application/vnd.example.old", rawDigest(old))
	s.referred(repository, d, "?artifactType="+specArtifact, rawDigest(both))
	s.b.kill()
	removeIndex(t, s.b)
	s.b.restart()
	s.referred(repository, d, "", rawDigest(old), rawDigest(both))
	s.ask(202, "DELETE", "/v2/"+repository+"/manifests/"+rawDigest(old), nil)
	s.referred(repository, d, "", rawDigest(both))
	s.ask(202, "DELETE", "/v2/"+repository+"/manifests/"+tag, nil)
	s.referred(repository, d, "", rawDigest(both))

	// A tag of that form may hold anything.
	s.put(repository, tag, image)
	s.referred(repository, d, "", rawDigest(both))
}

// TestSpecReferrersPages has more referrers than one answer holds, some of them
// also under the fallback tag, which is large by itself.
func TestSpecReferrersPages(t *testing.T) {
	s := specified(t)
	const repository = "alice/many"
	image := s.image(repository, "many")
	d := rawDigest(image)
	s.put(repository, "v1", image)
	var want []string
	var fallback []any
	for i, size := range []int{900 << 10, 900 << 10, 900 << 10, 1000, 3 << 20, 10, 10, 900 << 10} {
		m := s.artifact(repository, d, len(image), specArtifact, fmt.Sprint(i), map[string]string{"padding": strings.Repeat("x", size)})
		s.put(repository, rawDigest(m), m)
		want = append(want, rawDigest(m))
		if i < 2 {
			fallback = append(fallback, map[string]any{"mediaType": rawOCIManifest, "digest": rawDigest(m), "size": len(m), "artifactType": specArtifact,
				"annotations": map[string]string{"padding": strings.Repeat("x", 1200<<10)}})
		}
	}
	for i := range 300 {
		m := s.artifact(repository, d, len(image), "application/vnd.example.small", fmt.Sprint(i), nil)
		s.put(repository, rawDigest(m), m)
		want = append(want, rawDigest(m))
	}
	s.referred(repository, d, "", slices.Clone(want)...)
	s.referred(repository, d, "?artifactType="+specArtifact, slices.Clone(want[:8])...)
	s.referred(repository, d, "?artifactType=application/vnd.example.small", slices.Clone(want[8:])...)
	if _, pages := s.referrers(repository, d, ""); pages < 3 {
		t.Errorf("%d pages, want several", pages)
	}
	s.put(repository, strings.Replace(d, ":", "-", 1), rawJSON(map[string]any{"schemaVersion": 2, "mediaType": rawOCIIndex, "manifests": fallback}))
	s.referred(repository, d, "", slices.Clone(want)...)
	s.referred(repository, d, "?artifactType="+specArtifact, slices.Clone(want[:8])...)

	// The pages work under a name that is short for an official one, too.
	official := s.image("many", "many")
	s.put("many", "v1", official)
	var short []string
	for i := range 3 {
		m := s.artifact("many", d, len(image), specArtifact, fmt.Sprint(i), map[string]string{"padding": strings.Repeat("x", 1<<20)})
		s.put("many", rawDigest(m), m)
		short = append(short, rawDigest(m))
	}
	first := s.ask(200, "GET", "/v2/many/referrers/"+d, nil)
	if next := s.next(first); !strings.HasPrefix(next, "/v2/many/referrers/") {
		t.Errorf("the next page is %q", next)
	}
	s.referred("many", d, "", short...)
}

// TestSpecReferrersSHA512 names the subject by another digest than the one that
// it is asked by.
func TestSpecReferrersSHA512(t *testing.T) {
	s := specified(t)
	const repository = "alice/digests"
	image := s.image(repository, "digests")
	d, long := rawDigest(image), sum(digest.SHA512, image)
	s.put(repository, long, image)
	one := s.artifact(repository, long, len(image), specArtifact, "one", nil)
	s.has(s.put(repository, rawDigest(one), one), "OCI-Subject", long)
	two := s.artifact(repository, d, len(image), specArtifact, "two", nil)
	s.put(repository, sum(digest.SHA512, two), two)
	tag := "sha512-" + strings.TrimPrefix(long, "sha512:")[:64] // a tag cannot hold all of it
	three := s.image(repository, "three")
	s.put(repository, rawDigest(three), three)
	s.put(repository, tag, rawIndexOf(rawDescribe(rawOCIManifest, three)))
	check := func() {
		t.Helper()
		s.referred(repository, long, "", rawDigest(one), rawDigest(two), rawDigest(three))
		s.referred(repository, d, "", rawDigest(one), rawDigest(two))
	}
	check()
	s.b.stop()
	removeIndex(t, s.b)
	s.b.restart()
	check()
	s.ask(202, "DELETE", "/v2/"+repository+"/manifests/"+sum(digest.SHA512, two), nil)
	s.referred(repository, d, "", rawDigest(one))
}
