package access

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestNestedToken sends a whole token of the platform as a password, as the
// unikraft CLI does at a metro's own index, wherever a password is taken.
func TestNestedToken(t *testing.T) {
	// One that looks as if it held an account, like some that are made by hand.
	const lookalike = "bWFsbG9yeTp4eHh4eHh4eHh4eHh4eHg="
	accounts := append(tenants(), Account{Name: "carol", Tokens: []Token{{Label: "odd", Hash: sha256Of(lookalike)}}})
	a, _ := opened(t, accountsFile(t, accounts))
	g := NewGate(a, GateOptions{Now: func() time.Time { return now }})
	secret, whole := secretOf("alice", "laptop"), Bearer("alice", secretOf("alice", "laptop"))
	plain := []byte("alice:" + secret)
	for name, test := range map[string]struct {
		user, password string
		want           string // name and label
		err            error
	}{
		"an organization outside":    {"acme", whole, "alice laptop", nil},
		"its own name outside":       {"alice", whole, "alice laptop", nil},
		"another account's outside":  {"bob", whole, "alice laptop", nil},
		"an administrator's outside": {"root", whole, "alice laptop", nil},
		"no name outside":            {"", whole, "alice laptop", nil},
		"a robot outside":            {"robot$bob.users.kraftcloud", whole, "alice laptop", nil},
		"a robot inside":             {"acme", Bearer("robot$alice.users.kraftcloud", secret), "alice laptop", nil},
		"not padded":                 {"acme", base64.RawStdEncoding.EncodeToString(plain), "alice laptop", nil},
		"the other alphabet":         {"acme", base64.URLEncoding.EncodeToString(plain), "alice laptop", nil},
		"read-only":                  {"acme", Bearer("alice", secretOf("alice", "reader")), "alice reader", nil},
		"expired":                    {"acme", Bearer("alice", secretOf("alice", "old")), "", errExpired},
		"wrong":                      {"acme", Bearer("alice", "hush"), "", errWrong},
		"wrong, its own name":        {"alice", Bearer("alice", "hush"), "", errWrong},
		"another's inside":           {"alice", Bearer("bob", secret), "", errWrong},
		"nobody inside":              {"alice", Bearer("", secret), "", errWrong},
		"nests again":                {"alice", Bearer("alice", whole), "", errWrong},
		"nests thrice":               {"alice", Bearer("alice", Bearer("alice", whole)), "", errWrong},
		"no colon":                   {"alice", base64.StdEncoding.EncodeToString([]byte(secret)), "", errWrong},
		"a colon alone":              {"alice", base64.StdEncoding.EncodeToString([]byte(":")), "", errWrong},
		"nothing inside":             {"alice", "====", "", errWrong},
		"a colon behind":             {"acme", base64.StdEncoding.EncodeToString(append(plain, ':')), "", errWrong},
		"a line break":               {"acme", whole[:8] + "\r\n" + whole[8:], "", errWrong},
		"signed":                     {"acme", g.sign(identify(t, g, "alice", "laptop"), now), "", errWrong},
		"64 KiB":                     {"acme", base64.StdEncoding.EncodeToString([]byte("alice:" + strings.Repeat("x", 48<<10))), "", errMalformed},
		"a secret that looks so":     {"carol", lookalike, "carol odd", nil},
	} {
		t.Run(name, func(t *testing.T) {
			for how, values := range map[string][]string{
				"Basic":  basic(test.user, test.password),
				"Bearer": {"Bearer " + Bearer(test.user, test.password)},
			} {
				c, err := g.Identify(request(values...))
				if !errors.Is(err, test.err) || err != nil && (test.err == nil || c != (Caller{})) {
					t.Fatalf("%s: got %v and %+v, want %v", how, err, c, test.err)
				}
				if got := c.Name() + " " + c.Label(); err == nil && got != test.want {
					t.Errorf("%s: got %q, want %q", how, got, test.want)
				}
				if err != nil {
					noSecret(t, err.Error())
				}
			}
			form := url.Values{"grant_type": {"password"}, "username": {test.user}, "password": {test.password}}.Encode()
			post := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(form))
			post.Header.Set("Content-Type", formType)
			get := httptest.NewRequest(http.MethodGet, "/token", nil)
			get.Header["Authorization"] = basic(test.user, test.password)
			status := http.StatusOK
			if test.err != nil {
				status = http.StatusUnauthorized
			}
			for _, r := range []*http.Request{post, get} {
				want := status
				if r == post && test.user == "" {
					want = http.StatusBadRequest // containerd then asks by GET
				} else if r == post && len(form) > maxForm {
					want = http.StatusRequestEntityTooLarge
				}
				r.RemoteAddr = "" // none of these waits for another
				w := httptest.NewRecorder()
				NewGate(a, GateOptions{Now: g.now}).TokenHandler().ServeHTTP(w, r)
				if w.Code != want {
					t.Errorf("%s /token: %d %s, want %d", r.Method, w.Code, w.Body, want)
				}
				if w.Code != http.StatusOK {
					noSecret(t, w.Body.String())
				}
			}
		})
	}
}
