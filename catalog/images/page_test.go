package images

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/bolt"
	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// indexed is a catalog that is no more than an index.
type indexed struct{ *bolt.Index }

func (indexed) TagTime(context.Context, string, string) (time.Time, error) {
	return time.Time{}, index.ErrNotFound
}

func newIndex(t testing.TB) indexed {
	t.Helper()
	x, err := bolt.Build(filepath.Join(t.TempDir(), "catalog.db"), "test", func(*bolt.Index) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.Close() })
	return indexed{x}
}

// put makes an image of a repository have a creation time.
func (x indexed) put(t testing.TB, repository, name string, created time.Time) {
	t.Helper()
	l, err := x.Acquire(t.Context(), repository)
	if err != nil {
		t.Fatal(err)
	}
	u := index.Update{Put: []image.Description{{
		Digest: digest.FromString(name), Image: &image.Image{Created: created, Size: 1, Kernel: true, Platforms: []image.Platform{}},
	}}}
	if _, err := x.Publish(t.Context(), l, u); err != nil {
		t.Fatal(err)
	}
	if err := x.Release(t.Context(), l); err != nil {
		t.Fatal(err)
	}
}

var nextLink = regexp.MustCompile(`^<(.+)>; rel="next"$`)

// next is the page that an answer links to, "" for none.
func (a answer) next(t testing.TB) string {
	t.Helper()
	link := a.header.Get("Link")
	m := nextLink.FindStringSubmatch(link)
	switch {
	case link == "":
		return ""
	case m == nil:
		t.Fatalf("Link is %q", link)
	}
	return m[1]
}

// TestPagesExact gives images other creation times between the pages of a list, so
// that they move in it: each is on one page, once.
func TestPagesExact(t *testing.T) {
	x, r := newIndex(t), rand.New(rand.NewPCG(1, 2))
	server := serve(t, x, Options{})
	second := func() time.Time { return time.Unix(int64(r.IntN(30)), 0).UTC() }
	const images = 12
	repositories := []string{"alice/app", "bob/app", "official/app"}
	for i := range images {
		x.put(t, repositories[i%3], fmt.Sprint(i), second())
	}
	for round := range 60 {
		order := []string{"asc", "desc"}[round%2]
		seen := map[string]int{}
		for target := fmt.Sprintf("/v1/images?order=%s&count=%d", order, 1+r.IntN(4)); target != ""; {
			a := get(t, server.URL+target, "")
			if a.code != http.StatusOK {
				t.Fatalf("%s: %d %s", target, a.code, a.raw)
			}
			for _, image := range a.Data.Images {
				seen[image["uuid"].(string)]++
			}
			target = a.next(t)
			for range r.IntN(4) {
				i := r.IntN(images)
				x.put(t, repositories[i%3], fmt.Sprint(i), second())
			}
		}
		for i := range images {
			id := index.ImageUUID(repositories[i%3], digest.FromString(fmt.Sprint(i))).String()
			if seen[id] != 1 {
				t.Fatalf("round %d, %s: image %d is listed %d times", round, order, i, seen[id])
			}
		}
	}
}

// forgetful is a catalog that has forgotten what its cursors mean.
type forgetful struct{ fake }

func (f *forgetful) List(ctx context.Context, q index.Query, after index.Cursor, n int) ([]index.Entry, index.Cursor, error) {
	if after != "" {
		return nil, "", fmt.Errorf("list: %w", index.ErrCursor)
	}
	return f.entries[:n], "old", nil
}

// TestPageTooOld goes on with a list that has changed too much since.
func TestPageTooOld(t *testing.T) {
	c := &forgetful{fake: fake{entries: shop().entries}}
	h := New(c, Options{CursorKey: make([]byte, 32)}).(*handler)
	server := serve(t, c, Options{CursorKey: make([]byte, 32)})
	after := h.cursors.seal("old", query{})
	for _, count := range []string{"", "&count=3"} {
		a := get(t, server.URL+"/v1/images?after="+after+count, "")
		wantFailure(t, a, http.StatusBadRequest, "query parameter after: too much has changed since that page was read; want the list read again")
	}
}

// TestPageIsBounded asks for more than a page may hold: it ends early, and goes on
// with the next.
func TestPageIsBounded(t *testing.T) {
	c := &endless{n: 20_000}
	server := serve(t, c, Options{})
	pages, all := 0, 0
	for target := "/v1/images?count=1000000"; target != ""; pages++ {
		a := get(t, server.URL+target, "")
		if a.code != http.StatusOK || len(a.raw) > maxPage+512<<10 {
			t.Fatalf("%d, %d bytes", a.code, len(a.raw))
		}
		all += len(a.Data.Images)
		target = a.next(t)
	}
	if pages < 2 || all != 20_000 {
		t.Errorf("%d images on %d pages", all, pages)
	}
}

// TestLinkBehindProxy puts the path of the public URL in front.
func TestLinkBehindProxy(t *testing.T) {
	server := serve(t, shop(), Options{PublicURL: "https://example.com/berth"})
	if next := get(t, server.URL+"/images?count=2&tagged", "").next(t); !strings.HasPrefix(next, "/berth/images?after=c1.") || !strings.HasSuffix(next, "&count=2&tagged=") {
		t.Errorf("next is %s", next)
	}
}

// TestCursorsDiffer seals the same place so that nobody can tell, and opens it for
// its own list alone.
func TestCursorsDiffer(t *testing.T) {
	s := newCursors(nil)
	q := query{namespaces: []string{"b", "a"}, tagged: true}
	one, two := s.seal("place", q), s.seal("place", q)
	if one == two {
		t.Error("two cursors of one place are equal")
	}
	if c, err := s.open(one, query{namespaces: []string{"a", "b"}, tagged: true, count: 7}); err != nil || c != "place" {
		t.Errorf("got %q, %v", c, err)
	}
	for name, other := range map[string]query{
		"order": {namespaces: q.namespaces, tagged: true, descending: true}, "tagged": {namespaces: q.namespaces}, "namespace": {namespaces: []string{"a"}, tagged: true},
	} {
		if _, err := s.open(one, other); err == nil {
			t.Errorf("another %s is taken", name)
		}
	}
	if _, err := newCursors(nil).open(one, q); err == nil {
		t.Error("another key is taken")
	}
}

// TestVisible limits what a list is read from to what the caller may read.
func TestVisible(t *testing.T) {
	for _, test := range []struct{ readable, namespaces, want []string }{
		{nil, nil, nil},
		{nil, []string{"a", "b"}, []string{"a", "b"}},
		{[]string{"a", "official"}, nil, []string{"a", "official"}},
		{[]string{"a", "official"}, []string{"b"}, []string{}},
		{[]string{"a", "b/x"}, []string{"a/app", "b", "c"}, []string{"a/app", "b/x"}},
		{[]string{"a/x", "a/y"}, []string{"a", "a/x"}, []string{"a/x", "a/y", "a/x"}},
		{[]string{}, []string{"a"}, []string{}},
	} {
		if got := visible(test.readable, test.namespaces); !slices.Equal(got, test.want) || (got == nil) != (test.want == nil) {
			t.Errorf("%v of %v: %v", test.namespaces, test.readable, got)
		}
	}
}
