package harness

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// RobotName is an account as the legacy client writes it.
func RobotName(name string) string { return "robot$" + name + ".users.kraftcloud" }

// Account is an account with one of its tokens, as the command that made
// it printed them.
type Account struct {
	Name   string `json:"name"`
	Secret string `json:"token"`
	Bearer string `json:"bearer"`
}

// Basic is the Authorization of the account by name and secret.
func (a Account) Basic() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(a.Name+":"+a.Secret))
}

// Wrong is the account with a password that it does not have.
func (a Account) Wrong() Account {
	return Account{a.Name, "wrong", base64.StdEncoding.EncodeToString([]byte(a.Name + ":wrong"))}
}

// AccountCommand runs berth account with the configuration of a berth that
// runs, and decodes what it prints. It must succeed.
func AccountCommand(t testing.TB, b *Berth, into any, args ...string) {
	t.Helper()
	AccountCommandSaying(t, b, into, "", args...)
}

// AccountCommandSaying does the same with a command that says something beside
// what it prints.
func AccountCommandSaying(t testing.TB, b *Berth, into any, says string, args ...string) {
	t.Helper()
	stdout, stderr, code := CommandLine(t, append([]string{"BERTH_HTTP_LISTEN=" + b.Host}, b.Env...), append([]string{"account", "--data", b.Data, "--output", "json"}, args...)...)
	if code != 0 || stderr != says {
		t.Fatalf("berth account %s: exited with %d and said %s", strings.Join(args, " "), code, stderr)
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal([]byte(stdout), into); err != nil {
		t.Fatalf("berth account %s: %v in %s", strings.Join(args, " "), err, stdout)
	}
}

// AddAccount adds an account.
func AddAccount(t testing.TB, b *Berth, name string, flags ...string) Account {
	t.Helper()
	var a Account
	AccountCommand(t, b, &a, append([]string{"add", name}, flags...)...)
	return a
}

// AddToken adds a token to an account.
func AddToken(t testing.TB, b *Berth, name, label string, flags ...string) Account {
	t.Helper()
	var a Account
	AccountCommand(t, b, &a, append([]string{"token", "add", name, "--label", label}, flags...)...)
	return a
}

// authorized shows an Authorization wherever none is set.
type authorized struct {
	authorization string
	next          http.RoundTripper
}

// RoundTrip sends a request, with the Authorization.
func (t authorized) RoundTrip(r *http.Request) (*http.Response, error) {
	if t.authorization != "" && r.Header.Get("Authorization") == "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", t.authorization)
	}
	return t.next.RoundTrip(r)
}

// ClientAs sends requests with an Authorization.
func ClientAs(b *Berth, authorization string) *Client {
	c := NewClient(b.URL)
	c.HTTP.Transport = authorized{authorization, c.HTTP.Transport}
	return c
}

// On sends requests as the account, by Basic.
func (a Account) On(b *Berth) *Client { return ClientAs(b, a.Basic()) }

// SignedToken gets a signed token from the token endpoint, as Docker clients
// do; by no account an anonymous one.
func SignedToken(t testing.TB, b *Berth, authorization string) string {
	t.Helper()
	a, err := ClientAs(b, authorization).Want(http.StatusOK, http.MethodGet, "/token?service=berth", nil)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ Token string }
	if err := json.Unmarshal(a.Body, &answer); err != nil || answer.Token == "" {
		t.Fatalf("no token: %v in %s", err, a.Body)
	}
	return answer.Token
}

// WantOnly wants exactly these images, <name>@<digest>, of all that a
// client sees.
func WantOnly(t testing.TB, c *Client, want ...string) {
	t.Helper()
	listed, err := c.Listed("", "")
	if err != nil {
		t.Error(err)
		return
	}
	var got []string
	for name := range listed {
		got = append(got, name)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("sees %v, want %v", got, want)
	}
}

// DigestAs asks the API for the digest of a tag with the platform's own
// Bearer, as a controller does.
func DigestAs(t testing.TB, b *Berth, who Account, image string) (name, digest string) {
	t.Helper()
	listed, err := ClientAs(b, "Bearer "+who.Bearer).Listed("", `{"tag":"`+image+`"}`)
	if err != nil || len(listed) != 1 {
		t.Fatalf("%s: found %v, %v", image, listed, err)
	}
	for found := range listed {
		name, digest, _ = strings.Cut(found, "@")
	}
	return name, digest
}

// WantNoSecrets wants none of the secrets in any of the texts.
func WantNoSecrets(t testing.TB, texts map[string]string, secrets ...Account) {
	t.Helper()
	for where, text := range texts {
		for _, s := range secrets {
			for _, form := range []string{s.Secret, s.Bearer, strings.TrimPrefix(s.Basic(), "Basic ")} {
				if strings.Contains(text, form) {
					t.Errorf("%s holds a secret of %s:\n%s", where, s.Name, text)
				}
			}
		}
	}
}
