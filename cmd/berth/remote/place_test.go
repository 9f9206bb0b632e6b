package remote

import (
	"errors"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	const sum = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for text, want := range map[string]Place{
		"alice/app":                         {Host: "berth.lan", Repository: "alice/app"},
		"app":                               {Host: "berth.lan", Repository: "app"},
		"alice/app:v1":                      {Host: "berth.lan", Repository: "alice/app", Tag: "v1"},
		"alice/app@" + sum:                  {Host: "berth.lan", Repository: "alice/app", Digest: sum},
		"alice/app:v1@" + sum:               {Host: "berth.lan", Repository: "alice/app", Tag: "v1", Digest: sum},
		"berth.lan/alice/app":               {Host: "berth.lan", Repository: "alice/app"},
		"docker://berth.lan/alice/app":      {Host: "berth.lan", Repository: "alice/app"},
		"localhost/alice/app":               {Host: "localhost", Repository: "alice/app"},
		"127.0.0.1:5000/alice/app:v1":       {Host: "127.0.0.1:5000", Repository: "alice/app", Tag: "v1"},
		"[::1]:5000/alice/app":              {Host: "[::1]:5000", Repository: "alice/app"},
		"registry.example.com/a/b/c/d":      {Host: "registry.example.com", Repository: "a/b/c/d"},
		"first.last/app":                    {Host: "first.last", Repository: "app"},
		"berth.lan/first.last/app":          {Host: "berth.lan", Repository: "first.last/app"},
		"oci:backup":                        {Folder: "backup"},
		"oci:backup:v1":                     {Folder: "backup", Tag: "v1"},
		"oci:/var/a:b/backup":               {Folder: "/var/a:b/backup"},
		"oci:./backup:v1@" + sum:            {Folder: "./backup", Tag: "v1", Digest: sum},
		"oci:" + strings.Repeat("a", 10000): {Folder: strings.Repeat("a", 10000)},
	} {
		got, err := Parse(text, "berth.lan")
		if err != nil || got != want {
			t.Errorf("%s: got %+v, %v", text, got, err)
			continue
		}
		if again, err := Parse(got.String(), "another"); err != nil || again != want {
			t.Errorf("%s: written as %s, read as %+v, %v", text, got, again, err)
		}
	}
	for _, text := range []string{
		"", "/", "a//b", "Alice/app", "alice/app:", "alice/app:-x", "alice/app@", "alice/app@sha256:1", "alice/app@md5:d41d8cd98f00b204e9800998ecf8427e", "http://a/b", "alice/app:v1:v2",
		"a b/c", "berth.lan/", "host:port/a", "host:70000/a", "a_b.c:1/", "oci:", "oci::v1", "oci:a:-x", "oci:a@x", "../etc", "alice/../bob", strings.Repeat("a/", 200) + "a", "a/b\x00", "ä.de/a",
	} {
		if got, err := Parse(text, "berth.lan"); !errors.Is(err, ErrUsage) || len(err.Error()) > 500 {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
	for host, want := range map[string]bool{
		"localhost": true, "localhost:5000": true, "LOCALHOST:1": true, "127.0.0.1": true, "127.3.4.5:80": true, "[::1]:5000": true, "[::1]": true, "[::ffff:127.0.0.1]:1": true,
		"localhost.example.com": false, "10.0.0.1": false, "127.0.0.1.example.com": false, "registry": false, "": false,
	} {
		if got := Loopback(host); got != want {
			t.Errorf("%s is loopback: %v", host, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"alice/app:v1", "h.x/a@sha256:e3b0", "oci:a:b", "127.0.0.1:5000/a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text, "berth.lan")
		if err != nil {
			return
		}
		if again, err := Parse(p.String(), "another.lan"); err != nil || again != p {
			t.Errorf("%q is %+v, written as %q, read as %+v, %v", text, p, p.String(), again, err)
		}
	})
}
