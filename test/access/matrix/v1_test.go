package matrix

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// tableV1 is what everyone gets under /v1: lists have one answer, lookups one
// for each of columnNames.
const tableV1 = `
list GET HEAD
  anonymous expired wrong                        401
  stranger owner readonly reader writer admin    200
list PUT POST PATCH DELETE OPTIONS
  everyone                                       405
quotas GET HEAD
  anonymous expired wrong                        401
  stranger owner readonly reader writer admin    200
quotas PUT POST PATCH DELETE OPTIONS
  everyone                                       405
users GET HEAD
  anonymous expired wrong                        401
  stranger owner readonly reader writer admin    200
users PUT POST PATCH DELETE OPTIONS
  everyone                                       405
metros GET HEAD
  anonymous expired wrong                        401
  stranger owner readonly reader writer admin    200
metros PUT POST PATCH DELETE OPTIONS
  everyone                                       405
repositories GET HEAD
  anonymous expired wrong                        401
  stranger owner readonly reader writer admin    200
repositories PUT POST PATCH DELETE OPTIONS
  everyone                                       405
public GET HEAD
  everyone                                       200
public PUT POST PATCH DELETE OPTIONS
  everyone                                       405
lookup GET HEAD
  anonymous expired wrong                        401
  stranger                                       404 404 200 200 200 200 404 404 404
  owner readonly reader writer                   200 404 200 200 200 200 404 404 404
  admin                                          200 200 200 200 200 200 404 404 404
lookup PUT POST PATCH DELETE OPTIONS
  everyone                                       405
unknown GET HEAD PUT POST PATCH DELETE OPTIONS
  everyone                                       404
`

var routesV1 = []string{"/v1/images/list", "/v1/images", "/images", "/v1/image-store"}

// listedNames is which images everyone has in the whole list.
var listedNames = map[string][]string{
	"stranger": {"nginx", "utils/tunnel"},
	"owner":    {"alice/app", "nginx", "utils/tunnel"},
	"readonly": {"alice/app", "nginx", "utils/tunnel"},
	"reader":   {"alice/app", "nginx", "utils/tunnel"},
	"writer":   {"alice/app", "nginx", "utils/tunnel"},
	"admin":    {"alice/app", "bob/secret", "nginx", "utils/tunnel"},
}

func TestV1(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cells := readTable(t, tableV1, len(columnNames))
	wantWhole(t, cells, everyCaller, len(columnNames))
	for _, c := range cells {
		for _, q := range w.requestsV1(c) {
			w.checkV1(c, q)
		}
	}
}

// requestsV1 are the ways to ask what a cell stands for: by tag, by digest with
// a name and without, by both and by UUID, in the query and in the body.
func (w *world) requestsV1(c cell) (all []request) {
	if c.route != "lookup" && c.column > 0 {
		return nil
	}
	name := columnNames[c.column]
	image, ok := w.images[longName(name)]
	if !ok {
		image = harness.NewImage("none", name)
	}
	digest := harness.Digest(image.Index)
	for i, path := range routesV1 {
		switch c.route {
		case "quotas":
			return []request{{target: "/v1/users/quotas"}}
		case "users":
			return []request{{target: "/v1/users"}}
		case "metros":
			return []request{{target: "/v1/metros"}}
		case "repositories":
			return []request{{target: "/v1/images?details=true"}, {target: "/images?details=false&namespace=bob&namespace=alice&namespace=official"}}
		case "public":
			return []request{{target: "/v1/healthz"}, {target: "/v1/openapi.yaml"}}
		case "unknown":
			return []request{{target: "/v1/"}, {target: "/v1/images/"}, {target: "/v1/images/" + name}, {target: "/v1/users/"}, {target: "/v1/users/" + name + "/quotas"}}
		case "list":
			all = append(all, request{target: path}, request{target: path, body: "[]"}, request{target: path + "?tagged"})
			continue
		}
		uuid := harness.UUIDOf(longName(name), digest)
		if !ok && c.column == 7 {
			uuid = harness.UUIDOf("bob/secret", digest) // of a repository that is there, and an image that is not
		}
		ways := []request{
			{target: path + "?tag=" + name},
			{target: path + "?digest=" + name + "@" + digest},
			{target: path + "?digest=" + digest},
			{target: path + "?uuid=" + uuid},
			{target: "/v1/images/" + uuid},
			{target: path, body: `{"uuid":"` + uuid + `"}`},
			{target: path, body: `{"tag":"` + name + `:latest"}`},
			{target: path, body: `[{"digest":"` + name + "@" + digest + `"}]`},
			{target: path, body: `{"digest":"` + digest + `"}`},
			{target: path, body: `{"digest":"` + digest + `","tag":"` + w.Host + "/" + name + `:latest"}`},
			{target: path + "?digest=" + digest + "&uuid=" + uuid, body: `{"tagged":"` + name + `"}`},
		}
		if c.status == 401 || c.status == 405 {
			ways = ways[i : i+2] // nothing of it is looked at
		}
		all = append(all, ways...)
	}
	return all
}

func (w *world) checkV1(c cell, q request) {
	w.t.Helper()
	what := fmt.Sprintf("%s %v", q.target, q.body)
	a := w.ask(c.caller, c.method, q.target, q.body)
	w.check(cell{c.route, c.method, c.caller, c.column, c.status, ""}, what, a)
	if a.Status != c.status || c.method == "HEAD" {
		if len(a.Body) > 0 && c.method == "HEAD" {
			w.t.Errorf("%s: HEAD %s has a body", c.caller, what)
		}
		return
	}
	if strings.HasSuffix(q.target, ".yaml") && c.status == 200 {
		return // no envelope
	}
	names, envelope := readEnvelope(w.t, a)
	switch {
	case c.status == 200 && envelope.Status != "success",
		c.status > 200 && (envelope.Status != "error" || envelope.Message == "" || len(envelope.Errors) != 1 || envelope.Errors[0].Status != c.status):
		w.t.Errorf("%s: %s %s: no envelope for a %d: %s", c.caller, c.method, what, c.status, a.Body)
	case c.route == "list" && c.status == 200 && !slices.Equal(names, listedNames[c.caller]):
		w.t.Errorf("%s: %s lists %v, want %v", c.caller, what, names, listedNames[c.caller])
	case c.route == "repositories" && c.status == 200 && !slices.Equal(names, longNames(listedNames[c.caller])):
		w.t.Errorf("%s: %s lists %v", c.caller, what, names)
	case c.route == "users" && c.status == 200 && c.caller != "admin" && bytes.Count(a.Body, []byte(`"uuid":`)) != 1:
		w.t.Errorf("%s: %s lists others: %s", c.caller, what, a.Body)
	case c.route == "lookup" && c.status == 200 && !slices.Equal(names, []string{strings.TrimPrefix(columnNames[c.column], "official/")}):
		w.t.Errorf("%s: %s finds %v", c.caller, what, names)
	case c.route == "lookup" && c.status == 404 && !bytes.Contains(a.Body, []byte(`"error":8`)):
		w.t.Errorf("%s: %s has no entry of what is missing: %s", c.caller, what, a.Body)
	}
	// Whose an image is and who may pull it is for administrators.
	tells := c.caller == "admin" && len(names) > 0 && !strings.HasPrefix(q.target, "/v1/images/list") && c.route != "repositories"
	if whose := bytes.Contains(a.Body, []byte(`"users":[`)) || bytes.Contains(a.Body, []byte(`"owner":`)); whose != tells && c.route != "users" {
		w.t.Errorf("%s: %s shows owner and users: %v", c.caller, what, whose)
	}
}

type envelope struct {
	Status, Message string
	Errors          []struct{ Status int }
	Data            struct {
		Images []struct{ Name, URL, Digest, Status string }
	}
}

func longNames(names []string) []string {
	long := []string{}
	for _, name := range names {
		long = append(long, longName(name))
	}
	slices.Sort(long)
	return long
}

// readEnvelope reads an answer of the images API, and the sorted names of the
// images in it.
func readEnvelope(t *testing.T, a *harness.Answer) (names []string, envelope envelope) {
	t.Helper()
	if err := json.Unmarshal(a.Body, &envelope); err != nil {
		t.Errorf("%v in %s", err, a.Body)
	}
	names = []string{}
	for _, image := range envelope.Data.Images {
		if image.Status == "error" {
			continue
		}
		name, _, _ := strings.Cut(image.Digest, "@")
		name += image.Name
		if image.URL != "" {
			_, name, _ = strings.Cut(image.URL, "/")
			name, _, _ = strings.Cut(name, "@")
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names, envelope
}

// tableOfNamespaces is how many images everyone has in a list of a namespace.
const tableOfNamespaces = `
            alice alice/app alice/ap bob bob/secret official nginx official/nginx official/utils utils zed
stranger    0     0         0        0   0          2        0     1              1              0     0
owner       1     1         0        0   0          2        0     1              1              0     0
readonly    1     1         0        0   0          2        0     1              1              0     0
reader      1     1         0        0   0          2        0     1              1              0     0
writer      1     1         0        0   0          2        0     1              1              0     0
admin       1     1         0        1   1          2        0     1              1              0     0
`

func TestNamespaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lines := strings.Split(strings.TrimSpace(tableOfNamespaces), "\n")
	for _, line := range lines[1:] {
		fields := strings.Fields(line)
		for i, namespace := range strings.Fields(lines[0]) {
			for _, path := range routesV1 {
				target := path + "?namespace=" + url.QueryEscape(namespace)
				a := w.ask(fields[0], "GET", target, nil)
				names, _ := readEnvelope(t, a)
				if a.Status != 200 || fmt.Sprint(len(names)) != fields[i+1] {
					t.Errorf("%s: %s: %d with %v, want %s", fields[0], target, a.Status, names, fields[i+1])
				}
			}
		}
	}
	// _catalog has the same, by the names under which it is stored.
	for caller, want := range listedNames {
		var list struct{ Repositories []string }
		a := w.ask(caller, "GET", "/v2/_catalog", nil)
		var got []string
		if err := json.Unmarshal(a.Body, &list); err != nil {
			t.Fatal(err)
		}
		for _, name := range list.Repositories {
			got = append(got, strings.TrimPrefix(name, "official/"))
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s: _catalog is %v, want %v", caller, got, want)
		}
		// Paged, from a name that the caller may not see, and back.
		for _, query := range []string{"?n=1", "?n=100&last=bob/secret", "?last=bob/secrex", "?n=1&last=alice"} {
			a := w.ask(caller, "GET", "/v2/_catalog"+query, nil)
			if a.Status != 200 || caller != "admin" && strings.Contains(string(a.Body)+a.Header.Get("Link"), "secret") {
				t.Errorf("%s: _catalog%s is %d %s, Link %s", caller, query, a.Status, a.Body, a.Header.Get("Link"))
			}
		}
	}
}
