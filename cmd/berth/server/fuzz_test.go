package server

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzForwarded sends anything as the headers of proxies, from one that is
// trusted and from one that is not: what comes of them is an address, a host
// and a scheme, and nothing at all if nobody is to be believed.
func FuzzForwarded(f *testing.F) {
	for _, seed := range [][3]string{
		{"", "", ""}, {"192.0.2.1", "https", "berth.example"}, {"192.0.2.1, 198.51.100.2", "https, http", "a.example, b.example:5000"},
		{"[2001:db8::1]:443,198.51.100.9", "HTTPS", "[2001:db8::2]:5000"}, {"unknown, 198.51.100.1", "ftp", "evil.example/path"},
		{"::ffff:192.0.2.1%eth0", "https\x00", "a b"}, {",,,", ",", "user@host"}, {"192.0.2.1:99999", "https,", "a:123456"},
	} {
		f.Add(seed[0], seed[1], seed[2], "for=192.0.2.1;host=a;proto=https")
	}
	var seen *http.Request
	s := &Server{options: Options{TrustedProxies: Networks{netip.MustParsePrefix("198.51.100.0/24")}}}
	h := s.behindProxies(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r }))
	f.Fuzz(func(t *testing.T, client, proto, host, other string) {
		for _, peer := range []string{"198.51.100.7:1234", "203.0.113.1:1234"} {
			r := httptest.NewRequest("GET", "/v2/", nil)
			r.RemoteAddr = peer
			r.Header["X-Forwarded-For"], r.Header["X-Forwarded-Proto"] = []string{client}, []string{proto}
			r.Header["X-Forwarded-Host"], r.Header["Forwarded"], r.Header["X-Real-Ip"] = []string{host}, []string{other}, []string{other}
			before := r.Host
			h.ServeHTTP(httptest.NewRecorder(), r)
			if _, err := netip.ParseAddrPort(seen.RemoteAddr); err != nil {
				t.Fatalf("the client is %q", seen.RemoteAddr)
			}
			if strings.HasPrefix(peer, "203") && (seen.RemoteAddr != peer || seen.Host != before || seen.Header.Get("X-Forwarded-Proto") != "") {
				t.Fatalf("%s is believed: %q %q %q", peer, seen.RemoteAddr, seen.Host, seen.Header)
			}
			if seen.Host != before && !hostForm.MatchString(seen.Host) {
				t.Fatalf("the host is %q", seen.Host)
			}
			if scheme := seen.Header.Get("X-Forwarded-Proto"); scheme != "" && scheme != "http" && scheme != "https" {
				t.Fatalf("the scheme is %q", scheme)
			}
			if seen.Header.Get("Forwarded") != "" || seen.Header.Get("X-Real-Ip") != "" || !forwarded(seen) {
				t.Fatal("the headers of proxies are left, or overlooked")
			}
		}
	})
}

// FuzzBrowser asks an open registry under any name, from any page: it answers
// to none that is not its own, and no page of another site changes anything.
func FuzzBrowser(f *testing.F) {
	for _, seed := range [][3]string{
		{"localhost:5000", "", ""}, {"127.0.0.1", "http://127.0.0.1", "same-origin"}, {"[::1]:5000", "http://evil.example", "cross-site"},
		{"berth.example.", "null", "none"}, {"evil.localhost.example", "http://berth.example", ""}, {"[127.0.0.1", "://", "x"}, {"127.1", "", ""},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	passed := false
	s := &Server{options: Options{Browsers: Browsers{Open: func() bool { return true }, Hosts: []string{"berth.example"}}}}
	h := s.browsers(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { passed = true }))
	f.Fuzz(func(t *testing.T, host, origin, site string) {
		for _, method := range []string{"GET", "POST"} {
			r := httptest.NewRequest(method, "/v2/", nil)
			r.Host, passed = host, false
			r.Header["Origin"], r.Header["Sec-Fetch-Site"] = []string{origin}, []string{site}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if passed == (w.Code >= 400) {
				t.Fatalf("%d, and passed is %v", w.Code, passed)
			}
			if passed && strings.Contains(host, "evil") && !strings.HasSuffix(strings.ToLower(hostName(host)), ".localhost") {
				t.Fatalf("%q is berth's", host)
			}
			if passed && method == "POST" && site == "cross-site" {
				t.Fatalf("a page of %q may post", origin)
			}
		}
	})
}

// FuzzShown logs anything that a client chose: it is short, and can be read.
func FuzzShown(f *testing.F) {
	for _, seed := range []string{"", "curl/8", strings.Repeat("\xff", 1000), "a\nb", strings.Repeat("ä", 200), "\u202e", strings.Repeat("\U0001F600", 300)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got := shown(value)
		if len(got) > 2*mostShown || !utf8.ValidString(got) || strings.ContainsAny(got, "\x00\n\r\x1b") {
			t.Errorf("%q is shown as %q", value, got)
		}
		routeOf(value)
	})
}
