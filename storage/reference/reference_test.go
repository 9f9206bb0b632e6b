package reference

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/distribution/reference"
)

var (
	hex64  = strings.Repeat("0123456789abcdef", 4)
	sha256 = "sha256:" + hex64
	sha384 = "sha384:" + hex64 + hex64[:32]
	sha512 = "sha512:" + hex64 + hex64
)

func TestIsName(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "0": true, "alice/app": true, "a/b/c/d": true, "first.last": true, "a_b": true, "a__b": true, "a-b": true, "a----b": true,
		"localhost": true, "localhost/app": true, "ghcr.io/alice/app": true, "official/app": true, "a/tags/list": true, "1.2.3.4/app": true,
		hex64: true, strings.Repeat("a", 255): true, strings.Repeat("a/", 127) + "a": true,

		"": false, "/": false, "a/": false, "/a": false, "a//b": false, ".": false, "..": false, "a/../b": false, "a/./b": false,
		"A": false, "alice/App": false, "Alice/app": false, ".a": false, "a.": false, "_a": false, "a_": false, "-a": false, "a-": false,
		"a..b": false, "a___b": false, "a._b": false, "a-_b": false, "a:b": false, "host:5000/app": false, "[::1]/app": false, "host.io/A": false,
		"a@b": false, "a b": false, "a\n": false, "\na": false, "a\x00": false, "ä": false, "a/ä": false, "ſ": false, "a%2fb": false, `a\b`: false,
		"_catalog": false, "robot$a": false, strings.Repeat("a", 256): false, strings.Repeat("a/", 128): false, strings.Repeat("a/", 127) + "ab": false,
	} {
		if got := IsName(name); got != want {
			t.Errorf("name %q: got %t", name, got)
		}
		if got := IsComponent(name); got != (want && !strings.Contains(name, "/")) {
			t.Errorf("component %q: got %t", name, got)
		}
	}
}

func TestIsTag(t *testing.T) {
	for tag, want := range map[string]bool{
		"a": true, "A": true, "_": true, "0": true, "latest": true, "v1.0-rc.1_x": true, "sha256-" + hex64 + ".sig": true, "_.-": true, strings.Repeat("x", 128): true,
		"": false, ".a": false, "-a": false, "a b": false, "a:b": false, "a/b": false, "a@b": false, "a+b": false, "a\n": false, "\na": false, "ä": false, "aä": false,
		strings.Repeat("x", 129): false,
	} {
		if got := IsTag(tag); got != want {
			t.Errorf("tag %q: got %t", tag, got)
		}
	}
}

func TestParseDigest(t *testing.T) {
	for _, good := range []string{sha256, sha384, sha512} {
		if d, err := ParseDigest(good); err != nil || d.String() != good {
			t.Errorf("%q: got %q, %v", good, d, err)
		}
	}
	for _, bad := range []string{
		"", ":", "sha256", "sha256:", ":" + hex64, hex64, sha256 + "0", sha256[:70], strings.ToUpper(sha256), "sha256:" + strings.ToUpper(hex64),
		"sha256:" + hex64[:63] + "g", "sha256:" + hex64[:63] + "/", sha256 + "\n", " " + sha256, "md5:" + hex64[:32], "sha1:" + hex64[:40], "blake3:" + hex64,
		"sha256+b64:" + hex64, "sha512:" + hex64, "sha256:../" + hex64[3:], "x@" + sha256,
	} {
		if d, err := ParseDigest(bad); !errors.Is(err, ErrDigest) || d != "" {
			t.Errorf("%q: got %q, %v", bad, d, err)
		}
	}
}

func TestParse(t *testing.T) {
	own := []string{"registry.example.com", "", "Berth"}
	for s, want := range map[string]Reference{
		"app":                               {Repository: "app"},
		"alice/app":                         {Repository: "alice/app"},
		"alice/app:v1":                      {Repository: "alice/app", Tag: "v1"},
		"alice/app@" + sha256:               {Repository: "alice/app", Digest: "sha256:" + "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},
		"alice/app:v1@" + sha256:            {Repository: "alice/app", Tag: "v1", Digest: "sha256:" + "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},
		"registry.example.com/alice/app:v1": {Host: "registry.example.com", Repository: "alice/app", Tag: "v1"},
		"Registry.Example.COM/app":          {Host: "Registry.Example.COM", Repository: "app"},
		"berth/app":                         {Host: "berth", Repository: "app"},
		"berth":                             {Repository: "berth"},
		"berth:v1":                          {Repository: "berth", Tag: "v1"},
		"berth/berth/app":                   {Host: "berth", Repository: "berth/app"},
		"localhost:5000/app:v1":             {Host: "localhost:5000", Repository: "app", Tag: "v1"},
		"localhost:5000":                    {Repository: "localhost", Tag: "5000"},
		"[::1]:5000/a/b:c":                  {Host: "[::1]:5000", Repository: "a/b", Tag: "c"},
		"my_host:5000/app":                  {Host: "my_host:5000", Repository: "app"},
		"ghcr.io/alice/app":                 {Repository: "ghcr.io/alice/app"},
	} {
		got, err := Parse(s, own...)
		if err != nil || got != want {
			t.Errorf("%q: got %+v, %v, want %+v", s, got, err, want)
		}
		if got.String() != s {
			t.Errorf("%q: written as %q", s, got)
		}
	}
	for s, want := range map[string]error{
		"": ErrName, ":": ErrTag, "@": ErrDigest, "/": ErrName, ":v1": ErrName, "@" + sha256: ErrName, "app:": ErrTag, "app@": ErrDigest,
		"app@sha256:12": ErrDigest, "app@" + sha256 + "@" + sha256: ErrDigest, "app:v1:v2": ErrTag, "app:-": ErrTag, "Alice/app": ErrName,
		"a b": ErrName, "app\n": ErrName, "app:v1\n": ErrTag, "/app": ErrName, "berth/": ErrName, "berth/:v1": ErrName, "localhost:5000/": ErrName,
		":5000/app": ErrTag, "localhost:5000/localhost:5000/app": ErrTag, "localhost:x/app": ErrTag, "a@b:5/app": ErrDigest,
		strings.Repeat("a", 256) + ":v1": ErrName, sha256: nil,
	} {
		if _, err := Parse(s, own...); !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", s, err, want)
		}
	}
}

func TestCutHost(t *testing.T) {
	for s, want := range map[string][2]string{
		"h/" + sha256: {"h", sha256}, "H/a": {"H", "a"}, "h": {"", "h"}, "h/": {"h", ""}, "other/a": {"", "other/a"}, "other:1/a/b": {"other:1", "a/b"},
		"/a": {"", "/a"}, ":1/a": {"", ":1/a"}, "other:/a": {"", "other:/a"}, "": {"", ""},
	} {
		if host, rest := CutHost(s, "", "h"); host != want[0] || rest != want[1] {
			t.Errorf("%q: got %q and %q, want %q", s, host, rest, want)
		}
	}
}

func TestOfficial(t *testing.T) {
	for repository, want := range map[string]struct{ namespace, short, folder string }{
		"official/app":          {"official", "app", ""},
		"official/utils/tunnel": {"official", "utils/tunnel", "utils"},
		"official/a/b/c":        {"official", "a/b/c", "a"},
		"official":              {"official", "official", ""},
		"officials/a/b":         {"officials", "officials/a/b", ""},
		"alice/official/a/b":    {"alice", "alice/official/a/b", ""},
		"alice/app":             {"alice", "alice/app", ""},
		"alice":                 {"alice", "alice", ""},
	} {
		if got := Namespace(repository); got != want.namespace {
			t.Errorf("%s: namespace %q", repository, got)
		}
		if got := Short(repository); got != want.short {
			t.Errorf("%s: short name %q", repository, got)
		}
		if got := Folder(repository); got != want.folder {
			t.Errorf("%s: folder %q", repository, got)
		}
	}
	if got := Long("utils/tunnel"); got != "official/utils/tunnel" || Short(got) != "utils/tunnel" {
		t.Errorf("long name %q", got)
	}
}

// plainName is the specification's own expression ("Pulling manifests"), which
// the library's grammar must not leave.
var plainName = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"app", "alice/app:v1@" + sha256, "h/app@" + sha512, "localhost:5000/app:v1", "[::1]:5000/a/b:c", "my_host:1/a", "a@b@c", "//", ":", "h/h/h", "a:1/b:2", sha256,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if named := len(s) <= 255 && plainName.MatchString(s); IsName(s) != named {
			t.Errorf("%q: a name is %t, by the specification %t", s, !named, named)
		}
		r, err := Parse(s, "h")
		if err != nil {
			if !errors.Is(err, ErrName) && !errors.Is(err, ErrTag) && !errors.Is(err, ErrDigest) || r != (Reference{}) {
				t.Errorf("%q: %+v, %v", s, r, err)
			}
			return
		}
		if r.String() != s {
			t.Errorf("%q: written as %q", s, r)
		}
		if again, err := Parse(r.String(), "h"); err != nil || again != r {
			t.Errorf("%q: read as %+v, and again as %+v, %v", s, r, again, err)
		}
		if !IsName(r.Repository) || Namespace(r.Repository) == "" || !IsName(Short(r.Repository)) || r.Tag != "" && !IsTag(r.Tag) {
			t.Errorf("%q: %+v", s, r)
		}
		// The library takes other hosts, but nothing else, in another way.
		r.Host = ""
		known, err := reference.Parse(r.String())
		if err != nil {
			t.Fatalf("%q: the library refuses %q: %v", s, r, err)
		}
		tagged, _ := known.(reference.Tagged)
		digested, _ := known.(reference.Digested)
		if known.(reference.Named).Name() != r.Repository || (tagged != nil) != (r.Tag != "") || (digested != nil) != (r.Digest != "") ||
			tagged != nil && tagged.Tag() != r.Tag || digested != nil && digested.Digest() != r.Digest {
			t.Errorf("%q: %+v, by the library %q", s, r, known)
		}
	})
}

// TestPlainNames compares the short way to say that something is a name with the
// library's, on all short texts of what matters.
func TestPlainNames(t *testing.T) {
	const letters = "a7/-._AZ:"
	var try func(text string, left int)
	plain := 0
	try = func(text string, left int) {
		if isPlain(text) {
			plain++
			if _, err := reference.WithName("host:1/" + text); err != nil {
				t.Errorf("%q is no name: %v", text, err)
			}
		}
		for _, c := range letters {
			if left > 0 {
				try(text+string(c), left-1)
			}
		}
	}
	try("", 6)
	if plain < 1000 {
		t.Errorf("only %d are plain", plain)
	}
	for _, name := range []string{"alice/app", "official/utils/tunnel", "a-b.c_d/7"} {
		if !isPlain(name) {
			t.Errorf("%s is not plain", name)
		}
	}
}
