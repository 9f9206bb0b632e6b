package registry

import (
	"net/http"
	"regexp"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage/reference"
)

// kind is an endpoint of the distribution specification, by its table of
// endpoints ("API", end-1 to end-13).
type kind int

const (
	kindBase kind = iota
	kindCatalog
	kindTags
	kindManifest
	kindBlob
	kindUploads
	kindUpload
	kindReferrers
)

// route is a parsed path. Exactly what is in it is passed on;
// nothing else of the path ever reaches distribution.
type route struct {
	kind kind
	// name is the repository, "" for the base and the catalog.
	name string
	// tag or digest names a manifest; digest also names a blob.
	tag    string
	digest digest.Digest
	// upload is the identifier of an upload session.
	upload string
}

// endpoint says what an endpoint takes: methods, and the query parameters that
// distribution reads there.
type endpoint struct {
	methods    []string
	parameters []string
}

var endpoints = map[kind]endpoint{
	kindBase:      {methods: []string{http.MethodGet, http.MethodHead}},
	kindCatalog:   {[]string{http.MethodGet, http.MethodHead}, []string{"n", "last"}},
	kindTags:      {[]string{http.MethodGet, http.MethodHead}, []string{"n", "last"}},
	kindManifest:  {methods: []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete}},
	kindReferrers: {methods: []string{http.MethodGet, http.MethodHead}},
	kindBlob:      {methods: []string{http.MethodGet, http.MethodHead, http.MethodDelete}},
	kindUploads:   {[]string{http.MethodPost}, []string{"mount", "from", "digest"}},
	kindUpload: {
		[]string{http.MethodGet, http.MethodHead, http.MethodPatch, http.MethodPut, http.MethodDelete},
		[]string{"_state", "digest"},
	},
}

var uploadPattern = regexp.MustCompile(`^[A-Za-z0-9_.=-]{1,128}$`)

// parse understands a request's path. Repositories may be named like parts of
// the API (a/tags/list is a fine name), so a path is read from its end.
func parse(r *http.Request) (route, *problem) {
	path, p := plainPath(r)
	if p != nil {
		return route{}, p
	}
	switch path {
	case "/v2", "/v2/":
		return route{kind: kindBase}, nil
	case "/v2/_catalog":
		return route{kind: kindCatalog}, nil
	}
	parts := strings.Split(strings.TrimPrefix(path, "/v2/"), "/")
	n := len(parts)
	last := func(i int) string { // the i-th part from the end
		if i > n {
			return ""
		}
		return parts[n-i]
	}
	name := func(rest int) string { return strings.Join(parts[:n-rest], "/") }
	var found route
	switch {
	case last(2) == "manifests" && n > 2:
		found, p = parseReference(r.Method, name(2), last(1))
	case last(2) == "tags" && last(1) == "list" && n > 2:
		found = route{kind: kindTags, name: name(2)}
	case last(3) == "blobs" && last(2) == "uploads" && n > 3:
		found, p = parseUpload(name(3), last(1))
	case last(2) == "referrers" && n > 2:
		found = route{kind: kindReferrers, name: name(2)}
		found.digest, p = parseDigest(last(1))
	case last(2) == "blobs" && n > 2:
		found, p = parseBlob(name(2), last(1))
	default:
		return route{}, &problem{http.StatusNotFound, "NOT_FOUND", "no such endpoint in the registry API: " + path}
	}
	if p != nil {
		return route{}, p
	}
	// The specification's name ("Pulling manifests"), without a host: distribution
	// itself takes one for the first part, with capitals and a port.
	if !reference.IsName(found.name) {
		return route{}, &problem{http.StatusBadRequest, "NAME_INVALID",
			"repository name is not valid: it wants lower-case letters, digits and single separators (._-) in parts divided by /, 255 characters at most"}
	}
	return found, nil
}

var colons = strings.NewReplacer("%3A", ":", "%3a", ":")

// plainPath returns the path if it is written in the one way that leaves no
// doubt what it means. The only encoding that clients really use is that of the
// colon of a digest.
func plainPath(r *http.Request) (string, *problem) {
	plain := colons.Replace(r.URL.EscapedPath())
	for part := range strings.SplitSeq(plain, "/") {
		if part == "." || part == ".." || strings.Contains(part, "%") {
			return "", &problem{http.StatusBadRequest, "NAME_INVALID", "the path is encoded in a way that no name needs"}
		}
	}
	if strings.Contains(plain, "//") {
		return "", &problem{http.StatusBadRequest, "NAME_INVALID", "the path has an empty part"}
	}
	return plain, nil
}

func parseReference(method, name, ref string) (route, *problem) {
	found := route{kind: kindManifest, name: name}
	if strings.Contains(ref, ":") {
		d, p := parseDigest(ref)
		found.digest = d
		return found, p
	}
	if found.tag = ref; reference.IsTag(ref) {
		return found, nil
	}
	if method == http.MethodPut {
		return found, &problem{http.StatusBadRequest, "TAG_INVALID", wrongTag}
	}
	return found, &problem{http.StatusNotFound, "MANIFEST_UNKNOWN", wrongTag}
}

const wrongTag = "tag is not valid: it wants at most 128 letters, digits, _, . and -, the first of them no . or -"

func parseBlob(name, ref string) (route, *problem) {
	if ref == "uploads" { // without the slash that the specification wants
		return route{kind: kindUploads, name: name}, nil
	}
	d, p := parseDigest(ref)
	return route{kind: kindBlob, name: name, digest: d}, p
}

func parseUpload(name, id string) (route, *problem) {
	if id == "" {
		return route{kind: kindUploads, name: name}, nil
	}
	if !uploadPattern.MatchString(id) {
		return route{}, &problem{http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "there is no such upload"}
	}
	return route{kind: kindUpload, name: name, upload: id}, nil
}

func parseDigest(s string) (digest.Digest, *problem) {
	d, err := reference.ParseDigest(s)
	if err != nil {
		return "", &problem{http.StatusBadRequest, "DIGEST_INVALID",
			"digest is not valid: it wants an algorithm and lower-case hexadecimal digits, like sha256:<64 digits>"}
	}
	return d, nil
}

// path writes the route out again.
func (r route) path() string {
	switch r.kind {
	case kindCatalog:
		return "/v2/_catalog"
	case kindTags:
		return "/v2/" + r.name + "/tags/list"
	case kindManifest:
		return "/v2/" + r.name + "/manifests/" + r.tag + r.digest.String()
	case kindReferrers:
		return "/v2/" + r.name + "/referrers/" + r.digest.String()
	case kindBlob:
		return "/v2/" + r.name + "/blobs/" + r.digest.String()
	case kindUploads:
		return "/v2/" + r.name + "/blobs/uploads/"
	case kindUpload:
		return "/v2/" + r.name + "/blobs/uploads/" + r.upload
	default:
		return "/v2/"
	}
}
