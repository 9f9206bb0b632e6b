package images

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/berth-oci/berth/catalog/index"
)

func TestRepositories(t *testing.T) {
	server := serve(t, shop(), Options{})
	names := func(query string) (names []string) {
		a := get(t, server.URL+"/v1/images?"+query, "[]")
		if a.code != http.StatusOK || a.Status != "success" {
			t.Fatalf("%s: %d %s", query, a.code, a.raw)
		}
		for _, image := range a.Data.Images {
			names = append(names, image["name"].(string))
		}
		return names
	}
	for query, want := range map[string][]string{
		"details=true":                          {"alice/app", "alice/app/sub", "alice/app2", "alice/copy", "bob/app", "bob/copy", "official/alice/app", "official/app", "official/copy", "official/utils/tunnel"},
		"details":                               {"alice/app", "alice/app/sub", "alice/app2", "alice/copy", "bob/app", "bob/copy", "official/alice/app", "official/app", "official/copy", "official/utils/tunnel"},
		"details=false&namespace=alice":         {"alice/app", "alice/app/sub", "alice/app2", "alice/copy"},
		"details=1&namespace=bob&namespace=bob": {"bob/app", "bob/copy"},
		"details=true&namespace=alice&tagged":   {"alice/app", "alice/app2", "alice/copy"},
		"details=0&namespace=nobody":            nil,
	} {
		if got := names(query); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", query, got, want)
		}
	}
	a := get(t, server.URL+"/v1/images?details=true&namespace=bob/app", "")
	if want := `{"status":"success","data":{"images":[{"name":"bob/app","tags":[{"name":"latest","digest":"` + at("bob/app", 5) +
		`","size":1005,"push_time":"2026-01-31T05:01:00Z"}]}]},"op_time_us":0}`; steady(a.raw) != want {
		t.Errorf("got  %s\nwant %s", steady(a.raw), want)
	}
	if a := do(t, http.MethodHead, server.URL+"/images?details=true", ""); a.code != http.StatusOK || a.raw != "" {
		t.Errorf("HEAD: %d %q", a.code, a.raw)
	}
}

// TestRepositoriesOfMany reads an image once that has thousands of tags.
func TestRepositoriesOfMany(t *testing.T) {
	e := newImage("alice/app", 1)
	for i := range 1000 {
		e.Tags = append(e.Tags, "t"+strings.Repeat("x", i%100)+string(rune('a'+i/100)))
	}
	slices.Sort(e.Tags)
	c := &fake{entries: []index.Entry{e}}
	a := get(t, serve(t, c, Options{}).URL+"/v1/images?details=true", "")
	if a.code != http.StatusOK || len(a.Data.Images) != 1 || len(a.Data.Images[0]["tags"].([]any)) != 1000 {
		t.Fatalf("%d %.200s", a.code, a.raw)
	}
}

// TestRepositoriesFail ends the connection in the middle, so that nobody takes the
// beginning for the whole.
func TestRepositoriesFail(t *testing.T) {
	boom := errors.New("disk on fire")
	wantFailure(t, get(t, serve(t, &fake{err: boom}, Options{}).URL+"/v1/images?details=true", ""), http.StatusInternalServerError, "cannot be read now")
	for after := range 12 {
		c := shop()
		c.err, c.failAfter = boom, after+1
		resp, err := http.Get(serve(t, c, Options{}).URL + "/v1/images?details=true&namespace=bob")
		if err == nil {
			var body [1 << 16]byte
			for err == nil {
				_, err = resp.Body.Read(body[:])
			}
			resp.Body.Close()
			if err.Error() == "EOF" {
				t.Errorf("a list that failed after %d calls looks complete", after)
			}
		}
	}
}
