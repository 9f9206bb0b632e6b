package access

import (
	"container/list"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// FuzzToken asks the token endpoint for a token with any credentials, parameters
// and form: what it gives is good for who has proven who it is, and no more.
func FuzzToken(f *testing.F) {
	g, _ := gate(f, GateOptions{Secret: []byte("key")})
	secret := secretOf("alice", "laptop")
	good := basic("alice", secret)[0]
	signed := "Bearer " + g.sign(identify(f, g, "alice", "laptop"), now)
	const form = "application/x-www-form-urlencoded"
	for _, seed := range [][4]string{
		{"", "service=berth&scope=repository:alice/app:pull,push&account=alice", "", ""}, {good, "scope=repository:bob/app:*", "", ""},
		{"", "", form, "grant_type=password&username=alice&password=" + secret}, {"", "", form, "grant_type=password&username=alice"},
		{"", "", form + "; charset=utf-8", "grant_type=refresh_token&refresh_token=x"}, {signed, "", form, "grant_type=password"},
		{"Basic =", "scope=" + strings.Repeat("a ", 100), "multipart/form-data; boundary=x", "--x\r\n"}, {"", "%zz", form, "%zz"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	f.Fuzz(func(t *testing.T, authorization, query, contentType, body string) {
		for _, method := range []string{"GET", "POST"} {
			// Each from an address of its own, or it would be slowed down.
			g.failures.failures, g.failures.recent = nil, list.List{}
			r := httptest.NewRequest(method, "/token", strings.NewReader(body))
			r.URL.RawQuery = query
			r.Header["Authorization"], r.Header["Content-Type"] = []string{authorization}, []string{contentType}
			w := httptest.NewRecorder()
			g.serveToken(w, r)
			var answer struct{ Token string }
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
				t.Fatalf("%d is no JSON: %q", w.Code, w.Body)
			}
			if w.Code >= 500 || (w.Code == http.StatusOK) != (answer.Token != "") {
				t.Fatalf("%d %q", w.Code, w.Body)
			}
			if answer.Token == "" {
				continue
			}
			c, err := g.Identify(&http.Request{Header: http.Header{"Authorization": {"Bearer " + answer.Token}}})
			if err != nil {
				t.Fatalf("what was given is no token: %v", err)
			}
			proven := strings.Contains(authorization+body, secret) || strings.HasPrefix(strings.ToLower(authorization), "b")
			if c.Name() != "" && !proven {
				t.Fatalf("%q, %q: a token of %s", authorization, body, c.Name())
			}
		}
	})
}
