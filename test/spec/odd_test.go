package spec

import (
	"bytes"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// TestOddRanges asks for parts in ways that RFC 9110 has ignored, 14.2: in other
// units, badly written, or so many that the answer would be mostly headers.
func TestOddRanges(t *testing.T) {
	s := specified(t)
	content := bytes.Repeat([]byte("berth"), 40_000)
	blob := "/v2/alice/app/blobs/" + s.blob("alice/app", string(content)).Digest
	manifest := s.image("alice/app", "ranges")
	s.put("alice/app", "v1", manifest)
	for target, whole := range map[string][]byte{blob: content, "/v2/alice/app/manifests/v1": manifest} {
		for _, value := range []string{
			"items=0-1", "bytes", "bytes=a-b", "bytes=0-1,x", "bytes=-0", "bytes=0-99999999999999999999",
			"bytes=" + strings.Repeat("0-0,", maxRanges) + "2-2",
		} {
			a := s.ask(200, "GET", target, nil, "Range", value)
			if s.has(a, "Content-Range", ""); !bytes.Equal(a.Body, whole) {
				t.Errorf("Range: %.40s: %d bytes of %.40s, want all %d", value, len(a.Body), target, len(whole))
			}
		}
		for _, value := range []string{"bytes=0-1", "BYTES=0-1", "bytes= 0-1 ", "bytes=,0-1"} {
			if a := s.ask(206, "GET", target, nil, "Range", value); !bytes.Equal(a.Body, whole[:2]) {
				t.Errorf("Range: %s: %.40q of %.40s", value, a.Body, target)
			}
		}
		a := s.ask(206, "GET", target, nil, "Range", "bytes="+strings.Repeat("0-0,", maxRanges-1)+"2-2")
		if n := strings.Count(string(a.Body), "Content-Range"); n != maxRanges {
			t.Errorf("%d parts of %.40s, want %d", n, target, maxRanges)
		}
		s.refuse("RANGE_INVALID", 416, "GET", target, nil, "Range", "bytes=1000000-")
	}
}

// maxRanges is how many parts of something are answered at once.
const maxRanges = 64

// TestCancelAnyAddress cancels uploads by an address that is not the latest, or
// none: it is the upload that is meant, however far it has come.
func TestCancelAnyAddress(t *testing.T) {
	s := specified(t)
	for _, query := range []string{"stale", "none", "garbage"} {
		begun := s.begin("alice/app")
		latest := s.location(s.ask(202, "PATCH", begun.String(), "some bytes"))
		switch query {
		case "none":
			begun.RawQuery = ""
		case "garbage":
			begun.RawQuery = "_state=AAAA"
		}
		s.has(s.ask(204, "DELETE", begun.String(), nil), "Docker-Distribution-Api-Version", "registry/2.0")
		s.refuse("BLOB_UPLOAD_UNKNOWN", 404, "GET", latest.String(), nil)
		s.refuse("BLOB_UPLOAD_UNKNOWN", 404, "DELETE", latest.String(), nil)
	}
	s.refuse("BLOB_UPLOAD_UNKNOWN", 404, "DELETE", "/v2/alice/app/blobs/uploads/no-such-upload", nil)
}

// TestAnswersWhole wants JSON to end in a newline, and no header twice.
func TestAnswersWhole(t *testing.T) {
	s := specified(t)
	config := s.blob("alice/app", "{}")
	put := s.put("alice/app", "v1", s.image("alice/app", "whole"))
	begun := s.ask(202, "POST", "/v2/alice/app/blobs/uploads/", nil)
	for what, a := range map[string]*harness.Answer{
		"base":      s.ask(200, "GET", "/v2/", nil),
		"catalog":   s.ask(200, "GET", "/v2/_catalog", nil),
		"tags":      s.ask(200, "GET", "/v2/alice/app/tags/list", nil),
		"referrers": s.ask(200, "GET", "/v2/alice/app/referrers/"+put.Header.Get("Docker-Content-Digest"), nil),
		"error":     s.ask(404, "GET", "/v2/alice/app/manifests/none", nil),
		"put":       put,
		"upload":    begun,
		"status":    s.ask(204, "GET", s.location(begun).String(), nil),
		"mount":     s.ask(201, "POST", "/v2/alice/other/blobs/uploads/?from=alice/app&mount="+config.Digest, nil),
		"blob":      s.ask(202, "DELETE", "/v2/alice/app/blobs/"+config.Digest, nil),
	} {
		if len(a.Body) > 0 && !bytes.HasSuffix(a.Body, []byte("}\n")) {
			t.Errorf("%s: the answer ends in %q", what, a.Body[max(0, len(a.Body)-10):])
		}
		for name, values := range a.Header {
			if len(values) > 1 {
				t.Errorf("%s: %s: %q", what, name, values)
			}
		}
	}
}
