package harness

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Listed is a list of the images API: the tags by <name>@<digest>.
type Listed map[string][]string

// Listed asks the first version of the images API.
func (c *Client) Listed(query, body string) (Listed, error) {
	var content any
	if body != "" {
		content = body
	}
	a, err := c.Do(http.MethodGet, "/v1/images/list"+query, content)
	if err != nil {
		return nil, err
	}
	// A lookup of something that is not there has an entry without tags.
	var answer struct {
		Data struct {
			Images []struct {
				Status, Digest string
				Tags           []string
			}
		}
	}
	if a.Status != http.StatusOK && a.Status != http.StatusNotFound {
		return nil, &Refusal{"GET /v1/images/list" + query, *a}
	}
	if err := json.Unmarshal(a.Body, &answer); err != nil {
		return nil, fmt.Errorf("%w in %s", err, a.Body)
	}
	listed := Listed{}
	for _, image := range answer.Data.Images {
		if image.Status == "error" {
			continue
		}
		if _, twice := listed[image.Digest]; twice {
			return nil, fmt.Errorf("%s is listed twice", image.Digest)
		}
		listed[image.Digest] = image.Tags
	}
	return listed, nil
}

// TagsOf asks the registry for the tags of a repository.
func (c *Client) TagsOf(repository string) ([]string, error) {
	a, err := c.Do(http.MethodGet, "/v2/"+repository+"/tags/list", nil)
	if err != nil {
		return nil, err
	}
	if a.Status == http.StatusNotFound {
		return nil, nil
	}
	var answer struct{ Tags []string }
	if a.Status != http.StatusOK || json.Unmarshal(a.Body, &answer) != nil {
		return nil, &Refusal{"tags of " + repository, *a}
	}
	return answer.Tags, nil
}

// DigestOf returns what the registry has under a tag or digest, "" for nothing.
func (c *Client) DigestOf(repository, reference string) (string, error) {
	a, err := c.Do(http.MethodHead, "/v2/"+repository+"/manifests/"+reference, nil, "Accept", OCIIndex+", "+OCIManifest)
	switch {
	case err != nil:
		return "", err
	case a.Status == http.StatusNotFound:
		return "", nil
	case a.Status != http.StatusOK:
		return "", &Refusal{"HEAD " + repository + ":" + reference, *a}
	}
	return a.Header.Get("Docker-Content-Digest"), nil
}

// Referrer is an entry of the list of referrers.
type Referrer struct {
	MediaType, Digest, ArtifactType string
	Size                            int64
	Annotations                     map[string]string
}

// Referrers reads a list of referrers, page by page.
func (c *Client) Referrers(t testing.TB, repository, subject, query string) (all []Referrer, pages int) {
	t.Helper()
	target := "/v2/" + repository + "/referrers/" + subject + query
	for target != "" {
		a := c.Must(t, http.StatusOK, http.MethodGet, target, nil)
		if got := a.Header.Get("Content-Type"); got != OCIIndex {
			t.Errorf("Content-Type is %q, want %q", got, OCIIndex)
		}
		if filters := a.Header.Get("OCI-Filters-Applied"); (filters == "artifactType") != strings.Contains(target, "artifactType") {
			t.Errorf("%s: OCI-Filters-Applied is %q", target, filters)
		}
		// Clients bound what they read of an index by what a manifest may have.
		if len(a.Body) > 4<<20 {
			t.Errorf("a page of referrers has %d bytes", len(a.Body))
		}
		var index struct {
			SchemaVersion int
			MediaType     string
			Manifests     []Referrer
		}
		if err := json.Unmarshal(a.Body, &index); err != nil || index.SchemaVersion != 2 || index.MediaType != OCIIndex || index.Manifests == nil {
			t.Fatalf("%s is no index: %v, %.300s", target, err, a.Body)
		}
		all = append(all, index.Manifests...)
		if pages++; pages > 100 {
			t.Fatal("the list of referrers does not end")
		}
		target = NextPage(t, a)
	}
	return all, pages
}

// Referred wants exactly these referrers, in any order.
func (c *Client) Referred(t testing.TB, repository, subject, query string, want ...string) {
	t.Helper()
	all, _ := c.Referrers(t, repository, subject, query)
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

var nextLink = regexp.MustCompile(`^<([^>]+)>; rel="next"$`)

// NextPage is the page that an answer links to, "" for none.
func NextPage(t testing.TB, a *Answer) string {
	t.Helper()
	link := a.Header.Get("Link")
	if link == "" {
		return ""
	}
	m := nextLink.FindStringSubmatch(link)
	if m == nil {
		t.Fatalf("Link is %q", link)
	}
	return m[1]
}

// ListedDigests are the manifests that the images API lists in a repository.
func (c *Client) ListedDigests(t testing.TB, repository string) []string {
	t.Helper()
	list, err := c.Listed("?namespace="+repository, "")
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

// Metrics reads all metrics, each by its name with its labels.
func Metrics(t testing.TB, b *Berth) map[string]string {
	t.Helper()
	values := map[string]string{}
	for line := range strings.Lines(string(b.Get(t, "/metrics", ""))) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "} "); ok {
			values[name+"}"] = value
		} else if fields := strings.Fields(line); len(fields) == 2 {
			values[fields[0]] = fields[1]
		}
	}
	return values
}
