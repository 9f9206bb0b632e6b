package access

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const formType = "application/x-www-form-urlencoded"

func TestTokenEndpoint(t *testing.T) {
	g, _ := gate(t, GateOptions{})
	h := g.TokenHandler()
	good := basic("alice", secretOf("alice", "laptop"))
	password := url.Values{"grant_type": {"password"}, "service": {"berth"}, "client_id": {"containerd-client"},
		"scope": {"repository:alice/app:pull"}, "username": {"alice"}, "password": {secretOf("alice", "reader")}}
	wrong := url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {"hush"}}
	for name, test := range map[string]struct {
		method, query, contentType, body string
		values                           []string
		status                           int
		want                             string // name and label, or what the body says
	}{
		"docker login":       {method: "GET", query: "?account=alice&client_id=docker&offline_token=true&service=berth", values: good, status: 200, want: "alice laptop"},
		"docker pull":        {method: "GET", query: "?scope=repository%3Aalice%2Fapp%3Apull&scope=x&service=anything", values: good, status: 200, want: "alice laptop"},
		"robot":              {method: "GET", values: basic("robot$alice.users.kraftcloud", secretOf("alice", "laptop")), status: 200, want: "alice laptop"},
		"platform's bearer":  {method: "GET", values: []string{"Bearer " + Bearer("alice", secretOf("alice", "laptop"))}, status: 200, want: "alice laptop"},
		"anonymous":          {method: "GET", query: "?service=berth", status: 200, want: " "},
		"head":               {method: "HEAD", values: good, status: 200},
		"containerd":         {method: "POST", contentType: formType + "; charset=utf-8", body: password.Encode(), status: 200, want: "alice reader"},
		"post with basic":    {method: "POST", contentType: formType, body: "grant_type=password", values: good, status: 200, want: "alice laptop"},
		"post, no form":      {method: "POST", values: good, status: 200, want: "alice laptop"},
		"post, anonymous":    {method: "POST", status: 200, want: " "},
		"refresh token":      {method: "POST", contentType: formType, body: "grant_type=refresh_token&refresh_token=hush", status: 400, want: `{"error":"unsupported_grant_type","error_description":"only grant_type=password is supported: log in with the account's token as the password"}`},
		"client credentials": {method: "POST", contentType: formType, body: "grant_type=client_credentials", values: good, status: 400, want: `"unsupported_grant_type"`},
		"no password":        {method: "POST", contentType: formType, body: "grant_type=password&username=alice", status: 400, want: `"invalid_request"`},
		"password in query":  {method: "POST", query: "?" + password.Encode(), contentType: formType, body: "grant_type=password", status: 400, want: `"invalid_request"`},
		"json":               {method: "POST", contentType: "application/json", body: "{}", status: 400, want: `"invalid_request"`},
		"bad form":           {method: "POST", contentType: formType, body: "a=%zz", status: 400, want: `"invalid_request"`},
		"large form":         {method: "POST", contentType: formType, body: "a=" + strings.Repeat("x", maxForm), status: 413, want: `"invalid_request"`},
		"wrong":              {method: "GET", values: basic("alice", "hush"), status: 401, want: `{"errors":[{"code":"UNAUTHORIZED","message":"the credentials are not valid: no account has this name and token"}]}`},
		"wrong, post":        {method: "POST", contentType: formType, body: wrong.Encode(), status: 401, want: `"UNAUTHORIZED"`},
		"expired":            {method: "GET", values: basic("alice", secretOf("alice", "old")), status: 401, want: `the token has expired`},
		"signed":             {method: "GET", values: []string{"Bearer " + g.sign(identify(t, g, "alice", "laptop"), now)}, status: 401, want: `"UNAUTHORIZED"`},
		"put":                {method: "PUT", values: good, status: 405, want: `"UNSUPPORTED"`},
		"delete":             {method: "DELETE", status: 405, want: `"UNSUPPORTED"`},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(test.method, "http://registry.example.com/token"+test.query, strings.NewReader(test.body))
			r.RemoteAddr = "192.0.2.1:1"
			r.Header["Authorization"] = test.values
			if test.contentType != "" {
				r.Header.Set("Content-Type", test.contentType)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != test.status || w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Content-Type") != "application/json" {
				t.Fatalf("got %d %v: %s", w.Code, w.Header(), w.Body)
			}
			if challenge := w.Header().Get("WWW-Authenticate"); (w.Code == 401) != (challenge == `Basic realm="berth"`) {
				t.Errorf("challenge: %q", challenge)
			}
			if allow := w.Header().Get("Allow"); (w.Code == 405) != (allow == "GET, HEAD, POST") {
				t.Errorf("allow: %q", allow)
			}
			if w.Code != 200 {
				noSecret(t, w.Body.String())
				if !strings.Contains(w.Body.String(), test.want) {
					t.Errorf("got %s", w.Body)
				}
				return
			}
			if test.method == "HEAD" {
				return
			}
			var answer tokenAnswer
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
				t.Fatal(err)
			}
			issued, err := time.Parse(time.RFC3339, answer.IssuedAt)
			if err != nil || !issued.Equal(now) || answer.ExpiresIn != 300 || answer.Token == "" || answer.Token != answer.AccessToken {
				t.Errorf("got %+v, %v", answer, err)
			}
			c, err := g.Identify(request("Bearer " + answer.Token))
			if got := c.Name() + " " + c.Label(); err != nil || got != test.want {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// In an open registry any credentials get a token, and one that was got then
// is an anonymous one once the registry is closed.
func TestTokenEndpointOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts.yaml")
	a, _ := opened(t, path)
	g := NewGate(a, GateOptions{})
	w := httptest.NewRecorder()
	g.TokenHandler().ServeHTTP(w, request(basic("who", "ever")...))
	var answer tokenAnswer
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK {
		t.Fatalf("got %d %s: %v", w.Code, w.Body, err)
	}
	write(t, path, one)
	if c, err := g.Identify(request("Bearer " + answer.Token)); err != nil || !c.Anonymous() {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestChallenge(t *testing.T) {
	const head = `Bearer realm="http://registry.example.com:5000/token",service="berth"`
	g, _ := gate(t, GateOptions{})
	public, _ := gate(t, GateOptions{PublicURL: "https://registry.example.com", Service: "registry.example.com"})
	signed := "Bearer " + g.sign(identify(t, g, "alice", "laptop"), now)
	old := "Bearer " + g.sign(identify(t, g, "alice", "laptop"), now.Add(-time.Hour))
	proxied, odd := request(), request()
	proxied.Header.Set("X-Forwarded-Proto", "https")
	odd.Host = `a",realm="http://elsewhere`
	ipv6 := request()
	ipv6.Host = "[::1]:5000"
	for name, test := range map[string]struct {
		gate               *Gate
		r                  *http.Request
		repository, action string
		want               string
	}{
		"base":           {g, request(), "", "", head},
		"pull":           {g, request(), "alice/app", "pull", head + `,scope="repository:alice/app:pull"`},
		"push":           {g, request(), "alice/app", "push", head + `,scope="repository:alice/app:pull,push"`},
		"delete":         {g, request(), "alice/app", "delete", head + `,scope="repository:alice/app:pull,push,delete"`},
		"catalog":        {g, request(), "_catalog", "pull", head + `,scope="registry:catalog:*"`},
		"malformed name": {g, request(), `a",x="`, "pull", head},
		"good token":     {g, request(signed), "bob/app", "pull", head + `,scope="repository:bob/app:pull"`},
		"old token":      {g, request(old), "alice/app", "pull", head + `,scope="repository:alice/app:pull",error="invalid_token"`},
		"public":         {public, request(), "a/b", "pull", `Bearer realm="https://registry.example.com/token",service="registry.example.com",scope="repository:a/b:pull"`},
		"proxied":        {g, proxied, "", "", `Bearer realm="https://registry.example.com:5000/token",service="berth"`},
		"IPv6":           {g, ipv6, "", "", `Bearer realm="http://[::1]:5000/token",service="berth"`},
		"odd host":       {g, odd, "", "", `Basic realm="berth"`},
	} {
		if got := test.gate.Challenge(test.r, test.repository, test.action); got != test.want {
			t.Errorf("%s: got %s", name, got)
		}
	}
}
