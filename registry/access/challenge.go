package access

import (
	"net/http"
	"regexp"
	"strings"

	"github.com/berth-oci/berth/storage/reference"
)

// TokenPath is where [Gate.TokenHandler] is to be reached: challenges say so.
const TokenPath = "/token"

var hostPattern = regexp.MustCompile(`^(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?$`)

// Challenge is the value of WWW-Authenticate that makes OCI clients get a token
// for an action on a repository: pull, push (which includes pull) or delete
// (which includes both). No repository asks for no scope, as at /v2/; _catalog
// asks for the list of repositories.
//
// If the request brought a token that is not good any more, the challenge says
// so, or containerd would send the same one again.
func (g *Gate) Challenge(r *http.Request, repository, action string) string {
	base := g.base(r)
	if base == "" {
		return basicChallenge
	}
	var b strings.Builder
	b.WriteString(`Bearer realm="` + base + TokenPath + `",service="` + g.service + `"`)
	switch {
	case repository == "_catalog":
		b.WriteString(`,scope="registry:catalog:*"`)
	case reference.IsName(repository):
		b.WriteString(`,scope="repository:` + repository + `:` + actions(action) + `"`)
	}
	if HasCredentials(r) {
		if _, err := g.Identify(r); err != nil {
			b.WriteString(`,error="invalid_token"`)
		}
	}
	return b.String()
}

const basicChallenge = `Basic realm="berth"`

func actions(action string) string {
	switch action {
	case "push":
		return "pull,push"
	case "delete":
		return "pull,push,delete"
	default:
		return "pull"
	}
}

// base is scheme and host under which the client reaches the registry, "" if
// that cannot be said. A proxy that ends TLS and says so is believed, for else
// credentials would be sent to it in clear: of a request through any other than
// a trusted proxy, the listener leaves nothing that says so.
func (g *Gate) base(r *http.Request) string {
	if g.public != "" {
		return g.public
	}
	if !hostPattern.MatchString(r.Host) {
		return ""
	}
	if r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https") {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}
