package spec

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/test/harness"
)

// TestBlobDigests pushes blobs on every path under digests that are not the
// canonical one, and wants that digest in every answer.
func TestBlobDigests(t *testing.T) {
	s := specified(t)
	const repository = "alice/blobs"
	uploads := "/v2/" + repository + "/blobs/uploads/"
	for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA384, digest.SHA512} {
		for name, push := range map[string]func(content []byte, d string) *harness.Answer{
			"PUT": func(content []byte, d string) *harness.Answer {
				return s.ask(201, "PUT", harness.WithDigest(s.begin(repository), d), content, "Content-Type", "application/octet-stream")
			},
			"PATCH": func(content []byte, d string) *harness.Answer {
				at := s.begin(repository)
				for _, chunk := range [][]byte{content[:3], content[3:]} {
					at = s.location(s.ask(202, "PATCH", at.String(), chunk))
				}
				return s.ask(201, "PUT", harness.WithDigest(at, d), nil)
			},
			"PATCH and PUT": func(content []byte, d string) *harness.Answer {
				at := s.location(s.ask(202, "PATCH", s.begin(repository).String(), content[:5]))
				return s.ask(201, "PUT", harness.WithDigest(at, d), content[5:])
			},
			"POST": func(content []byte, d string) *harness.Answer {
				return s.ask(201, "POST", uploads+"?digest="+url.QueryEscape(d), content, "Content-Type", "application/octet-stream")
			},
			"mount": func(content []byte, d string) *harness.Answer {
				s.ask(201, "POST", "/v2/alice/source/blobs/uploads/?digest="+url.QueryEscape(d), content)
				return s.ask(201, "POST", uploads+"?from=alice/source&mount="+url.QueryEscape(d), nil)
			},
			"mount of what another digest named": func(content []byte, d string) *harness.Answer {
				s.ask(201, "POST", "/v2/alice/source/blobs/uploads/?digest="+url.QueryEscape(d), content)
				s.ask(201, "POST", uploads+"?from=alice/source&mount="+harness.Digest(content), nil)
				return s.ask(201, "POST", uploads+"?from=alice/source&mount="+url.QueryEscape(d), nil)
			},
			"mount from anywhere": func(content []byte, d string) *harness.Answer {
				s.ask(201, "POST", "/v2/bob/source/blobs/uploads/?digest="+url.QueryEscape(d), content)
				return s.ask(201, "POST", uploads+"?mount="+url.QueryEscape(d), nil)
			},
		} {
			content := []byte(string(algorithm) + " by " + name)
			d := sum(algorithm, content)
			a := push(content, d)
			s.has(a, "Docker-Content-Digest", d, "Location", "/v2/"+repository+"/blobs/"+d)
			s.blobIs(repository, d, content)
			s.blobIs(repository, harness.Digest(content), content)
			// It goes by the name that it came under, and by its other one.
			s.ask(202, "DELETE", "/v2/"+repository+"/blobs/"+d, nil)
			for _, gone := range []string{d, harness.Digest(content)} {
				s.refuse("BLOB_UNKNOWN", 404, "GET", "/v2/"+repository+"/blobs/"+gone, nil)
				s.ask(404, "HEAD", "/v2/"+repository+"/blobs/"+gone, nil)
				s.refuse("BLOB_UNKNOWN", 404, "DELETE", "/v2/"+repository+"/blobs/"+gone, nil)
			}
		}
	}
	// After that one name does not come back without the other.
	content := []byte("deleted by its canonical name")
	d := sum(digest.SHA512, content)
	s.ask(201, "POST", uploads+"?digest="+url.QueryEscape(d), content)
	s.ask(202, "DELETE", "/v2/"+repository+"/blobs/"+harness.Digest(content), nil)
	s.ask(404, "HEAD", "/v2/"+repository+"/blobs/"+harness.Digest(content), nil)
	s.ask(404, "HEAD", "/v2/"+repository+"/blobs/"+d, nil)

	// A mount of what is not there begins an upload, whatever its digest.
	for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		d := sum(algorithm, []byte("nowhere"))
		for _, query := range []string{"?mount=" + d, "?from=alice/source&mount=" + d, "?from=no/body&mount=" + d} {
			s.ask(202, "POST", uploads+query, nil)
		}
	}
}

// blobIs wants a blob in one piece and in parts.
func (s *client) blobIs(repository, d string, content []byte) {
	s.t.Helper()
	target := "/v2/" + repository + "/blobs/" + d
	length := fmt.Sprint(len(content))
	s.has(s.ask(200, "HEAD", target, nil), "Docker-Content-Digest", d, "Content-Length", length)
	a := s.ask(200, "GET", target, nil)
	s.has(a, "Docker-Content-Digest", d, "Content-Length", length)
	if !bytes.Equal(a.Body, content) {
		s.t.Errorf("%s is %.200q, want %.200q", d, a.Body, content)
	}
	a = s.ask(206, "GET", target, nil, "Range", "bytes=2-4")
	s.has(a, "Content-Range", "bytes 2-4/"+length, "Content-Length", "3")
	if !bytes.Equal(a.Body, content[2:5]) {
		s.t.Errorf("bytes 2 to 4 of %s are %q", d, a.Body)
	}
	s.refuse("RANGE_INVALID", 416, "GET", target, nil, "Range", "bytes="+length+"-")
}

// TestManifestDigests pushes manifests under other digests than the
// canonical one.
func TestManifestDigests(t *testing.T) {
	s := specified(t)
	for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA384, digest.SHA512} {
		repository := "alice/" + string(algorithm)
		manifests := "/v2/" + repository + "/manifests/"
		m := s.image(repository, string(algorithm))
		d, canonical := sum(algorithm, m), harness.Digest(m)
		wrong := sum(algorithm, []byte("something else"))
		s.refuse("DIGEST_INVALID", 400, "PUT", manifests+wrong, m, "Content-Type", harness.OCIManifest)
		s.ask(404, "HEAD", manifests+wrong, nil)
		s.ask(404, "HEAD", manifests+canonical, nil)

		s.has(s.put(repository, d, m), "Docker-Content-Digest", d, "Location", manifests+d)
		check := func() {
			t.Helper()
			for _, name := range []string{d, canonical} {
				s.has(s.ask(200, "HEAD", manifests+name, nil), "Docker-Content-Digest", name, "Content-Type", harness.OCIManifest, "Content-Length", fmt.Sprint(len(m)))
				s.has(s.got(repository, name, m), "Docker-Content-Digest", name, "ETag", `"`+name+`"`)
			}
		}
		check()
		s.found(repository, d, canonical)
		s.b.Kill()
		harness.RemoveIndex(t, s.b)
		s.b.Restart()
		check()
		s.found(repository, d, canonical)
		// Either name takes both away.
		s.ask(202, "DELETE", manifests+canonical, nil)
		s.ask(404, "HEAD", manifests+d, nil)
		s.put(repository, d, m)
		s.ask(202, "DELETE", manifests+d, nil)
		for _, name := range []string{d, canonical} {
			s.refuse("MANIFEST_UNKNOWN", 404, "GET", manifests+name, nil)
			s.refuse("MANIFEST_UNKNOWN", 404, "DELETE", manifests+name, nil)
		}
		if got := s.ListedDigests(t, repository); len(got) != 0 {
			t.Errorf("%v is listed and deleted", got)
		}
	}
}

// found wants one image of a repository, by any of its digests.
func (s *client) found(repository string, digests ...string) {
	s.t.Helper()
	for _, d := range digests {
		list, err := s.Listed("", `{"digest":"`+repository+"@"+d+`"}`)
		if err != nil || len(list) != 1 {
			s.t.Errorf("a look for %s gives %v (%v)", d, list, err)
		}
	}
}

// TestIndexDigests has indexes whose children are named by sha512.
func TestIndexDigests(t *testing.T) {
	s := specified(t)
	for _, indexFirst := range []bool{false, true} {
		repository := fmt.Sprintf("alice/index-%t", indexFirst)
		child := s.image(repository, repository)
		long := sum(digest.SHA512, child)
		entry := harness.Descriptor{MediaType: harness.OCIManifest, Digest: long, Size: int64(len(child)), Platform: map[string]any{"os": "kraftcloud", "architecture": "x86_64"}}
		index := harness.IndexOf(entry)
		d := harness.Digest(index)
		if indexFirst {
			s.put(repository, "v1", index)
			s.put(repository, long, child)
		} else {
			s.put(repository, long, child)
			s.put(repository, "v1", index)
		}
		check := func() {
			t.Helper()
			// The index is the image, and its child is none by itself.
			if got := s.ListedDigests(t, repository); !slices.Equal(got, []string{d}) {
				t.Errorf("index first %t: listed are %v, want %s", indexFirst, got, d)
			}
			s.found(repository, d, long, harness.Digest(child))
			s.got(repository, long, child)
		}
		check()
		s.b.Stop()
		harness.RemoveIndex(t, s.b)
		s.b.Restart()
		check()
		s.ask(202, "DELETE", "/v2/"+repository+"/manifests/"+d, nil)
		for _, gone := range []string{d, long, harness.Digest(child)} {
			s.ask(404, "HEAD", "/v2/"+repository+"/manifests/"+gone, nil)
		}
	}
}

// TestTagParameters sets tags while pushing by digest.
func TestTagParameters(t *testing.T) {
	s := specified(t)
	const repository = "alice/tags"
	manifests := "/v2/" + repository + "/manifests/"
	m := s.image(repository, "tags")
	for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		d := sum(algorithm, m)
		prefix := string(algorithm)
		a := s.put(repository, d+"?tag="+prefix+"-b&tag="+prefix+"-a&tag="+prefix+"-b", m)
		if got := a.Header.Values("OCI-Tag"); !slices.Equal(got, []string{prefix + "-a", prefix + "-b"}) {
			t.Errorf("OCI-Tag is %q", got)
		}
		for _, tag := range []string{prefix + "-a", prefix + "-b"} {
			s.has(s.got(repository, tag, m), "Docker-Content-Digest", d)
		}
	}
	want := []string{"sha256-a", "sha256-b", "sha512-a", "sha512-b"}
	check := func() {
		t.Helper()
		if got, err := s.TagsOf(repository); !slices.Equal(got, want) {
			t.Errorf("the tags are %v (%v), want %v", got, err, want)
		}
		list, err := s.Listed("", `{"tag":"`+repository+`:sha512-a"}`)
		if len(list) != 1 || err != nil {
			t.Errorf("a look for the tag gives %v (%v)", list, err)
		}
	}
	check()
	s.b.Stop()
	harness.RemoveIndex(t, s.b)
	s.b.Restart()
	check()
	s.has(s.got(repository, "sha512-a", m), "Docker-Content-Digest", sum(digest.SHA512, m))

	// One that is not valid, or too many: then none is set, and nothing stored.
	other := s.image(repository, "refused")
	var many []string
	for i := range 101 {
		many = append(many, fmt.Sprintf("tag=t%d", i))
	}
	for _, query := range []string{"tag=good&tag=.bad", "tag=", "tag=a/b", "tag=" + strings.Repeat("t", 129), strings.Join(many, "&")} {
		s.refuse("TAG_INVALID", 400, "PUT", manifests+harness.Digest(other)+"?"+query, other, "Content-Type", harness.OCIManifest)
	}
	s.ask(404, "HEAD", manifests+harness.Digest(other), nil)
	check()
	// Where the path has a tag, it is the tag.
	a := s.put(repository, "sha256-a?tag=another", m)
	s.has(a, "OCI-Tag", "")
	check()
	// A tag moves, and with the last of its names an image stays.
	a = s.put(repository, harness.Digest(other)+"?"+strings.Join(many[:100], "&"), other)
	if got := len(a.Header.Values("OCI-Tag")); got != 100 {
		t.Errorf("%d tags were accepted, want 100", got)
	}
	s.put(repository, harness.Digest(other)+"?tag=sha512-a", other)
	s.has(s.got(repository, "sha512-a", other), "Docker-Content-Digest", harness.Digest(other))
	// Deleting an image takes the tags of both its names.
	s.ask(http.StatusAccepted, "DELETE", manifests+sum(digest.SHA512, m), nil)
	for _, tag := range []string{"sha256-a", "sha256-b", "sha512-b"} {
		s.ask(404, "HEAD", manifests+tag, nil)
	}
	s.ask(200, "HEAD", manifests+"sha512-a", nil)
}
