package server

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// browsed is a server whose registry counts what reaches it.
func browsed(open bool) (h http.Handler, reached *int) {
	reached = new(int)
	count := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { *reached++; w.WriteHeader(http.StatusAccepted) })
	o := testOptions(count)
	o.Browsers = Browsers{
		Open: func() bool { return open }, Hosts: []string{"registry.lan", "Other.Example.com:5000"}, Origin: "https://public.example.com",
	}
	return New(o).main.Handler, reached
}

func TestHostOfAnotherSite(t *testing.T) {
	h, reached := browsed(true)
	ask := func(method, host, path string) *http.Response {
		r := httptest.NewRequest(method, path, strings.NewReader("{}"))
		r.Host = host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result()
	}
	for _, host := range []string{
		"", "127.0.0.1:5000", "127.0.0.1", "[::1]:5000", "[::1]", "192.168.1.7:5000", "localhost:5000", "LOCALHOST", "localhost.", "app.localhost:1",
		"registry.lan", "registry.lan:443", "Registry.LAN.:5000", "other.example.com", "public.example.com", "public.example.com:5000",
	} {
		before := *reached
		if a := ask("DELETE", host, "/v2/alice/app/manifests/latest"); a.StatusCode != http.StatusAccepted || *reached != before+1 {
			t.Errorf("%q: %d", host, a.StatusCode)
		}
	}
	before := *reached
	for _, host := range []string{"evil.example.org", "evil.example.org:5000", "127.0.0.1.evil.example.org", "localhost.evil.example.org", "evil", "evillocalhost", "registry.lan.evil.example.org", "xregistry.lan", "127.0.0.1.nip.io:5000", "[::1].evil.example.org"} {
		for _, path := range []string{"/v2/", "/v2/alice/app/tags/list", "/v1/images", "/images", "/token", "/api/v2.0/projects/alice/summary", "/metrics", "/"} {
			for _, method := range []string{"GET", "PUT", "DELETE", "POST"} {
				a := ask(method, host, path)
				body, _ := io.ReadAll(a.Body)
				if a.StatusCode != http.StatusMisdirectedRequest || !strings.Contains(string(body), "http.hosts") {
					t.Errorf("%s %s at %q: %d %s", method, path, host, a.StatusCode, body)
				}
				wantForm(t, path, body, a.StatusCode)
			}
		}
		if a := ask("GET", host, "/healthz"); a.StatusCode != http.StatusOK {
			t.Error("a probe is refused")
		}
	}
	if *reached != before {
		t.Error("a page of another site reaches the registry")
	}
	// With accounts the name does not matter: a page has no token to send.
	h, reached = browsed(false)
	if a := ask("DELETE", "evil.example.org", "/v2/alice/app/manifests/latest"); a.StatusCode != http.StatusAccepted || *reached != 1 {
		t.Errorf("with accounts: %d", a.StatusCode)
	}
}

// wantForm wants an error in the form of the API that a path belongs to.
func wantForm(t *testing.T, path string, body []byte, status int) {
	t.Helper()
	var got struct {
		Status, Message string
		Errors          []struct {
			Code, Message string
			Status        int
		}
	}
	err := json.Unmarshal(body, &got)
	switch {
	case path == "/metrics" || path == "/":
	case err != nil || len(got.Errors) != 1:
		t.Errorf("%s: %v: %s", path, err, body)
	case strings.HasPrefix(path, "/v1") || path == "/images":
		if got.Status != "error" || got.Message == "" || got.Errors[0].Status != status {
			t.Errorf("%s: %s", path, body)
		}
	default:
		if got.Errors[0].Code != "DENIED" || got.Errors[0].Message == "" {
			t.Errorf("%s: %s", path, body)
		}
	}
}

func TestPageOfAnotherSite(t *testing.T) {
	for _, open := range []bool{true, false} {
		h, reached := browsed(open)
		ask := func(method, path string, header ...string) (int, []byte) {
			r := httptest.NewRequest(method, path, strings.NewReader("text"))
			r.Host = "127.0.0.1:5000"
			for i := 0; i < len(header); i += 2 {
				r.Header.Set(header[i], header[i+1])
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w.Code, w.Body.Bytes()
		}
		for name, header := range map[string][]string{
			"a client": {}, "a form of nobody's": {"Content-Type", "text/plain"},
			"berth's own page":     {"Sec-Fetch-Site", "same-origin", "Origin", "http://127.0.0.1:5000"},
			"the user":             {"Sec-Fetch-Site", "none"},
			"an old browser":       {"Origin", "http://127.0.0.1:5000"},
			"behind a proxy":       {"Origin", "https://public.example.com"},
			"behind a proxy, site": {"Origin", "https://public.example.com", "Sec-Fetch-Site", "same-site"},
		} {
			before := *reached
			if code, body := ask("POST", "/v2/alice/app/blobs/uploads/", header...); code != http.StatusAccepted || *reached != before+1 {
				t.Errorf("%s: %d %s", name, code, body)
			}
		}
		before := *reached
		for name, header := range map[string][]string{
			"another site":          {"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example.org", "Content-Type", "text/plain"},
			"without an origin":     {"Sec-Fetch-Site", "cross-site"},
			"a sister":              {"Sec-Fetch-Site", "same-site", "Origin", "https://evil.example.com"},
			"an old browser":        {"Origin", "https://evil.example.org"},
			"a file":                {"Origin", "null"},
			"another port":          {"Origin", "http://127.0.0.1:6000"},
			"the public one, clear": {"Origin", "http://public.example.com"},
		} {
			for _, path := range []string{"/v2/alice/app/blobs/uploads/", "/v1/images", "/token"} {
				for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
					code, body := ask(method, path, header...)
					if code != http.StatusForbidden {
						t.Errorf("%s: %s %s: %d %s", name, method, path, code, body)
					}
					wantForm(t, path, body, code)
				}
			}
		}
		if *reached != before {
			t.Error("a page of another site reaches the registry")
		}
		if code, _ := ask("GET", "/v2/", "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example.org"); code != http.StatusAccepted {
			t.Errorf("reading, which the browser keeps from the page: %d", code)
		}
	}
}
