package operation

import (
	"net/http"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// TestBrowsers asks a berth without accounts as a page of another site would,
// and as other clients do.
func TestBrowsers(t *testing.T) {
	t.Parallel()
	b := harness.Start(t, harness.WithEnv("BERTH_HTTP_HOSTS=registry.lan"))
	ask := func(method, path, host string, header ...string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, b.URL+path, strings.NewReader(strings.Repeat("x", 1<<20)))
		if err != nil {
			t.Fatal(err)
		}
		if method == "GET" {
			r.Body, r.ContentLength = nil, 0
		}
		r.Host = host
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		a, err := b.HTTP.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = a.Body.Close()
		return a.StatusCode
	}
	const uploads = "/v2/alice/app/blobs/uploads/"
	for _, host := range []string{b.Host, "registry.lan", "localhost"} {
		if code := ask("POST", uploads, host); code != http.StatusAccepted {
			t.Errorf("a client at %s: %d", host, code)
		}
	}
	for _, path := range []string{"/v2/", "/v2/_catalog", "/v1/images"} {
		if code := ask("GET", path, "evil.example.org"); code != http.StatusMisdirectedRequest {
			t.Errorf("%s by DNS rebinding: %d", path, code)
		}
	}
	if code := ask("POST", uploads, b.Host, "Content-Type", "text/plain", "Origin", "https://evil.example.org", "Sec-Fetch-Site", "cross-site"); code != http.StatusForbidden {
		t.Errorf("a POST of another site: %d", code)
	}
	// Nobody points a name at a registry that wants tokens.
	harness.AddAccount(t, b, "alice")
	if code := ask("GET", "/v2/", "evil.example.org"); code != http.StatusUnauthorized {
		t.Errorf("with accounts: %d", code)
	}
}
