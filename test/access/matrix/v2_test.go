package matrix

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// TestV2 asks every route of /v2 by every method as everyone, and looks
// afterwards whether what was refused really did not happen.
func TestV2(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cells := readTable(t, tableV2, len(columnNames))
	wantWhole(t, cells, everyCaller, len(columnNames))
	for _, c := range cells {
		w.cell(c)
	}
	t.Logf("%d requests in the table", len(cells))
}

// request is a request of the table, made out for one cell.
type request struct {
	target string
	body   any
	header []string
	// probe is what an administrator finds at an address afterwards, if the
	// request was answered with success, and if it was not.
	probe         string
	done, refused int
	// right reports whether a successful answer holds what it should.
	right func(*harness.Answer) bool
}

func (w *world) cell(c cell) {
	w.t.Helper()
	name := columnNames[c.column]
	stored := c.column < 6
	if !stored {
		// What a success leaves behind must not be there for the next one.
		name = strings.Replace(name, "none", fmt.Sprintf("none%d", w.serial.Add(1)), 1)
	}
	q := w.request(c, name, stored)
	a := w.ask(c.caller, c.method, q.target, q.body, q.header...)
	w.check(c, q.target, a)
	if a.Status < 300 && q.right != nil && !q.right(a) {
		w.t.Errorf("%s: %s %s: a wrong answer: %v %.300s", c.caller, c.method, q.target, a.Header, a.Body)
	}
	if q.probe == "" {
		return
	}
	want := q.refused
	if c.status < 300 {
		want = q.done
	}
	if a := w.ask("admin", "HEAD", q.probe, nil); a.Status != want {
		w.t.Errorf("%s: %s %s: afterwards %s is %d, want %d", c.caller, c.method, q.target, q.probe, a.Status, want)
	}
}

// request makes out a cell. What is to be deleted or continued is put there
// before, by an administrator.
func (w *world) request(c cell, name string, stored bool) (q request) {
	w.t.Helper()
	base := "/v2/" + name
	image, ok := w.images[longName(name)]
	if !ok {
		image = harness.NewImage("none", "none")
	}
	// Its digest is new each time; a second way to name tags is the query's.
	manifest := harness.JSON(map[string]any{
		"schemaVersion": 2, "mediaType": harness.OCIIndex, "manifests": []any{}, "annotations": map[string]string{"n": string(w.unique())},
	})
	typed := []string{"Content-Type", harness.OCIIndex}
	switch c.route {
	case "base":
		q.target = "/v2/"
	case "catalog":
		q.target = "/v2/_catalog"
	case "unknown":
		q.target = base + "/referrers"
	case "tags":
		q.target = base + "/tags/list"
		q.right = func(a *harness.Answer) bool {
			var list struct{ Name string }
			return c.method == "HEAD" || json.Unmarshal(a.Body, &list) == nil && list.Name == name
		}
	case "tag", "digest":
		reference, body := "latest", image.Index
		if c.route == "digest" {
			reference, body = harness.Digest(image.Manifest), image.Manifest
		}
		if c.method == "PUT" || c.method == "DELETE" {
			reference, body = fmt.Sprintf("t%d", w.serial.Add(1)), manifest
			if c.route == "digest" {
				reference = harness.Digest(manifest)
			}
		}
		q = request{target: base + "/manifests/" + reference, probe: base + "/manifests/" + reference, done: 200, refused: 404}
		switch {
		case c.method == "PUT":
			q.body, q.header = manifest, typed
			if c.route == "digest" {
				tag := fmt.Sprintf("q%d", w.serial.Add(1))
				q.target, q.probe = q.target+"?tag="+tag, base+"/manifests/"+tag
			}
		case c.method == "DELETE" && stored:
			w.must(201, "PUT", q.target, manifest, typed...)
			q.done, q.refused = 404, 200
		case c.method == "DELETE":
		default:
			q.probe, q.header = "", []string{"Accept", harness.OCIManifest + "," + harness.OCIIndex}
			q.right = func(a *harness.Answer) bool {
				return a.Header.Get("Docker-Content-Digest") == harness.Digest(body) && (c.method == "HEAD" || bytes.Equal(a.Body, body))
			}
		}
	case "blob":
		q.target = base + "/blobs/" + harness.Digest(image.Blobs[0])
		q.right = func(a *harness.Answer) bool { return c.method == "HEAD" || bytes.Equal(a.Body, image.Blobs[0]) }
		if c.method == "DELETE" {
			content := w.unique()
			q = request{target: base + "/blobs/" + harness.Digest(content), probe: base + "/blobs/" + harness.Digest(content), done: 404, refused: 404}
			if stored {
				w.blob(name, content)
				q.refused = 200
			}
		}
	case "referrers":
		q.target = base + "/referrers/" + harness.Digest(image.Index)
		q.right = func(a *harness.Answer) bool { return a.Header.Get("Content-Type") == harness.OCIIndex }
	case "uploads":
		q.target = base + "/blobs/uploads/"
	case "single":
		content := w.unique()
		q = request{target: base + "/blobs/uploads/?digest=" + harness.Digest(content), body: content, header: []string{"Content-Type", "application/octet-stream"}}
		if c.method == "POST" {
			q.probe, q.done, q.refused = base+"/blobs/"+harness.Digest(content), 200, 404
		}
	case "mount":
		q.target = base + "/blobs/uploads/?from=alice/app&mount=" + harness.Digest(image.Blobs[1])
		if c.method == "POST" {
			blob := w.blob("official/other", w.unique())
			q.target = base + "/blobs/uploads/?from=official/other&mount=" + blob
			q.probe, q.done, q.refused = base+"/blobs/"+blob, 200, 404
		}
	case "session", "nosession":
		w.uploadStep(c, name, &q)
	default:
		w.t.Fatalf("no request for %s", c.route)
	}
	return q
}

// uploadStep goes on with an upload, or with one that was never begun.
func (w *world) uploadStep(c cell, name string, q *request) {
	q.target = "/v2/" + name + "/blobs/uploads/00000000-0000-4000-8000-000000000000"
	content := w.unique()
	if c.route == "session" && !slices.Contains([]string{"POST", "OPTIONS"}, c.method) {
		location := w.session(name)
		q.target = location.String()
		q.probe, q.done, q.refused = location.Path, 204, 204
		switch c.method {
		case "DELETE":
			q.done = 404
		case "PUT":
			q.target = harness.WithDigest(location, harness.Digest(content))
			q.probe, q.done, q.refused = "/v2/"+name+"/blobs/"+harness.Digest(content), 200, 404
		}
	}
	if c.method == "PATCH" || c.method == "PUT" {
		q.body, q.header = content, []string{"Content-Type", "application/octet-stream"}
	}
}

// longName is the long form of the names in the tables.
func longName(name string) string {
	switch name {
	case "nginx":
		return "official/nginx"
	case "utils/tunnel":
		return "official/utils/tunnel"
	}
	return name
}

// tableOfPublic is what is different where official images are free to all. A
// client without credentials is still challenged at /v2/.
const tableOfPublic = `
base GET HEAD
  anonymous expired wrong                        401U
  anonymous-token stranger                       200
catalog GET HEAD
  anonymous anonymous-token expired wrong        401U
  stranger                                       200
tags GET HEAD
  anonymous anonymous-token                      401U 401U 200 200 200 200 401U 401U 401U
  stranger                                       404N 404N 200 200 200 200 404N 404N 404N
  expired wrong                                  401U
tag GET HEAD
  anonymous anonymous-token                      401U 401U 200 200 200 200 401U 401U 401U
  stranger                                       404N 404N 200 200 200 200 404N 404N 404N
  expired wrong                                  401U
digest GET HEAD
  anonymous anonymous-token                      401U 401U 200 200 200 200 401U 401U 401U
  stranger                                       404N 404N 200 200 200 200 404N 404N 404N
  expired wrong                                  401U
blob GET HEAD
  anonymous anonymous-token                      401U 401U 200 200 200 200 401U 401U 401U
  stranger                                       404N 404N 200 200 200 200 404N 404N 404N
  expired wrong                                  401U
referrers GET HEAD
  anonymous anonymous-token                      401U 401U 200 200 200 200 401U 401U 401U
  stranger                                       404N 404N 200 200 200 200 404N 404N 404N
  expired wrong                                  401U
tag PUT DELETE
  anonymous anonymous-token expired wrong        401U
  stranger                                       403D
digest PUT DELETE
  anonymous anonymous-token expired wrong        401U
  stranger                                       403D
blob DELETE
  anonymous anonymous-token expired wrong        401U
  stranger                                       403D
uploads POST
  anonymous anonymous-token expired wrong        401U
  stranger                                       403D
mount POST
  anonymous anonymous-token expired wrong        401U
  stranger                                       403D
single POST
  anonymous anonymous-token expired wrong        401U
  stranger                                       403D
session GET HEAD PUT PATCH DELETE
  anonymous anonymous-token expired wrong        401U
  stranger                                       403D
nosession GET HEAD PUT PATCH DELETE
  anonymous anonymous-token expired wrong        401U
  stranger                                       403D
tags PUT POST PATCH DELETE OPTIONS
  anonymous anonymous-token                      405X
tag POST PATCH OPTIONS
  anonymous anonymous-token                      405X
`

func TestPublicOfficial(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "BERTH_ACCOUNTS_ANONYMOUS_OFFICIAL=true")
	for _, c := range readTable(t, tableOfPublic, len(columnNames)) {
		w.cell(c)
	}
	// The images API wants an account all the same.
	for _, caller := range []string{"anonymous", "anonymous-token"} {
		for _, path := range []string{"/v1/images", "/v1/images/list", "/images", "/v1/image-store", "/v1/users/quotas", "/v1/images?tag=nginx"} {
			w.check(cell{method: "GET", caller: caller, status: 401}, path, w.ask(caller, "GET", path, nil))
		}
	}
}

// Where nothing is free to all, an anonymous token is good for nothing but
// being shown at /v2/.
func TestAnonymousToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range readTable(t, tableV2, len(columnNames)) {
		if c.caller == "anonymous" && c.route != "base" {
			c.caller = "anonymous-token"
			w.cell(c)
		}
	}
}
