package client_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-oci/berth/catalog/images/client"
	"github.com/berth-oci/berth/test/harness"
)

// pushSome pushes images of alice, one of bob, and an official one, a second apart.
func pushSome(t *testing.T, b *harness.Berth) (alices []harness.SmallImage) {
	t.Helper()
	for i := range 12 {
		created := time.Date(2026, 1, 1, 0, 0, i, 0, time.UTC).Format(time.RFC3339)
		var tags []string
		if i%3 == 0 {
			tags = []string{fmt.Sprint("v", i)}
		}
		alices = append(alices, harness.PushSmall(t, b, []string{"alice/app", "alice/other"}[i%2], fmt.Sprint(i), created, tags...))
	}
	harness.PushSmall(t, b, "bob/app", "b", "2025-01-01T00:00:00Z", "latest")
	harness.PushSmall(t, b, "official/nginx", "n", "2027-01-01T00:00:00Z", "latest")
	return alices
}

func newClient(t *testing.T, b *harness.Berth, options ...client.Option) *client.Client {
	t.Helper()
	c, err := client.New(b.URL, append([]client.Option{client.WithHTTPClient(b.HTTP)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func namesOf(t *testing.T, c *client.Client, o client.ListOptions) (names []string) {
	t.Helper()
	for image, err := range c.List(t.Context(), o) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, image.Name()+"@"+image.Digest())
	}
	return names
}

func TestListAndGet(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	alices := pushSome(t, b)
	c := newClient(t, b)
	var want []string
	for _, s := range alices {
		want = append(want, s.Repository+"@"+s.Digest)
	}
	for _, size := range []int{0, 1, 5, 12, 100} {
		if got := namesOf(t, c, client.ListOptions{Namespaces: []string{"alice"}, PageSize: size}); !slices.Equal(got, want) {
			t.Errorf("by %d: %v", size, got)
		}
	}
	backwards := slices.Clone(want)
	slices.Reverse(backwards)
	if got := namesOf(t, c, client.ListOptions{Namespaces: []string{"alice/app", "alice/other"}, NewestFirst: true, PageSize: 5}); !slices.Equal(got, backwards) {
		t.Errorf("newest first: %v", got)
	}
	if got := namesOf(t, c, client.ListOptions{Namespaces: []string{"alice"}, After: alices[9].UUID(), PageSize: 1}); !slices.Equal(got, want[10:]) {
		t.Errorf("after: %v", got)
	}
	if got := namesOf(t, c, client.ListOptions{Tagged: true}); len(got) != 6 || !strings.HasPrefix(got[0], "bob/app@") || !strings.HasPrefix(got[5], "nginx@") {
		t.Errorf("tagged: %v", got)
	}
	pages := 0
	for page, err := range c.Pages(t.Context(), client.ListOptions{PageSize: 5}) {
		if pages++; err != nil || len(page.Images) == 0 || len(page.Images) > 5 {
			t.Fatalf("page %d has %d images, %v", pages, len(page.Images), err)
		}
		if pages == 2 {
			break // whoever has enough asks for no more
		}
	}
	s := alices[0]
	for _, image := range []string{"alice/app:v0", "alice/app@" + s.Digest, s.Digest, s.UUID(), strings.ToUpper(s.UUID()), b.Host + "/alice/app:v0"} {
		got, err := c.Get(t.Context(), image)
		if err != nil || got.UUID != s.UUID() || got.URL != s.Current(b.Host).URL || !slices.Equal(got.Tags, s.Tags) || got.Size != 6 ||
			!got.CreatedAt.Equal(s.Time(t)) || !slices.Equal(got.Args, s.Args) || len(got.Platforms) != 1 || got.Platforms[0].Kernel.Size != 6 {
			t.Errorf("%s: %+v, %v", image, got, err)
		}
	}
	if got, err := c.Get(t.Context(), "nginx"); err != nil || got.Name() != "nginx" {
		t.Errorf("an official image: %+v, %v", got, err)
	}
	for _, image := range []string{"alice/app:none", "alice/none", "alice/app@" + harness.HelloDigest, harness.UUIDOf("a/b", s.Digest)} {
		if _, err := c.Get(t.Context(), image); !client.IsNotFound(err) {
			t.Errorf("%s: %v", image, err)
		}
	}
	var e *client.Error
	if _, err := c.Get(t.Context(), "alice/App"); !errors.As(err, &e) || e.Status != http.StatusBadRequest || !strings.Contains(e.Message, "query parameter tag") || client.IsNotFound(err) {
		t.Errorf("a name that is none: %v", err)
	}
}

func TestAccounts(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	alice := harness.AddAccount(t, b, "alice", "--quota", "1MiB")
	harness.PushSmall(t, &harness.Berth{Client: alice.On(b), Host: b.Host}, "alice/app", "a", "2026-01-01T00:00:00Z", "latest")
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(alice.Bearer+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, source := range map[string]client.TokenSource{
		"a token": client.Token(alice.Bearer), "an account": client.AccountToken(alice.Name, alice.Secret), "a file": client.FileToken(file),
	} {
		c := newClient(t, b, client.WithToken(source))
		if got := namesOf(t, c, client.ListOptions{}); len(got) != 1 {
			t.Errorf("%s: %v", name, got)
		}
		quotas, err := c.Quotas(t.Context())
		if err != nil || len(quotas) != 1 || quotas[0].UUID != harness.AccountUUID("alice") || quotas[0].Used.Images != 1 || quotas[0].Hard.Bytes == nil || *quotas[0].Hard.Bytes != 1<<20 {
			t.Errorf("%s: %+v, %v", name, quotas, err)
		}
	}
	var e *client.Error
	for name, source := range map[string]client.TokenSource{"none": nil, "empty": client.Token(""), "wrong": client.Token(alice.Wrong().Bearer)} {
		c := newClient(t, b, client.WithToken(source))
		if _, err := c.Quotas(t.Context()); !errors.As(err, &e) || e.Status != http.StatusUnauthorized || strings.Contains(err.Error(), alice.Secret) {
			t.Errorf("%s: %v", name, err)
		}
		for _, err := range c.List(t.Context(), client.ListOptions{}) {
			if !errors.As(err, &e) || e.Status != http.StatusUnauthorized {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if _, err := newClient(t, b, client.WithToken(client.FileToken(file+"x"))).Quotas(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without the file: %v", err)
	}
}

// TestExample runs the example against a berth.
func TestExample(t *testing.T) {
	b := harness.Start(t)
	alice := harness.AddAccount(t, b, "alice")
	as := &harness.Berth{Client: alice.On(b), Host: b.Host}
	harness.PushSmall(t, as, "alice/app", "one", "2026-01-01T00:00:00Z", "latest", "v1")
	harness.PushSmall(t, as, "alice/app", "two", "2026-01-02T00:00:00Z")
	t.Setenv("BERTH_URL", b.URL)
	t.Setenv("UKC_TOKEN", alice.Bearer)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = w
	Example()
	os.Stdout = stdout
	_ = w.Close()
	said, err := io.ReadAll(r)
	if want := "alice/app [latest v1] 6 bytes\nboots with [/app one] on kraftcloud\nnot there: true\n"; err != nil || string(said) != want {
		t.Errorf("the example says\n%s, want\n%s", said, want)
	}
}
