package matrix

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// tableOfPublished is what is different where alice/app is published: everybody
// may read it, also without an account, and nobody may do more than before. What
// is listed depends on who asks, so that a client without credentials is still
// challenged at /v2/ and _catalog.
const tableOfPublished = `
base GET HEAD
  anonymous expired wrong                        401U
  anonymous-token stranger                       200
catalog GET HEAD
  anonymous expired wrong                        401U
  anonymous-token stranger owner                 200
tags GET HEAD
  anonymous anonymous-token                      200 401U 401U 401U 401U 401U 401U 401U 401U
  stranger                                       200 404N 200 200 200 200 404N 404N 404N
  owner readonly                                 200 404N 200 200 200 200 404N 404N 404N
  expired wrong                                  401U
tag GET HEAD
  anonymous anonymous-token                      200 401U 401U 401U 401U 401U 401U 401U 401U
  stranger                                       200 404N 200 200 200 200 404N 404N 404N
  expired wrong                                  401U
digest GET HEAD
  anonymous anonymous-token                      200 401U 401U 401U 401U 401U 401U 401U 401U
  stranger                                       200 404N 200 200 200 200 404N 404N 404N
  expired wrong                                  401U
blob GET HEAD
  anonymous anonymous-token                      200 401U 401U 401U 401U 401U 401U 401U 401U
  stranger                                       200 404N 200 200 200 200 404N 404N 404N
  expired wrong                                  401U
referrers GET HEAD
  anonymous anonymous-token                      200 401U 401U 401U 401U 401U 401U 401U 401U
  stranger                                       200 404N 200 200 200 200 404N 404N 404N
  expired wrong                                  401U
tag PUT DELETE
  anonymous anonymous-token expired wrong        401U
  stranger readonly reader                       403D
digest PUT DELETE
  anonymous anonymous-token expired wrong        401U
  stranger readonly reader                       403D
blob DELETE
  anonymous anonymous-token expired wrong        401U
  stranger readonly reader                       403D
uploads POST
  anonymous anonymous-token expired wrong        401U
  stranger readonly reader                       403D
mount POST
  anonymous anonymous-token expired wrong        401U
  stranger readonly reader                       403D
single POST
  anonymous anonymous-token expired wrong        401U
  stranger readonly reader                       403D
session GET HEAD PUT PATCH DELETE
  anonymous anonymous-token expired wrong        401U
  stranger readonly reader                       403D
nosession GET HEAD PUT PATCH DELETE
  anonymous anonymous-token expired wrong        401U
  stranger readonly reader                       403D
tags PUT POST PATCH DELETE OPTIONS
  anonymous anonymous-token                      405X
tag POST PATCH OPTIONS
  anonymous anonymous-token                      405X
`

// tableOfPublishedV1 is the same for the images API.
const tableOfPublishedV1 = `
list GET HEAD
  anonymous anonymous-token                      200
  expired wrong                                  401
list PUT POST PATCH DELETE OPTIONS
  anonymous anonymous-token                      405
quotas GET HEAD
  anonymous anonymous-token expired wrong        401
lookup GET HEAD
  anonymous anonymous-token                      200 404 404 404 404 404 404 404 404
  stranger                                       200 404 200 200 200 200 404 404 404
  expired wrong                                  401
lookup PUT POST PATCH DELETE OPTIONS
  anonymous anonymous-token                      405
unknown GET HEAD PUT POST PATCH DELETE OPTIONS
  anonymous anonymous-token                      404
`

// listedPublished is which images everyone has in a list then, by the names of
// the images API.
var listedPublished = map[string][]string{
	"anonymous": {"alice/app"}, "anonymous-token": {"alice/app"},
	"stranger": {"alice/app", "nginx", "utils/tunnel"},
	"owner":    {"alice/app", "nginx", "utils/tunnel"},
	"admin":    {"alice/app", "bob/secret", "nginx", "utils/tunnel"},
}

func publish(w *world, args ...string) {
	w.t.Helper()
	harness.AccountCommand(w.t, w.Berth, nil, args...)
}

func TestPublished(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	publish(w, "publish", "alice/app")
	for _, c := range readTable(t, tableOfPublished, len(columnNames)) {
		w.cell(c)
	}
	for _, c := range readTable(t, tableOfPublishedV1, len(columnNames)) {
		for _, q := range w.requestsV1(c) {
			if c.route != "list" || c.status != 200 {
				w.checkV1(c, q)
			}
		}
	}
	for caller, want := range listedPublished {
		for _, path := range routesV1 {
			for _, q := range []request{{target: path}, {target: path + "?tagged"}, {target: path + "?count=10"}, {target: path, body: "[]"}} {
				names, envelope := readEnvelope(t, w.ask(caller, "GET", q.target, q.body))
				if envelope.Status != "success" || !slices.Equal(names, want) {
					t.Errorf("%s: %s lists %v, want %v", caller, q.target, names, want)
				}
			}
			if names, _ := readEnvelope(t, w.ask(caller, "GET", path+"?namespace=bob", nil)); caller != "admin" && len(names) > 0 {
				t.Errorf("%s: sees %v", caller, names)
			}
		}
		if got := w.repositories(caller); caller != "anonymous" && !slices.Equal(got, want) {
			t.Errorf("%s: _catalog is %v, want %v", caller, got, want)
		}
	}
	w.publishedLinks()
	w.publishedElsewhere()
	if _, envelope := readEnvelope(t, w.ask("anonymous", "GET", "/v1/images", `[{"tag":"alice/app"},{"tag":"bob/secret"}]`)); envelope.Status != "partial_success" {
		t.Errorf("some of what is asked for is public, and the answer is %+v", envelope)
	}
}

// repositories is what _catalog shows a caller, by the names of the images API.
func (w *world) repositories(caller string) (names []string) {
	w.t.Helper()
	if caller == "anonymous" {
		return nil // it is challenged: see the table
	}
	var list struct{ Repositories []string }
	for _, query := range []string{"", "?n=1", "?n=100&last=alice", "?n=5&last=bob/secret"} {
		a := w.ask(caller, "GET", "/v2/_catalog"+query, nil)
		if caller != "admin" && strings.Contains(string(a.Body)+a.Header.Get("Link"), "secret") {
			w.t.Errorf("%s: _catalog%s is %s, Link %s", caller, query, a.Body, a.Header.Get("Link"))
		}
		if query != "" {
			continue
		}
		if err := json.Unmarshal(a.Body, &list); err != nil {
			w.t.Fatalf("%s: %v in %s", caller, err, a.Body)
		}
		for _, name := range list.Repositories {
			names = append(names, strings.TrimPrefix(name, "official/"))
		}
	}
	slices.Sort(names)
	return names
}

// publishedElsewhere asks the routes that are not in the tables.
func (w *world) publishedElsewhere() {
	w.t.Helper()
	for _, caller := range []string{"anonymous", "anonymous-token"} {
		a := w.ask(caller, "GET", "/v1/images?details=true", nil)
		if text := string(a.Body); a.Status != 200 || !strings.Contains(text, `"alice/app"`) || strings.Count(text, `"push_time"`) != 1 || strings.Contains(text, "secret") {
			w.t.Errorf("%s: the control plane's list is %d %s", caller, a.Status, text)
		}
		for repository, status := range map[string]int{"alice/app": 200, "bob/secret": 404, "official/nginx": 404, "alice/none": 404} {
			path := "/v1/images/" + harness.UUIDOf(repository, harness.Digest(w.images[repository].Index))
			w.check(cell{method: "GET", caller: caller, status: status}, path, w.ask(caller, "GET", path, nil))
		}
		for _, path := range []string{"/v1/users", "/v1/users/quotas"} {
			w.check(cell{method: "GET", caller: caller, status: 401}, path, w.ask(caller, "GET", path, nil))
		}
	}
}

// publishedLinks wants nothing to come through a public repository that is not
// linked in it, in either direction.
func (w *world) publishedLinks() {
	w.t.Helper()
	theirs, public := w.images["bob/secret"], w.images["alice/app"]
	for _, caller := range []string{"anonymous", "anonymous-token", "stranger"} {
		for _, path := range []string{
			"/v2/alice/app/blobs/" + harness.Digest(theirs.Blobs[0]), "/v2/alice/app/blobs/" + harness.Digest(theirs.Blobs[1]),
			"/v2/alice/app/blobs/" + harness.Digest(theirs.Manifest), "/v2/alice/app/manifests/" + harness.Digest(theirs.Manifest),
			"/v2/alice/app/manifests/" + harness.Digest(theirs.Index), "/v2/alice/app/manifests/none",
		} {
			w.check(cell{method: "GET", caller: caller, status: 404}, path, w.ask(caller, "GET", path, nil))
		}
	}
	// Without an account nothing can be mounted from it; with one, what may be
	// read may.
	target := "/v2/mallory/x/blobs/uploads/?from=alice/app&mount=" + harness.Digest(public.Blobs[0])
	for caller, status := range map[string]int{"anonymous": 401, "anonymous-token": 401, "owner": 403, "stranger": 201} {
		w.check(cell{method: "POST", caller: caller, status: status}, target, w.ask(caller, "POST", target, nil))
	}
	target = "/v2/mallory/x/blobs/uploads/?from=bob/secret&mount=" + harness.Digest(theirs.Blobs[0])
	w.check(cell{method: "POST", caller: "stranger", status: 202}, target, w.ask("stranger", "POST", target, nil))
}

// TestPublishedEdges: what is published ends where the name does, holds for what
// lies below, and as long as it is.
func TestPublishedEdges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, repository := range []string{"alice/app2", "alice/app-x", "alice/app/below", "alicex/app"} {
		w.push(repository, "latest", harness.NewImage("n", repository))
	}
	want := func(status int, repositories ...string) {
		t.Helper()
		for _, repository := range repositories {
			v1 := status
			if v1 == 401 {
				v1 = 404
			}
			for _, caller := range []string{"anonymous", "anonymous-token"} {
				w.check(cell{method: "GET", caller: caller, status: status}, repository, w.ask(caller, "GET", "/v2/"+repository+"/manifests/latest", nil))
				w.check(cell{method: "GET", caller: caller, status: v1}, repository, w.ask(caller, "GET", "/v1/images?tag="+repository, nil))
			}
		}
	}
	publish(w, "publish", "alice/app", "official/nginx")
	want(200, "alice/app", "alice/app/below", "official/nginx", "nginx")
	want(401, "alice/app2", "alice/app-x", "alicex/app", "bob/secret", "official/utils/tunnel")
	if names, _ := readEnvelope(t, w.ask("anonymous", "GET", "/v1/images", nil)); !slices.Equal(names, []string{"alice/app", "alice/app/below", "nginx"}) {
		t.Errorf("lists %v", names)
	}
	// An administrator is told who may pull it: everybody that has an account.
	if a := w.ask("admin", "GET", "/v1/images?tag=alice/app", nil); !strings.Contains(string(a.Body), `"users":["alice","bob","carol","dave","mallory","root"]`) {
		t.Errorf("users: %s", a.Body)
	}
	// From the next request on, also with a token that was got before.
	publish(w, "unpublish", "alice/app")
	want(401, "alice/app", "alice/app/below")
	want(200, "official/nginx")
	publish(w, "unpublish", "official/nginx")
	for _, caller := range []string{"anonymous", "anonymous-token"} {
		for _, path := range []string{"/v1/images", "/v1/images/list", "/v1/images?tag=alice/app", "/v2/_catalog", "/v2/nginx/tags/list"} {
			w.check(cell{method: "GET", caller: caller, status: 401}, path, w.ask(caller, "GET", path, nil))
		}
	}
}

// TestPublishedSame: who has no account cannot tell what others store from what
// nobody does, where something is public.
func TestPublishedSame(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	publish(w, "publish", "alice/app")
	w.push("bob/secret/below", "latest", harness.NewImage("below", "below"))
	for _, names := range twinNames {
		session := w.session(names[0])
		id := session.Path[strings.LastIndexByte(session.Path, '/')+1:]
		image, ok := w.images[names[0]]
		if !ok {
			image = harness.NewImage("below", "below")
		}
		for _, caller := range []string{"anonymous", "anonymous-token", "stranger"} {
			w.twins(caller, names, image, id+"?"+session.RawQuery)
		}
	}
}
