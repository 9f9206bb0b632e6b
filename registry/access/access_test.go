package access

import (
	"bytes"
	"crypto/sha256"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// now is the time of the tests.
var now = time.Date(2026, 11, 21, 20, 0, 0, 0, time.UTC)

// secretOf is the secret that the tests' account has under a label.
func secretOf(account, label string) string { return secretPrefix + account + "-" + label }

// testToken is a token with the secret of secretOf.
func testToken(account, label string) Token {
	return Token{Label: label, Hash: sha256Of(secretOf(account, label)), Created: now.Add(-time.Hour)}
}

// tenants are the accounts of most tests.
func tenants() []Account {
	expired, reading := testToken("alice", "old"), testToken("alice", "reader")
	expired.Expires, reading.ReadOnly = now, true
	adminReading := testToken("root", "reader")
	adminReading.ReadOnly = true
	return []Account{
		{Name: "alice", Quota: 10 << 30, Tokens: []Token{testToken("alice", "laptop"), expired, reading}, Read: []string{"bob/app"}, Write: []string{"team"}},
		{Name: "bob", Tokens: []Token{testToken("bob", "laptop")}},
		{Name: "publisher", Tokens: []Token{testToken("publisher", "ci")}, Write: []string{"official/app", "alice/shared/x"}},
		{Name: "controller", Tokens: []Token{testToken("controller", "k8s")}, Read: []string{"alice", "bob/app/below", "bob"}},
		{Name: "root", Admin: true, Tokens: []Token{testToken("root", "laptop"), adminReading}},
		{Name: "mute"},
	}
}

// logged is a log that a test can read.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logged) log() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// accountsFile writes accounts to a file of their own.
func accountsFile(t testing.TB, accounts []Account) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "accounts.yaml")
	text, err := render(&File{Accounts: accounts})
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(text))
	return path
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func opened(t testing.TB, path string) (*Accounts, *logged) {
	t.Helper()
	l := &logged{}
	a, err := Open(path, l.log())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a, l
}

// gate is a gate before the tenants, at the time now.
func gate(t testing.TB, o GateOptions) (*Gate, string) {
	t.Helper()
	path := accountsFile(t, tenants())
	a, _ := opened(t, path)
	if o.Now == nil {
		o.Now = func() time.Time { return now }
	}
	return NewGate(a, o), path
}

func request(authorization ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "http://registry.example.com:5000/v2/", nil)
	for _, value := range authorization {
		r.Header.Add("Authorization", value)
	}
	return r
}

// identify gives the caller of an account of the tenants.
func identify(t testing.TB, g *Gate, account, label string) Caller {
	t.Helper()
	c, err := g.Identify(request(basic(account, secretOf(account, label))...))
	if err != nil {
		t.Fatalf("%s: %v", account, err)
	}
	return c
}

// noSecret fails if a text holds one of the secrets of the tests.
func noSecret(t testing.TB, text string) {
	t.Helper()
	if strings.Contains(text, secretPrefix) || strings.Contains(text, "hush") {
		t.Errorf("a secret is shown: %s", text)
	}
}

func sha256Of(secret string) [32]byte { return sha256.Sum256([]byte(secret)) }
