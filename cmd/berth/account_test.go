package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/berth-oci/berth/registry/access"
)

// run runs a command line in a data folder.
func run(t *testing.T, data string, args ...string) (stdout string, err error) {
	t.Helper()
	t.Setenv("BERTH_DATA", data)
	root := newRoot()
	var out, errs bytes.Buffer
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&errs)
	root.SetIn(strings.NewReader(""))
	err = root.ExecuteContext(t.Context())
	return out.String(), err
}

func ok(t *testing.T, data string, args ...string) string {
	t.Helper()
	out, err := run(t, data, args...)
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return out
}

func refused(t *testing.T, data, want string, args ...string) {
	t.Helper()
	out, err := run(t, data, args...)
	if err == nil || !strings.HasPrefix(err.Error(), want) || out != "" {
		t.Errorf("%s: got %v and %q, want %s", strings.Join(args, " "), err, out, want)
	}
}

var (
	secretForm = regexp.MustCompile(`berth_[A-Za-z0-9_-]{43}`)
	bearerForm = regexp.MustCompile(`[A-Za-z0-9+/]{60,}=*`)
	timeForm   = regexp.MustCompile(`2\d\d\d-\d\d-\d\d[ T]\d\d:\d\d(:\d\dZ| UTC)`)
)

// golden is what is printed with the parts that differ each time replaced.
func golden(out, data string) string {
	out = secretForm.ReplaceAllString(out, "SECRET")
	out = bearerForm.ReplaceAllString(out, "BEARER")
	out = timeForm.ReplaceAllString(out, "TIME")
	return strings.ReplaceAll(out, data, "DATA")
}

func TestAccountAdd(t *testing.T) {
	data := t.TempDir()
	holds(t, data)
	t.Setenv("BERTH_HTTP_PUBLIC_URL", "https://registry.example.com")
	out := ok(t, data, "account", "add", "root", "--admin")
	const want = `Added the administrator root (DATA/accounts.yaml).
The registry is closed from now on: whoever has no account is refused.

The token is shown this once. In the form that each client wants:

  docker, podman, skopeo, oras
    echo SECRET | docker login registry.example.com -u root --password-stdin

  kraft
    kraft login -u root -t SECRET registry.example.com

  unikraft
    export UKC_TOKEN=BEARER

  kraft cloud
    export KRAFTCLOUD_TOKEN=BEARER

  anything else
    curl -H "Authorization: Bearer BEARER" https://registry.example.com/v1/images
`
	if got := golden(out, data); got != want {
		t.Errorf("got:\n%s", got)
	}
	// Each form is one that the gate takes, and the file holds none of them.
	secret := secretForm.FindString(out)
	text, err := os.ReadFile(filepath.Join(data, "accounts.yaml"))
	if err != nil || secret == "" || strings.Contains(string(text), secret) {
		t.Errorf("%v: %s", err, text)
	}
	accounts, err := access.Open(filepath.Join(data, "accounts.yaml"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer accounts.Close()
	gate := access.NewGate(accounts, access.GateOptions{})
	bearers := bearerForm.FindAllString(out, -1)
	if len(bearers) != 3 {
		t.Errorf("found %d bearers", len(bearers))
	}
	for _, value := range append(bearers, base64.StdEncoding.EncodeToString([]byte("root:"+secret))) {
		r := &http.Request{Header: http.Header{"Authorization": {"Bearer " + value}}}
		if c, err := gate.Identify(r); err != nil || c.Name() != "root" || !c.Admin() {
			t.Errorf("got %+v, %v", c, err)
		}
	}

	out = ok(t, data, "account", "add", "alice", "--quota", "10GiB", "--label", "laptop", "--expires", "720h", "--read-only", "-o", "json")
	var added struct {
		Name, Token, Bearer, Host string
		Admin, First              bool
		Quota                     int64
		Tokens                    []struct {
			Label, Created, Expires string
			ReadOnly                bool `json:"read_only"`
		}
	}
	if err := json.Unmarshal([]byte(out), &added); err != nil {
		t.Fatal(err)
	}
	if added.Name != "alice" || added.Admin || added.First || added.Quota != 10<<30 || added.Host != "registry.example.com" ||
		added.Bearer != access.Bearer("alice", added.Token) || !secretForm.MatchString(added.Token) ||
		len(added.Tokens) != 1 || added.Tokens[0].Label != "laptop" || added.Tokens[0].Expires == "" || !added.Tokens[0].ReadOnly {
		t.Errorf("got %s", out)
	}

	refused(t, data, "there is an account alice already", "account", "add", "alice")
	refused(t, data, `"Alice" is no name for an account`, "account", "add", "Alice")
	refused(t, data, "no account can be called official", "account", "add", "official")
	refused(t, data, "--quota wants to be a size like 10GiB", "account", "add", "bob", "--quota", "lots")
	refused(t, data, `--expires: "soon" is neither a time like 720h nor a date`, "account", "add", "bob", "--expires", "soon")
	refused(t, data, "--expires: that is over already", "account", "add", "bob", "--expires", "2020-01-01")
	refused(t, data, "wants one argument, the name of an account: berth account add alice", "account", "add")
	refused(t, data, `--output: "xml" is neither text nor json`, "account", "add", "bob", "--output", "xml")
	refused(t, data, `"" is no label for a token`, "account", "add", "bob", "--label", "")
}

// An account of the name of an official folder would be mistaken for it.
func TestAccountAddOfficialFolder(t *testing.T) {
	data := t.TempDir()
	official := filepath.Join(data, "storage/docker/registry/v2/repositories/official")
	for _, folder := range []string{"utils/tunnel/_manifests", "nginx/_manifests", "nginx/_layers"} {
		if err := os.MkdirAll(filepath.Join(official, folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	refused(t, data, "there are official images below official/utils/", "account", "add", "utils")
	ok(t, data, "account", "add", "nginx")
	ok(t, data, "account", "add", "other")
	t.Setenv("BERTH_STORAGE", "inmemory")
	ok(t, data, "account", "add", "utils")
}

// The address that needs accounts does not keep the first from being added.
func TestAccountAddListen(t *testing.T) {
	data := t.TempDir()
	t.Setenv("BERTH_HTTP_LISTEN", ":5000")
	refused(t, data, "BERTH_HTTP_LISTEN: http.listen: :5000 can be reached from other machines", "config", "check")
	out := ok(t, data, "account", "add", "alice")
	if !strings.Contains(out, "docker login 127.0.0.1:5000 -u alice") || !strings.Contains(out, "There is no administrator yet") {
		t.Errorf("got %s", out)
	}
	ok(t, data, "config", "check")
	t.Setenv("BERTH_LOG_LEVEL", "loud")
	refused(t, data, "BERTH_LOG_LEVEL: log.level", "account", "list")
}

// kraft cannot read an IP address with a port in docker's configuration.
func TestAccountAddKraft(t *testing.T) {
	for public, want := range map[string]string{
		"http://127.0.0.1:5000":        "-u alice -t SECRET 127.0.0.1:5000\n    (and no docker login to 127.0.0.1:5000 for the same user",
		"http://[::1]:5000":            "-u alice -t SECRET [::1]:5000\n    (and no docker login to [::1]:5000",
		"http://localhost:5000":        "-u alice -t SECRET localhost:5000\n\n",
		"https://registry.example.com": "-u alice -t SECRET registry.example.com\n\n",
		"https://192.0.2.1":            "-u alice -t SECRET 192.0.2.1\n\n",
	} {
		data := t.TempDir()
		t.Setenv("BERTH_HTTP_PUBLIC_URL", public)
		if got := golden(ok(t, data, "account", "add", "alice"), data); !strings.Contains(got, "  kraft\n    kraft login "+want) {
			t.Errorf("%s: got\n%s", public, got)
		}
	}
}

func TestAccountCommands(t *testing.T) {
	data := t.TempDir()
	for _, args := range [][]string{
		{"list"}, {"show", "alice"}, {"remove", "alice"}, {"token", "list", "alice"},
		{"token", "add", "alice", "--label", "x"}, {"token", "revoke", "alice", "x"}, {"grant", "alice", "read", "x"}, {"revoke", "alice", "read", "x"},
	} {
		refused(t, data, "there are no accounts yet ("+filepath.Join(data, "accounts.yaml")+"): the registry is open", append([]string{"account"}, args...)...)
	}
	if _, err := os.Stat(filepath.Join(data, "accounts.yaml")); err == nil {
		t.Fatal("a command that failed closed the registry")
	}
	var everything strings.Builder
	keep := func(out string) string { everything.WriteString(out); return golden(out, data) }
	secrets := ok(t, data, "account", "add", "root", "--admin") + ok(t, data, "account", "add", "alice", "--quota", "1536MiB")
	out := ok(t, data, "account", "token", "add", "alice", "--label", "ci", "--expires", "2100-01-01", "--read-only")
	secrets += out
	if !strings.HasPrefix(out, "Added the token \"ci\" of alice.\n\nThe token is shown this once.") {
		t.Errorf("got %s", out)
	}
	for _, step := range []struct {
		args []string
		want string
	}{
		{[]string{"grant", "alice", "write", "team", "official/app"}, "alice may now write team, official/app.\n"},
		{[]string{"grant", "alice", "read", "bob"}, "alice may now read bob.\n"},
		{[]string{"grant", "root", "read", "bob"}, "root may now read bob.\nAs an administrator root may read and write everything anyway.\n"},
		{[]string{"revoke", "root", "read", "bob"}, "root may no longer read bob.\nAs an administrator root may read and write everything anyway.\n"},
		{[]string{"list"}, `NAME   ADMIN  QUOTA    TOKENS  READS  WRITES
alice  -      1536MiB  2       bob    official/app, team
root   yes    none     1       -      -
`},
		{[]string{"show", "alice"}, `name    alice
quota   1536MiB
reads   alice, bob, official, official/app, team
writes  alice, official/app, team

LABEL    CREATED               EXPIRES               MAY
default  TIME  never                 read and write
ci       TIME  TIME  read
`},
		{[]string{"show", "root"}, `name    root
admin   yes: may read and write everything
quota   none
reads   official, root
writes  root

LABEL    CREATED               EXPIRES  MAY
default  TIME  never    read and write
`},
		{[]string{"token", "list", "alice", "-o", "json"}, `{
  "tokens": [
    {
      "label": "default",
      "created": "TIME",
      "expired": false,
      "read_only": false
    },
    {
      "label": "ci",
      "created": "TIME",
      "expires": "TIME",
      "expired": false,
      "read_only": true
    }
  ]
}
`},
		{[]string{"token", "revoke", "alice", "default"}, "Revoked the token \"default\" of alice.\n"},
		{[]string{"token", "revoke", "alice", "ci"}, "Revoked the token \"ci\" of alice.\nIt was the last one: alice cannot log in until it gets another (berth account token add alice --label LABEL).\n"},
		{[]string{"token", "list", "alice"}, "no tokens\n"},
		{[]string{"show", "alice", "--output", "json"}, `{
  "name": "alice",
  "admin": false,
  "quota": 1610612736,
  "read": [
    "bob"
  ],
  "write": [
    "official/app",
    "team"
  ],
  "tokens": []
}
`},
		{[]string{"remove", "root", "-o", "json"}, "{\n  \"administrators_left\": 0,\n  \"removed\": \"root\"\n}\n"},
		{[]string{"remove", "alice", "--yes"}, "Removed the account alice. Images in its namespace stay stored.\nThere is no administrator left: berth account add NAME --admin adds one.\n"},
		{[]string{"list"}, "no accounts: nobody can log in; berth account add NAME --admin adds one\n"},
		{[]string{"list", "-o", "json"}, "{\n  \"accounts\": []\n}\n"},
	} {
		if got := keep(ok(t, data, append([]string{"account"}, step.args...)...)); got != step.want {
			t.Errorf("%s: got:\n%s", strings.Join(step.args, " "), got)
		}
	}
	for _, secret := range secretForm.FindAllString(secrets, -1) {
		if strings.Contains(everything.String(), secret) {
			t.Error("a secret is shown again")
		}
	}

	ok(t, data, "account", "add", "alice")
	refused(t, data, `there is no account "alcie"; did you mean alice?`, "account", "show", "alcie")
	refused(t, data, `there is no account "alcie"; did you mean alice?`, "account", "remove", "alcie", "--yes")
	refused(t, data, `there is no account "alcie"; did you mean alice?`, "account", "grant", "alcie", "read", "x")
	refused(t, data, `alice has no token with the label "defalt"; did you mean default?`, "account", "token", "revoke", "alice", "defalt")
	refused(t, data, `alice has a token with the label "default" already`, "account", "token", "add", "alice", "--label", "default")
	refused(t, data, `required flag(s) "label" not set`, "account", "token", "add", "alice")
	refused(t, data, `"x" is not granted`, "account", "revoke", "alice", "write", "x")
	refused(t, data, `"A:b" is no namespace or repository`, "account", "grant", "alice", "write", "A:b")
	refused(t, data, "wants the name of an account, read or write, and one or more namespaces", "account", "grant", "alice", "own", "x")
	refused(t, data, "wants the name of an account, read or write, and one or more namespaces", "account", "revoke", "alice", "read")
	refused(t, data, "wants the name of an account and the label of one of its tokens", "account", "token", "revoke", "alice")

	if err := os.WriteFile(filepath.Join(data, "accounts.yaml"), []byte("accounts: [{nam: x}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, data, filepath.Join(data, "accounts.yaml")+`:1: accounts[0]: "nam" is no key; did you mean name?`, "account", "list")
}

func TestAccountCompletion(t *testing.T) {
	data := t.TempDir()
	if out := ok(t, data, "__complete", "account", "show", ""); !strings.HasPrefix(out, ":4") {
		t.Errorf("without accounts: %q", out)
	}
	ok(t, data, "account", "add", "alice", "--label", "laptop")
	ok(t, data, "account", "add", "bob")
	for want, args := range map[string][]string{
		"alice\nbob\n:4\n":  {"show", ""},
		"alice\n:4\n":       {"remove", "al"},
		"laptop\n:4\n":      {"token", "revoke", "alice", ""},
		"read\nwrite\n:4\n": {"grant", "alice", ""},
		"bob\n:4\n":         {"grant", "alice", "read", "b"},
		"text\njson\n:4\n":  {"list", "--output", ""},
		":4\n":              {"add", ""},
	} {
		if out := ok(t, data, append([]string{"__complete", "account"}, args...)...); out != want {
			t.Errorf("%v: got %q", args, out)
		}
	}
}

// The question before a removal.
func TestConfirm(t *testing.T) {
	for answer, want := range map[string]bool{"y\n": true, "Yes\n": true, "yes": true, "\n": false, "": false, "n\n": false, "alice\n": false} {
		var out strings.Builder
		if got := confirm(strings.NewReader(answer), &out, access.Account{Name: "alice"}); got != want || out.String() != "Remove the account alice with 0 tokens? [y/N] " {
			t.Errorf("%q: got %v after %q", answer, got, out.String())
		}
	}
}
