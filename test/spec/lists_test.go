package spec

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// names reads one page of tags or repositories.
func (s *client) names(target string) (names []string, next string) {
	s.t.Helper()
	a := s.ask(http.StatusOK, http.MethodGet, target, nil)
	var list struct {
		Name         string
		Tags         []string
		Repositories []string
	}
	if err := json.Unmarshal(a.Body, &list); err != nil {
		s.t.Fatalf("%s: %v in %s", target, err, a.Body)
	}
	names = list.Tags
	if strings.HasPrefix(target, "/v2/_catalog") {
		names = list.Repositories
	} else if !strings.Contains(target, "/v2/"+list.Name+"/tags/list") {
		s.t.Errorf("%s is about %s", target, list.Name)
	}
	if names == nil {
		s.t.Errorf("%s: an empty list is null: %s", target, a.Body)
	}
	return names, s.next(a)
}

// TestPages reads lists of tags and of repositories in pages of all sizes.
func TestPages(t *testing.T) {
	s := specified(t)
	m := s.image("alice/app", "pages")
	tags := []string{"0", "A", "B_", "Z", "_", "a", "a-b", "a.b", "b", "v1", "v1.0", "v10", "v2", "z"}
	for _, tag := range slices.Backward(tags) {
		s.put("alice/app", tag, m)
	}
	repositories := []string{"a", "a-b/c", "a/b", "alice/app", "alice/app2", "b/a", "official/folder/tool", "official/tool"}
	for _, repository := range slices.Backward(repositories) {
		if repository == "official/tool" {
			repository = "tool"
		}
		manifest := s.image(repository, "pages")
		s.put(repository, "v1", manifest)
		s.put(repository, "v2", manifest)
		s.put(repository, "v3", manifest)
	}
	tags = append(tags, "v3")
	slices.Sort(tags)
	repositories[0] = "official/a" // a name of one part is short for an official one
	slices.Sort(repositories)

	for _, c := range []struct {
		path string
		all  []string
	}{{"/v2/alice/app/tags/list", tags}, {"/v2/_catalog", repositories}} {
		after := func(last string) []string {
			i, found := slices.BinarySearch(c.all, last)
			if found {
				i++
			}
			return append([]string{}, c.all[i:]...)
		}
		for _, last := range append([]string{"", "!", "a/", "v1.", "zz", "does-not-exist"}, c.all...) {
			for n := range len(c.all) + 3 {
				query := url.Values{"n": {fmt.Sprint(n)}, "last": {last}}
				got, next := s.names(c.path + "?" + query.Encode())
				rest := after(last)
				want := rest[:min(n, len(rest))]
				if !slices.Equal(got, want) {
					t.Errorf("%s n=%d last=%q: %v, want %v", c.path, n, last, got, want)
				}
				// There is a next page exactly if there is more.
				if more := n > 0 && len(rest) > n; more != (next != "") {
					t.Errorf("%s n=%d last=%q: the next page is %q", c.path, n, last, next)
				}
			}
			if got, next := s.names(c.path + "?last=" + url.QueryEscape(last)); !slices.Equal(got, after(last)) || next != "" {
				t.Errorf("%s last=%q: %v, then %q", c.path, last, got, next)
			}
		}
		for n := 1; n <= len(c.all); n++ {
			var got []string
			for target := c.path + "?n=" + fmt.Sprint(n); target != ""; {
				var names []string
				names, target = s.names(target)
				got = append(got, names...)
			}
			if !slices.Equal(got, c.all) {
				t.Errorf("%s in pages of %d: %v", c.path, n, got)
			}
		}
		for _, n := range []string{"-1", "x", "1.5", "99999999999999999999"} {
			s.refuse("PAGINATION_NUMBER_INVALID", 400, "GET", c.path+"?n="+n, nil)
		}
		if got, _ := s.names(c.path + "?n=&last="); !slices.Equal(got, c.all) {
			t.Errorf("%s with empty parameters: %v", c.path, got)
		}
		if got, _ := s.names(c.path + "?n=1000000"); !slices.Equal(got, c.all) {
			t.Errorf("%s with more than there is: %v", c.path, got)
		}
		a := s.ask(200, "HEAD", c.path, nil)
		if len(a.Body) != 0 || a.Header.Get("Content-Length") == "" {
			t.Errorf("HEAD %s: %v", c.path, a.Header)
		}
	}
	// What a client calls by a short name, the links and answers call so too.
	for _, name := range []string{"tool", "a", "folder/tool", "official/tool"} {
		names, next := s.names("/v2/" + name + "/tags/list?n=1")
		if !slices.Equal(names, []string{"v1"}) || !strings.HasPrefix(next, "/v2/"+name+"/tags/list?") {
			t.Fatalf("%s: %v, then %q", name, names, next)
		}
		if names, next = s.names(next); !slices.Equal(names, []string{"v2"}) || next == "" {
			t.Errorf("%s, second page: %v, then %q", name, names, next)
		}
	}
	// Deleted tags are gone, and a repository without any is there.
	s.ask(202, "DELETE", "/v2/tool/manifests/v1", nil)
	s.ask(202, "DELETE", "/v2/tool/manifests/v3", nil)
	if got, _ := s.names("/v2/tool/tags/list"); !slices.Equal(got, []string{"v2"}) {
		t.Errorf("after deletions: %v", got)
	}
	s.ask(202, "DELETE", "/v2/tool/manifests/v2", nil)
	if got, _ := s.names("/v2/tool/tags/list"); len(got) != 0 {
		t.Errorf("after the last deletion: %v", got)
	}
	s.refuse("NAME_UNKNOWN", 404, "GET", "/v2/alice/nothing/tags/list", nil)
}

// TestEmptyCatalog asks a registry that holds nothing.
func TestEmptyCatalog(t *testing.T) {
	s := specified(t)
	if got, next := s.names("/v2/_catalog"); len(got) != 0 || next != "" {
		t.Errorf("%v, then %q", got, next)
	}
	a := s.ask(200, "GET", "/v2/", nil)
	s.has(a, "Docker-Distribution-API-Version", "registry/2.0", "Content-Type", "application/json", "Content-Length", "3")
	if string(a.Body) != "{}\n" {
		t.Errorf("the base is %q", a.Body)
	}
}

// TestPublicURL runs berth behind a proxy that is reached by another name.
// Locations have that name; links are relative to the host, so that they lead
// through the proxy as well.
func TestPublicURL(t *testing.T) {
	const public = "https://images.example.com:8443"
	s := specified(t)
	s.b.Stop()
	s.b.Env = append(s.b.Env, "BERTH_HTTP_PUBLIC_URL="+public, "BERTH_HTTP_OPEN=true")
	s.b.Restart() // at the address that is known already: it tells the public one
	for _, repository := range []string{"alice/app", "short"} {
		begun := s.ask(202, "POST", "/v2/"+repository+"/blobs/uploads/", nil, "X-Forwarded-Host", "evil.example.com", "X-Forwarded-Proto", "ftp")
		at := func(a *harness.Answer) string {
			t.Helper()
			location := a.Header.Get("Location")
			rest, ok := strings.CutPrefix(location, public+"/v2/"+repository+"/")
			if !ok {
				t.Fatalf("Location is %q", location)
			}
			return "/v2/" + repository + "/" + rest
		}
		chunk := s.ask(202, "PATCH", at(begun), "{}")
		u, err := url.Parse(at(s.ask(204, "GET", at(chunk), nil)))
		if err != nil {
			t.Fatal(err)
		}
		s.ask(416, "PATCH", at(chunk), "late", "Content-Range", "9-12")
		config := harness.Describe(harness.OCIConfig, []byte("{}"))
		if got := at(s.ask(201, "PUT", harness.WithDigest(u, config.Digest), nil)); got != "/v2/"+repository+"/blobs/"+config.Digest {
			t.Errorf("the blob is at %s", got)
		}
		single := s.ask(201, "POST", "/v2/"+repository+"/blobs/uploads/?digest="+harness.Digest([]byte("single")), "single")
		at(single)
		at(s.ask(201, "POST", "/v2/"+repository+"/blobs/uploads/?mount="+config.Digest, nil))
		m := harness.ManifestOf(config)
		for _, reference := range []string{"v1", harness.Digest(m), sum("sha512", m) + "?tag=v2"} {
			reference, _, _ := strings.Cut(reference, "?")
			a := s.put(repository, reference, m)
			if got, want := at(a), "/v2/"+repository+"/manifests/"+a.Header.Get("Docker-Content-Digest"); got != want {
				t.Errorf("%s is at %s, want %s", reference, got, want)
			}
		}
		s.put(repository, "v3", m)
		if _, next := s.names("/v2/" + repository + "/tags/list?n=1"); !strings.HasPrefix(next, "/v2/"+repository+"/tags/list?") {
			t.Errorf("the next page is %q", next)
		}
	}
}
