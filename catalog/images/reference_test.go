package images

import (
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

const (
	hexA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	hexB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	shaA = "sha256:" + hexA
	shaB = "sha256:" + hexB
)

func TestByDigest(t *testing.T) {
	own := hosts{"registry.example.com", "", "Berth"}
	app := []string{"alice/app", "official/alice/app"}
	for _, test := range []struct {
		value string
		want  selector
		err   string // part of the message; "" for none
	}{
		{value: "alice/app@" + shaA, want: selector{repositories: app, digest: shaA}},
		{value: "app@" + shaA, want: selector{repositories: []string{"app", "official/app"}, digest: shaA}},
		{value: "utils/tunnel@" + shaA, want: selector{repositories: []string{"utils/tunnel", "official/utils/tunnel"}, digest: shaA}},
		{value: shaA, want: selector{anywhere: true, digest: shaA}},
		{value: "registry.example.com/" + shaA, want: selector{anywhere: true, digest: shaA}},
		{value: "localhost:5000/" + shaA, want: selector{anywhere: true, digest: shaA}},
		{value: "registry.example.com/alice/app@" + shaA, want: selector{repositories: app, digest: shaA}},
		{value: "Registry.Example.COM/alice/app@" + shaA, want: selector{repositories: app, digest: shaA}},
		{value: "localhost:5000/alice/app@" + shaA, want: selector{repositories: app, digest: shaA}},
		{value: "[::1]:5000/alice/app@" + shaA, want: selector{repositories: app, digest: shaA}},
		{value: "berth/alice/app@" + shaA, want: selector{repositories: append(app, "berth/alice/app"), digest: shaA}},
		{value: "ghcr.io/alice/app@" + shaA, want: selector{repositories: []string{"ghcr.io/alice/app", "official/ghcr.io/alice/app"}, digest: shaA}},
		{value: "alice/app:v1@" + shaA, want: selector{repositories: app, tags: []string{"v1"}, digest: shaA}},
		{value: "alice/app@sha512:" + hexA + hexB, want: selector{repositories: app, digest: "sha512:" + hexA + hexB}},
		{value: "alice/app@sha384:" + hexA + hexB[:32], want: selector{repositories: app, digest: digest.Digest("sha384:" + hexA + hexB[:32])}},

		{value: "", err: "digest: \"\" is not a digest; want sha256:"},
		{value: "alice/app", err: "is not a digest"},
		{value: "alice/app@", err: "is not a digest"},
		{value: "alice/app:v1", err: "is not a digest"},
		{value: "alice/app@sha256:", err: "is not a digest"},
		{value: "alice/app@sha256:c4c2919...f03db26", err: "is not a digest"},
		{value: "alice/app@sha256:" + strings.ToUpper(hexA), err: "is not a digest"},
		{value: "alice/app@sha256:" + hexA[1:], err: "is not a digest"},
		{value: "alice/app@sha256:" + hexA + "a", err: "is not a digest"},
		{value: "alice/app@sha256:g" + hexA[1:], err: "is not a digest"},
		{value: "alice/app@md5:" + hexA[:32], err: "is not a digest"},
		{value: hexA, err: "is not a digest"},
		{value: shaA + " ", err: "is not a digest"},
		{value: "@" + shaA, err: "does not begin with an image's name"},
		{value: "Alice/app@" + shaA, err: "does not begin with an image's name"},
		{value: "alice//app@" + shaA, err: "does not begin with an image's name"},
		{value: "alice/../bob@" + shaA, err: "does not begin with an image's name"},
		{value: "/alice/app@" + shaA, err: "does not begin with an image's name"},
		{value: "alice/app/@" + shaA, err: "does not begin with an image's name"},
		{value: "localhost:5000/localhost:5000/app@" + shaA, err: "malformed tag"},
		{value: strings.Repeat("a", 256) + "@" + shaA, err: "at most 255 characters"},
		{value: "alice/app:-v@" + shaA, err: "malformed tag"},
		{value: "alice/app:@" + shaA, err: "malformed tag"},
	} {
		got, err := own.byDigest("digest", test.value)
		checkWant(t, test.value, got, err, test.want, test.err)
	}
}

func TestByTag(t *testing.T) {
	own := hosts{"registry.example.com"}
	app := []string{"alice/app", "official/alice/app"}
	for _, test := range []struct {
		value string
		want  selector
		err   string
	}{
		{value: "alice/app:v1.0", want: selector{repositories: app, tags: []string{"v1.0"}}},
		{value: "alice/app", want: selector{repositories: app, tags: []string{"latest"}}},
		{value: "app:v1", want: selector{repositories: []string{"app", "official/app"}, tags: []string{"v1"}}},
		{value: "official/app:v1", want: selector{repositories: []string{"official/app", "official/official/app"}, tags: []string{"v1"}}},
		{value: "registry.example.com/app:v1", want: selector{repositories: []string{"app", "official/app"}, tags: []string{"v1"}}},
		{value: "127.0.0.1:5000/alice/app", want: selector{repositories: app, tags: []string{"latest"}}},
		{value: "localhost:5000", want: selector{repositories: []string{"localhost", "official/localhost"}, tags: []string{"5000"}}},
		{value: "alice/app:" + strings.Repeat("x", 128), want: selector{repositories: app, tags: []string{strings.Repeat("x", 128)}}},
		{value: "alice/app:v1@" + shaA, want: selector{repositories: app, tags: []string{"v1"}, digest: shaA}},

		{value: "", err: "does not begin with an image's name; want the image's name"},
		{value: ":v1", err: "does not begin with an image's name"},
		{value: "alice/app:", err: "malformed tag"},
		{value: "alice/app:a b", err: "malformed tag"},
		{value: "alice/app:.v", err: "malformed tag"},
		{value: "alice/app:v1\n", err: "malformed tag"},
		{value: "alice/app:" + strings.Repeat("x", 129), err: "at most 128"},
		{value: "alice/app\n:v1", err: "does not begin with an image's name"},
		{value: "alice/app@" + shaA, err: "holds a digest and no tag"},
		{value: "alice/app:v1@sha256:12", err: "malformed digest"},
		{value: "ALICE/app:v1", err: "does not begin with an image's name"},
	} {
		got, err := own.byTag("tag", test.value)
		checkWant(t, test.value, got, err, test.want, test.err)
	}
}

func checkWant(t *testing.T, value string, got selector, err error, expected selector, message string) {
	t.Helper()
	if message != "" {
		if err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("%q: got %+v, error %v, want an error with %q", value, got, err, message)
		}
		return
	}
	if err != nil || !reflect.DeepEqual(got, expected) {
		t.Errorf("%q: got %+v, %v, want %+v", value, got, err, expected)
	}
}

func TestBoth(t *testing.T) {
	own := hosts{}
	official := newImage("official/app", 1, "latest", "v1")
	for _, test := range []struct {
		digest, tag string
		matches     bool
	}{
		{digest: "app@" + official.Digest.String(), tag: "app:latest", matches: true},
		{digest: "official/app@" + official.Digest.String(), tag: "app", matches: true},
		{digest: "app:v1@" + official.Digest.String(), tag: "app:latest", matches: true},
		{digest: "app:v2@" + official.Digest.String(), tag: "app:latest"},
		{digest: official.Digest.String(), tag: "app:latest", matches: true},
		{digest: official.Digest.String(), tag: "app:latest@" + shaA},
		{digest: shaA, tag: "app:latest"},
		{digest: "other@" + official.Digest.String(), tag: "app:latest"},
	} {
		w, err := own.selector(item{digest: test.digest, tag: test.tag})
		if err != nil {
			t.Errorf("%s and %s: %v", test.digest, test.tag, err)
			continue
		}
		if w.anywhere || w.matches(official) != test.matches {
			t.Errorf("%s and %s: %+v, want a match: %t", test.digest, test.tag, w, test.matches)
		}
	}
}

func FuzzReference(f *testing.F) {
	for _, seed := range []string{"alice/app@" + shaA, shaA, "localhost:5000/app:v1", "[::1]:5000/a/b:c@" + shaB, "a@b@c", "//", ":"} {
		f.Add(seed)
	}
	own := hosts{"registry.example.com"}
	f.Fuzz(func(t *testing.T, value string) {
		for _, parse := range []func(string, string) (selector, error){own.byDigest, own.byTag} {
			w, err := parse("field", value)
			if err != nil {
				if !strings.HasPrefix(err.Error(), "field: ") || !strings.Contains(err.Error(), "want ") || len(err.Error()) > 2000 {
					t.Errorf("%q: unhelpful message %q", value, err)
				}
				continue
			}
			for _, name := range w.repositories {
				if strings.ContainsAny(name, ":@ \\") || strings.ToLower(name) != name {
					t.Errorf("%q: repository %q", value, name)
				}
			}
			if w.digest != "" {
				if _, err := digest.Parse(string(w.digest)); err != nil {
					t.Errorf("%q: digest %q", value, w.digest)
				}
			}
			if w.anywhere && (w.digest == "" || len(w.tags) > 0) || !w.anywhere && len(w.repositories) == 0 {
				t.Errorf("%q: %+v", value, w)
			}
		}
	})
}
