package access

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/berth-oci/berth/config/size"
)

const aHash = "2873ff455ae776de9463d89f573ca3e5407f5366a0e5e29bae8fb43e51d51352"

func TestParse(t *testing.T) {
	text := `
# kept in git
accounts:
  - name: alice
    admin: true
    quota: 10GiB
    tokens:
      - label: laptop
        sha256: ` + aHash + `
        created: 2026-11-21T20:00:00+01:00
        expires: 2027-01-01
        read_only: true
      - {label: ci, sha256: "` + aHash[1:] + `0"}
    read: [bob/app]
    write: [team, official]
  - name: "123"
    quota: 5
    tokens:
    read: []
public: [alice/app, team/x/y]
`
	file, err := parse("accounts.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	accounts := file.Accounts
	a := accounts[0]
	if len(accounts) != 2 || a.Name != "alice" || !a.Admin || a.Quota != 10<<30 || len(a.Tokens) != 2 ||
		!a.Tokens[0].Created.Equal(time.Date(2026, 11, 21, 19, 0, 0, 0, time.UTC)) ||
		!a.Tokens[0].Expires.Equal(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)) || !a.Tokens[0].ReadOnly ||
		a.Tokens[0].Hash[0] != 0x28 || a.Tokens[1].ReadOnly || !a.Tokens[1].Expires.IsZero() ||
		!reflect.DeepEqual(a.Read, []string{"bob/app"}) || !reflect.DeepEqual(a.Write, []string{"team", "official"}) ||
		accounts[1].Name != "123" || accounts[1].Quota != 5 || !reflect.DeepEqual(file.Public, []string{"alice/app", "team/x/y"}) {
		t.Errorf("got %+v", accounts)
	}
	written, err := render(file)
	if err != nil {
		t.Fatal(err)
	}
	again, err := parse("accounts.yaml", written)
	if err != nil || !reflect.DeepEqual(again.Accounts[1], accounts[0]) || !reflect.DeepEqual(again.Public, file.Public) {
		t.Errorf("what is written reads differently: %v\n%s", err, written)
	}
	if none, err := parse("accounts.yaml", []byte("accounts: []")); err != nil || len(none.Accounts) != 0 || none.Public != nil {
		t.Errorf("got %v, %v", none, err)
	}
}

func TestParseRefused(t *testing.T) {
	const alice = "accounts:\n  - name: alice\n"
	for name, test := range map[string]struct {
		text string
		want []string
	}{
		"empty":            {"", []string{`accounts.yaml: is empty; a file with no accounts in it says "accounts: []"`}},
		"comments":         {"# hush\n", []string{`accounts.yaml: is empty; a file with no accounts in it says "accounts: []"`}},
		"no accounts":      {"{}", []string{`accounts.yaml:1: accounts: is missing or empty; a file with no accounts in it says "accounts: []"`}},
		"nothing there":    {"accounts:\n", []string{`accounts.yaml:1: accounts: is missing or empty; a file with no accounts in it says "accounts: []"`}},
		"text":             {"hush", []string{`accounts.yaml:1: the file: is text, not a mapping of keys`}},
		"nothing":          {"---\n~\n", []string{`accounts.yaml:2: the file: is nothing, not a mapping of keys`}},
		"two documents":    {"accounts: []\n---\naccounts: []", []string{`accounts.yaml: holds a second document; accounts are one document`}},
		"no YAML":          {"accounts: [\n  - hush: 'hush", []string{`accounts.yaml`}},
		"cut":              {alice + "    tokens: [{label: hush", []string{`accounts.yaml`}},
		"unknown anchor":   {"accounts: *hush", []string{`accounts.yaml: is no YAML: unknown anchor … referenced`}},
		"alias":            {alice + "    read: &a [x]\n    write: *a", []string{`accounts.yaml:4: accounts[0].write: is an alias (which is not supported here), not a list`}},
		"misspelt":         {"acounts: []", []string{`accounts.yaml:1: the file: "acounts" is no key; did you mean accounts?`}},
		"unknown key":      {alice + "    password: hush\n", []string{`accounts.yaml:3: accounts[0]: "password" is no key; the keys here are admin, name, quota, read, tokens, write`}},
		"a secret as key":  {alice + "    " + secretPrefix + "x: y\n", []string{`accounts.yaml:3: accounts[0]: what looks like a secret is no key; the keys here are admin, name, quota, read, tokens, write`}},
		"near key":         {alice + "    admln: true\n", []string{`accounts.yaml:3: accounts[0]: "admln" is no key; did you mean admin?`}},
		"twice":            {alice + "    name: bob\n", []string{`accounts.yaml:3: accounts[0].name: is set twice`}},
		"no mapping":       {"accounts: [hush]", []string{`accounts.yaml:1: accounts[0]: is text, not a mapping of keys`}},
		"no list":          {"accounts: {name: hush}", []string{`accounts.yaml:1: accounts: is a mapping, not a list`}},
		"no name":          {"accounts:\n  - admin: true", []string{`accounts.yaml:2: accounts[0].name: is missing`}},
		"empty name":       {"accounts:\n  - name: ''", []string{`accounts.yaml:2: accounts[0].name: is empty`}},
		"number as name":   {"accounts:\n  - name: 123", []string{`accounts.yaml:2: accounts[0].name: is a number, not text; put it in quotes`}},
		"two by a name":    {alice + "  - name: alice", []string{`accounts.yaml:3: accounts[1].name: alice is here twice, first in line 2`}},
		"bad name":         {"accounts:\n  - name: al/ice", []string{`accounts.yaml:2: accounts[0].name: "al/ice" is no name for an account: it wants lower-case letters and digits with single separators (. _ -) between them, 64 characters at most`}},
		"official":         {"accounts:\n  - name: official", []string{`accounts.yaml:2: accounts[0].name: no account can be called official: that is where the official images are`}},
		"admin as text":    {alice + "    admin: 'true'", []string{`accounts.yaml:3: accounts[0].admin: is text, not true or false`}},
		"admin as yes":     {alice + "    admin: yes", []string{`accounts.yaml:3: accounts[0].admin: is text, not true or false`}},
		"quota":            {alice + "    quota: lots", []string{`accounts.yaml:3: accounts[0].quota: wants to be a size like 10GiB (KiB, MiB, GiB, TiB, or a number of bytes), more than 0`}},
		"quota of nothing": {alice + "    quota: 0", []string{`accounts.yaml:3: accounts[0].quota: wants to be a size like 10GiB (KiB, MiB, GiB, TiB, or a number of bytes), more than 0`}},
		"quota too large":  {alice + "    quota: 9999999999TiB", []string{`accounts.yaml:3: accounts[0].quota: wants to be a size like 10GiB (KiB, MiB, GiB, TiB, or a number of bytes), more than 0`}},
		"quota as list":    {alice + "    quota: [1]", []string{`accounts.yaml:3: accounts[0].quota: is a list; it wants to be a size like 10GiB (KiB, MiB, GiB, TiB, or a number of bytes), more than 0`}},
		"grant": {alice + "    read: [Team, '', 'a//b', x, x]", []string{
			`accounts.yaml:3: accounts[0].read[0]: "Team" is no namespace or repository: it wants something like team or bob/app, in lower case, without a host or tag`,
			`accounts.yaml:3: accounts[0].read[1]: is empty`,
			`accounts.yaml:3: accounts[0].read[2]: "a//b" is no namespace or repository: it wants something like team or bob/app, in lower case, without a host or tag`,
			`accounts.yaml:3: accounts[0].read[4]: "x" is here twice`}},
		"grant, no list": {alice + "    write: team", []string{`accounts.yaml:3: accounts[0].write: is text, not a list`}},
		"secret for hash": {alice + "    tokens:\n      - label: a\n        sha256: " + secretPrefix + "x\n", []string{
			`accounts.yaml:5: accounts[0].tokens[0].sha256: wants the SHA-256 of the secret, 64 digits of 0-9 a-f`}},
		"short hash":   {alice + "    tokens:\n      - label: a\n        sha256: " + aHash[2:], []string{`accounts.yaml:5: accounts[0].tokens[0].sha256: wants the SHA-256 of the secret, 64 digits of 0-9 a-f`}},
		"bare token":   {alice + "    tokens: [{}]", []string{`accounts.yaml:3: accounts[0].tokens[0].label: is missing`, `accounts.yaml:3: accounts[0].tokens[0].sha256: is missing`}},
		"one token":    {alice + "    tokens: hush", []string{`accounts.yaml:3: accounts[0].tokens: is text, not a list`}},
		"bad label":    {alice + "    tokens: [{label: 'a\tb', sha256: " + aHash + "}]", []string{`accounts.yaml:3: accounts[0].tokens[0].label: "a\tb" is no label for a token: it wants up to 64 letters, digits and signs, like laptop or ci`}},
		"secret label": {alice + "    tokens: [{label: '" + secretPrefix + "ä', sha256: " + aHash + "}]", []string{`accounts.yaml:3: accounts[0].tokens[0].label: what looks like a secret is no label for a token: it wants up to 64 letters, digits and signs, like laptop or ci`}},
		"same tokens": {alice + "    tokens:\n    - {label: a, sha256: " + aHash + "}\n    - {label: a, sha256: " + aHash + "}", []string{
			`accounts.yaml:5: accounts[0].tokens[1].label: a is the label of two tokens`,
			`accounts.yaml:5: accounts[0].tokens[1].sha256: is the same as that of another token`}},
		"dates": {alice + "    tokens:\n    - {label: a, sha256: " + aHash + ", created: hush, expires: 720h}", []string{
			`accounts.yaml:4: accounts[0].tokens[0].created: wants to be a date like 2027-01-01, or with a time: 2027-01-01T18:00:00Z`,
			`accounts.yaml:4: accounts[0].tokens[0].expires: wants to be a date like 2027-01-01, or with a time: 2027-01-01T18:00:00Z`}},
		"public": {alice + "public: [alice, alice/app, alice/App, official, alice/app, 5]", []string{
			`accounts.yaml:3: public[0]: "alice" is no repository: it wants something like alice/app, in lower case, without a host or tag`,
			`accounts.yaml:3: public[2]: "alice/App" is no repository: it wants something like alice/app, in lower case, without a host or tag`,
			`accounts.yaml:3: public[3]: "official" is no repository: it wants something like alice/app, in lower case, without a host or tag`,
			`accounts.yaml:3: public[4]: "alice/app" is here twice`,
			`accounts.yaml:3: public[5]: is a number, not text; put it in quotes`}},
		"public, no list": {alice + "public: alice/app", []string{`accounts.yaml:3: public: is text, not a list`}},
		"wrong in every line": {"accounts: [" + strings.Repeat("hush,", 100) + "]", append(
			strings.Split(strings.TrimSuffix(strings.Repeat("accounts.yaml:1: accounts\n", 20), "\n"), "\n"), "and 80 problems more")},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse("accounts.yaml", []byte(test.text))
			if err == nil {
				t.Fatal("accepted")
			}
			noSecret(t, err.Error())
			got := strings.Split(err.Error(), "\n")
			for i, want := range test.want {
				// Where the YAML library words it, or it is long, the beginning counts.
				if len(got) != len(test.want) || !strings.HasPrefix(got[i], want) ||
					got[i] != want && want != "accounts.yaml" && want != "accounts.yaml:1: accounts" {
					t.Errorf("got:\n%s\nwant:\n%s", err, strings.Join(test.want, "\n"))
					break
				}
			}
		})
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "alice": true, "first.last": true, "a_b": true, "a__b": true, "a--b": true, "0": true, strings.Repeat("a", 64): true,
		"": false, "Alice": false, "a/b": false, ".a": false, "a.": false, "a..b": false, "a___b": false, "a:b": false, "ä": false,
		"a\n": false, "_catalog": false, "official": false, "localhost": false, strings.Repeat("a", 65): false, "robot$a": false,
	} {
		if got := CheckName(name) == nil; got != want {
			t.Errorf("%q: got %v", name, got)
		}
	}
	for name, want := range map[string]bool{
		"team": true, "bob/app": true, "a/b/c/d": true, "official": true, "official/app": true,
		"": false, "/": false, "a/": false, "/a": false, "a//b": false, "a/../b": false, "a:b": false, "a@b": false,
		strings.Repeat("a", 256): false, "a\n": false,
	} {
		if got := CheckGrant(name) == nil; got != want {
			t.Errorf("grant %q: got %v", name, got)
		}
	}
}

func TestQuota(t *testing.T) {
	for text, want := range map[string]int64{"1": 1, "10GiB": 10 << 30, "1 KiB": 1024, "2TiB": 2 << 40, "0": 0, "-1": 0, "": 0, "GiB": 0, "1GB": 0, "1.5GiB": 0, "8388608TiB": 0} {
		got, err := ParseQuota(text)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: got %d, %v", text, got, err)
		}
		if err == nil {
			if again, err := ParseQuota(size.Format(got)); err != nil || again != got {
				t.Errorf("%q: %s reads as %d, %v", text, size.Format(got), again, err)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	text, err := render(&File{Accounts: tenants(), Public: []string{"alice/app"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("accounts: [{name: a, tokens: [{label: x, sha256: 1}]}]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := parse("f", text)
		if err != nil {
			return
		}
		// What is read can be written, and is the same then.
		written, err := render(file)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parse("f", written)
		if err != nil {
			t.Fatalf("%v in\n%s", err, written)
		}
		if twice, err := render(again); err != nil || string(twice) != string(written) {
			t.Errorf("%s\nbecomes\n%s", written, twice)
		}
		newSnapshot(file)
	})
}
