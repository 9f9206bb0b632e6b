package registry

import (
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// rebuild makes the request that distribution sees, from the parsed route.
// distribution reads parameters with FormValue, where a form in the body beats
// the query, and trusts forwarding headers from anyone: neither gets through.
func rebuild(r *http.Request, found route) *http.Request {
	out := r.Clone(r.Context())
	out.URL = &url.URL{Path: found.path(), RawQuery: parameters(r, endpoints[found.kind].parameters).Encode()}
	out.RequestURI = out.URL.RequestURI()
	out.Form, out.PostForm, out.MultipartForm = nil, nil, nil
	for _, name := range []string{
		"Authorization", "Cookie", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host",
		"X-Forwarded-Proto", "X-Forwarded-Port", "X-Real-Ip", "Transfer-Encoding",
	} {
		out.Header.Del(name)
	}
	if found.kind == kindUploads || found.kind == kindUpload || isForm(out.Header.Get("Content-Type")) {
		out.Header.Set("Content-Type", "application/octet-stream")
	}
	return out
}

// parameters takes the named ones out of the query, the first value of each. A
// part of the query that cannot be decoded is none of them.
func parameters(r *http.Request, names []string) url.Values {
	kept := url.Values{}
	given, _ := url.ParseQuery(r.URL.RawQuery)
	for _, name := range names {
		if given.Has(name) {
			kept.Set(name, given.Get(name))
		}
	}
	return kept
}

func isForm(contentType string) bool {
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		mediaType, _, _ = strings.Cut(contentType, ";")
		mediaType = strings.ToLower(strings.TrimSpace(mediaType))
	}
	return mediaType == "application/x-www-form-urlencoded" || strings.HasPrefix(mediaType, "multipart/")
}
