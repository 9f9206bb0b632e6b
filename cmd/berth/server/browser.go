package server

import (
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// Browsers says which requests of a browser are its user's. What no browser
// sends is not affected: other clients send neither Origin nor Sec-Fetch-Site.
type Browsers struct {
	// Open reports whether everyone may do everything. A page of any site could
	// then reach berth under a name of that site's own, which leads to an
	// address of this machine or network (DNS rebinding): names other than
	// berth's are refused.
	Open func() bool
	// Hosts are the names by which berth is known, beside IP addresses and
	// localhost, without port.
	Hosts []string
	// Origin is scheme and host of the public URL, "" for none.
	Origin string
}

// browsers refuses what the page of another site sends.
func (s *Server) browsers(next http.Handler) http.Handler {
	o := s.options.Browsers
	known := map[string]bool{}
	for _, host := range o.Hosts {
		known[hostName(host)] = true
	}
	if u, err := url.Parse(o.Origin); err == nil && u.Host != "" {
		known[hostName(u.Host)] = true
	}
	cross := http.NewCrossOriginProtection()
	if o.Origin != "" {
		_ = cross.AddTrustedOrigin(o.Origin) // validated
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := cross.Check(r); err != nil {
			refuse(w, r, http.StatusForbidden, "DENIED", "this comes from a page of another site, which may change nothing here")
			return
		}
		probe := r.URL.Path == "/healthz" || r.URL.Path == "/readyz"
		if o.Open != nil && !probe && !ownHost(r.Host, known) && o.Open() {
			refuse(w, r, http.StatusMisdirectedRequest, "DENIED", "a registry without accounts answers only to an IP address, to localhost, "+
				"to the host of http.public_url, and to those in http.hosts: add the name there if it is berth's")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ownHost reports whether a Host is berth's: no name, an IP address, localhost or
// a known one.
func ownHost(host string, known map[string]bool) bool {
	name := hostName(host)
	if name == "" || name == "localhost" || strings.HasSuffix(name, ".localhost") || known[name] {
		return true
	}
	_, err := netip.ParseAddr(name)
	return err == nil
}

// hostName is a Host without port, brackets and the dot at its end, in small
// letters.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		host = strings.TrimSuffix(inner, "]")
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// refuse answers in the form of whichever API a path belongs to. The code is one
// of the distribution specification.
func refuse(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	type object = map[string]any
	var body object
	path := r.URL.Path
	switch {
	case path == "/v2" || strings.HasPrefix(path, "/v2/") || path == "/token" || strings.HasPrefix(path, "/api/v2.0/"):
		body = object{"errors": []object{{"code": code, "message": message}}}
	case path == "/v1" || strings.HasPrefix(path, "/v1/") || path == "/images":
		body = object{"status": "error", "message": message, "errors": []object{{"status": status}}}
	default:
		writeText(w, r, status, message)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_ = json.NewEncoder(w).Encode(body) // the client is gone
	}
}
