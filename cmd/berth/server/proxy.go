package server

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
)

// Networks are addresses that something holds for.
type Networks []netip.Prefix

func (n Networks) contains(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	for _, p := range n {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// forwarding are the headers in which proxies say for whom they ask. What is
// not in the first three is believed from nobody.
var forwarding = []string{
	"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host",
	"Forwarded", "X-Real-Ip", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Server", "X-Forwarded-Ssl", "X-Forwarded-Scheme",
}

type forwardedKey struct{}

// forwarded reports whether a proxy asks for someone else, trusted or not.
func forwarded(r *http.Request) bool {
	is, _ := r.Context().Value(forwardedKey{}).(bool)
	return is
}

// behindProxies lets only the trusted proxies say for whom they ask. For what
// comes after it, r.RemoteAddr is the client's address, r.Host the host that it
// asked for, and X-Forwarded-Proto, the only header of these that is left,
// the scheme that a trusted proxy was asked by. That there is a proxy at all, which
// may not be believed in anything else, is what Via says.
func (s *Server) behindProxies(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var given map[string][]string // mostly nothing
		is := r.Header.Get("Via") != ""
		for i, name := range forwarding {
			if values := r.Header[name]; len(values) > 0 { // as net/http writes it
				is = true
				if i < 3 {
					if given == nil {
						given = make(map[string][]string, 3)
					}
					given[name] = split(values)
				}
				r.Header.Del(name)
			}
		}
		peer, err := netip.ParseAddrPort(r.RemoteAddr)
		if err == nil && s.options.TrustedProxies.contains(peer.Addr()) {
			s.believe(r, peer, given)
		}
		if is {
			if r.Header.Get("Via") == "" {
				r.Header.Set("Via", "1.1 proxy") // for who is behind this, and asks
			}
			r = r.WithContext(context.WithValue(r.Context(), forwardedKey{}, true))
		}
		h.ServeHTTP(w, r)
	})
}

// hostForm is a host that may stand in an address.
var hostForm = regexp.MustCompile(`^(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?$`)

// believe takes what a trusted proxy says. Each proxy appends the address that
// it was asked by, so the last one that is no trusted proxy's is the client's;
// whatever stands before it may be the client's invention.
func (s *Server) believe(r *http.Request, peer netip.AddrPort, given map[string][]string) {
	addresses := given["X-Forwarded-For"]
	client, at := peer, len(addresses)
	for at > 0 && s.options.TrustedProxies.contains(client.Addr()) {
		next, ok := parseClient(addresses[at-1])
		if !ok {
			break
		}
		client, at = next, at-1
	}
	r.RemoteAddr = client.String()
	// The proxy that the client asked says what it was asked for.
	first := func(values []string) string {
		switch {
		case len(values) == 0:
			return ""
		case len(values) == len(addresses) && at < len(values):
			return values[at]
		}
		return values[len(values)-1]
	}
	if proto := strings.ToLower(first(given["X-Forwarded-Proto"])); proto == "http" || proto == "https" {
		r.Header.Set("X-Forwarded-Proto", proto)
	}
	if host := first(given["X-Forwarded-Host"]); hostForm.MatchString(host) {
		r.Host = host
	}
}

// parseClient reads an address with or without a port; without, it is 0.
func parseClient(text string) (netip.AddrPort, bool) {
	if ip, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return netip.AddrPortFrom(ip.Unmap().WithZone(""), 0), true
	}
	a, err := netip.ParseAddrPort(text)
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port()), err == nil
}

// split reads a list that may be spread over several headers.
func split(values []string) []string {
	var all []string
	for _, v := range values {
		for one := range strings.SplitSeq(v, ",") {
			all = append(all, strings.TrimSpace(one))
		}
	}
	return all
}

// loopbackOnly hides a handler from everyone who is not on this machine. A
// proxy on this machine is not its client, whether it is trusted or not.
func loopbackOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() || forwarded(r) {
			writeText(w, r, http.StatusNotFound, "not found")
			return
		}
		h.ServeHTTP(w, r)
	})
}
