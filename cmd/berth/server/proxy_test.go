package server

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// TestTrustedProxies asks with forwarding headers, from proxies and others.
func TestTrustedProxies(t *testing.T) {
	o := testOptions(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, name := range forwarding[3:] {
			if value := r.Header.Get(name); value != "" {
				t.Errorf("%s: %s comes through", name, value)
			}
		}
		fmt.Fprintf(w, "%s %s %s %s", r.RemoteAddr, r.Header.Get("X-Forwarded-Proto"), r.Host, r.Header.Get("X-Forwarded-For"))
	}))
	o.TrustedProxies = Networks{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("192.0.2.7/32")}
	s := New(o)
	for _, test := range []struct {
		peer, headers, want string
	}{
		{"203.0.113.1:5", "X-Forwarded-For: 1.2.3.4|X-Forwarded-Proto: https|X-Forwarded-Host: evil|Forwarded: for=1.2.3.4;proto=https|X-Real-Ip: 1.2.3.4|X-Forwarded-Port: 1", "203.0.113.1:5  asked "},
		{"10.0.0.1:5", "", "10.0.0.1:5  asked "},
		{"10.0.0.1:5", "X-Forwarded-For: 1.2.3.4|X-Forwarded-Proto: HTTPS|X-Forwarded-Host: public.test:8443", "1.2.3.4:0 https public.test:8443 "},
		{"192.0.2.7:5", "X-Forwarded-For: 1.2.3.4", "1.2.3.4:0  asked "},
		{"192.0.2.8:5", "X-Forwarded-For: 1.2.3.4", "192.0.2.8:5  asked "},
		{"[::ffff:10.0.0.1]:5", "X-Forwarded-For: 1.2.3.4:99", "1.2.3.4:99  asked "},
		{"[fd00::1]:5", "X-Forwarded-For: 2001:db8::1", "[2001:db8::1]:0  asked "},
		{"[fd00::1]:5", "X-Forwarded-For: [2001:db8::1]:7", "[2001:db8::1]:7  asked "},
		// What the client invented stands before what the proxies say.
		{"10.0.0.1:5", "X-Forwarded-For: 6.6.6.6, 1.2.3.4", "1.2.3.4:0  asked "},
		{"10.0.0.1:5", "X-Forwarded-For: 10.0.0.9, 6.6.6.6, 1.2.3.4, 10.0.0.2", "1.2.3.4:0  asked "},
		{"10.0.0.1:5", "X-Forwarded-For: 6.6.6.6|X-Forwarded-For: 1.2.3.4, 10.0.0.2", "1.2.3.4:0  asked "},
		{"10.0.0.1:5", "X-Forwarded-For: 1.2.3.4, 10.0.0.2|X-Forwarded-Proto: https, http|X-Forwarded-Host: public, inner", "1.2.3.4:0 https public "},
		{"10.0.0.1:5", "X-Forwarded-For: 6.6.6.6, 1.2.3.4, 10.0.0.2|X-Forwarded-Proto: https, http, https", "1.2.3.4:0 http asked "},
		{"10.0.0.1:5", "X-Forwarded-For: 10.0.0.3, 10.0.0.2", "10.0.0.3:0  asked "},
		{"10.0.0.1:5", "X-Forwarded-For: 1.2.3.4, unknown, 10.0.0.2", "10.0.0.2:0  asked "},
		{"10.0.0.1:5", "X-Forwarded-For: garbage", "10.0.0.1:5  asked "},
		{"10.0.0.1:5", "X-Forwarded-Proto: gopher|X-Forwarded-Host: a b", "10.0.0.1:5  asked "},
	} {
		r := httptest.NewRequest("GET", "/v2/", nil)
		r.Host, r.RemoteAddr = "asked", test.peer
		if test.headers != "" {
			for line := range strings.SplitSeq(test.headers, "|") {
				name, value, _ := strings.Cut(line, ": ")
				r.Header.Add(name, value)
			}
		}
		w := httptest.NewRecorder()
		s.main.Handler.ServeHTTP(w, r)
		if got := w.Body.String(); got != test.want {
			t.Errorf("from %s with %s: got %q, want %q", test.peer, test.headers, got, test.want)
		}
	}
}

// TestMetricsHidden asks for metrics through proxies on this machine.
func TestMetricsHidden(t *testing.T) {
	o := testOptions(readAll)
	o.Metrics = prometheus.NewRegistry()
	o.TrustedProxies = Networks{netip.MustParsePrefix("127.0.0.2/32")}
	s := New(o)
	for _, test := range []struct {
		peer, header, value string
		want                int
	}{
		{"127.0.0.1:1", "", "", 200}, {"[::1]:1", "", "", 200}, {"192.0.2.1:1", "", "", 404},
		{"127.0.0.1:1", "X-Forwarded-For", "127.0.0.1", 404}, {"127.0.0.1:1", "Forwarded", "for=127.0.0.1", 404},
		{"127.0.0.1:1", "Via", "1.1 x", 404}, {"127.0.0.1:1", "X-Real-Ip", "127.0.0.1", 404},
		{"127.0.0.2:1", "X-Forwarded-For", "127.0.0.1", 404},
	} {
		r := httptest.NewRequest("GET", "/metrics", nil)
		r.RemoteAddr = test.peer
		r.Header.Set(test.header, test.value)
		w := httptest.NewRecorder()
		s.main.Handler.ServeHTTP(w, r)
		if w.Code != test.want {
			t.Errorf("from %s with %s: %d, want %d", test.peer, test.header, w.Code, test.want)
		}
	}
}
