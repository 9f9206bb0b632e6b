package test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// rawReferrer is an entry of the list of referrers.
type rawReferrer struct {
	MediaType, Digest, ArtifactType string
	Size                            int64
	Annotations                     map[string]string
}

// referrers reads a list of referrers, page by page.
func (c *rawClient) referrers(t testing.TB, repository, subject, query string) (all []rawReferrer, pages int) {
	t.Helper()
	target := "/v2/" + repository + "/referrers/" + subject + query
	for target != "" {
		a := c.must(t, http.StatusOK, http.MethodGet, target, nil)
		if got := a.header.Get("Content-Type"); got != rawOCIIndex {
			t.Errorf("Content-Type is %q, want %q", got, rawOCIIndex)
		}
		if filters := a.header.Get("OCI-Filters-Applied"); (filters == "artifactType") != strings.Contains(target, "artifactType") {
			t.Errorf("%s: OCI-Filters-Applied is %q", target, filters)
		}
		// Clients bound what they read of an index by what a manifest may have.
		if len(a.body) > 4<<20 {
			t.Errorf("a page of referrers has %d bytes", len(a.body))
		}
		var index struct {
			SchemaVersion int
			MediaType     string
			Manifests     []rawReferrer
		}
		if err := json.Unmarshal(a.body, &index); err != nil || index.SchemaVersion != 2 || index.MediaType != rawOCIIndex || index.Manifests == nil {
			t.Fatalf("%s is no index: %v, %.300s", target, err, a.body)
		}
		all = append(all, index.Manifests...)
		if pages++; pages > 100 {
			t.Fatal("the list of referrers does not end")
		}
		target = nextPage(t, a)
	}
	return all, pages
}

// referred wants exactly these referrers, in any order.
func (c *rawClient) referred(t testing.TB, repository, subject, query string, want ...string) {
	t.Helper()
	all, _ := c.referrers(t, repository, subject, query)
	got := []string{}
	for _, r := range all {
		got = append(got, r.Digest)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s%s is referred to by %v, want %v", subject, query, got, want)
	}
}

var rawLink = regexp.MustCompile(`^<([^>]+)>; rel="next"$`)

// nextPage is the page that an answer links to, "" for none.
func nextPage(t testing.TB, a *rawAnswer) string {
	t.Helper()
	link := a.header.Get("Link")
	if link == "" {
		return ""
	}
	m := rawLink.FindStringSubmatch(link)
	if m == nil {
		t.Fatalf("Link is %q", link)
	}
	return m[1]
}

// listedDigests are the manifests that the images API lists in a repository.
func (c *rawClient) listedDigests(t testing.TB, repository string) []string {
	t.Helper()
	list, err := c.listed("?namespace="+repository, "")
	if err != nil {
		t.Fatal(err)
	}
	digests := []string{}
	for name := range list {
		if repo, d, _ := strings.Cut(name, "@"); repo == repository {
			digests = append(digests, d)
		}
	}
	slices.Sort(digests)
	return digests
}
