package matrix

import (
	"fmt"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// twinNames are names that a stranger must not be able to tell apart: the
// first is there, the others are not. All are of one length.
var twinNames = [][]string{
	{"bob/secret", "bob/absent", "zed/secret"},
	{"bob/secret/below", "bob/absent/below", "zed/secret/below"},
}

// blindCallers are those who may not see what is bob's.
var blindCallers = []string{"anonymous", "expired", "wrong", "stranger", "owner", "readonly", "reader", "writer"}

// TestSame compares whole answers: nobody can tell what another stores
// from what nobody does. Where TEST_REQUIRE does not ask for matrix, each caller asks
// about half of the names.
func TestSame(t *testing.T) {
	t.Parallel()
	for _, public := range []string{"false", "true"} {
		w := newWorld(t, "BERTH_ACCOUNTS_ANONYMOUS_OFFICIAL="+public)
		w.push("bob/secret/below", "latest", harness.NewImage("below", "below"))
		blind := blindCallers
		if public == "true" {
			blind = []string{"anonymous", "anonymous-token", "stranger"}
		}
		for n, names := range twinNames {
			session := w.session(names[0])
			id := session.Path[strings.LastIndexByte(session.Path, '/')+1:]
			image, ok := w.images[names[0]]
			if !ok {
				image = harness.NewImage("below", "below")
			}
			for i, caller := range blind {
				if i%2 != n%2 && !harness.Required("matrix") {
					continue // asked about the other names
				}
				w.twins(caller, names, image, id+"?"+session.RawQuery)
			}
		}
	}
}

// twins asks all that may be asked about each of the names.
func (w *world) twins(caller string, names []string, image harness.Image, session string) {
	w.t.Helper()
	index, manifest, blob := harness.Digest(image.Index), harness.Digest(image.Manifest), harness.Digest(image.Blobs[1])
	for _, method := range []string{"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"} {
		for _, path := range []string{
			"/v2/%s/tags/list", "/v2/%s/tags/list?n=0", "/v2/%s/tags/list?n=-1", "/v2/%s/manifests/latest", "/v2/%s/manifests/none",
			"/v2/%s/manifests/" + index, "/v2/%s/manifests/" + manifest, "/v2/%s/manifests/" + blob, "/v2/%s/manifests/.bad",
			"/v2/%s/blobs/" + blob, "/v2/%s/blobs/" + index, "/v2/%s/blobs/sha256:bad", "/v2/%s/referrers/" + manifest, "/v2/%s/referrers/uploads", "/v2/%s/blobs/uploads/?digest=" + blob, "/v2/%s/manifests/" + index + "?tag=v2",
			"/v2/%s/blobs/uploads/", "/v2/%s/blobs/uploads/?mount=" + blob + "&from=bob/secret", "/v2/%s/blobs/uploads/?mount=" + blob,
			"/v2/%s/blobs/uploads/" + session, "/v2/%s/blobs/uploads/" + session + "&digest=" + blob, "/v2/%s", "/v2/%s/",
			"/api/v2.0/projects/%s/summary", "/api/v2.0/projects/%s",
		} {
			w.same(caller, names, func(name string) *harness.Answer {
				if strings.HasPrefix(path, "/api/") {
					project, rest, _ := strings.Cut(name, "/")
					name = project
					if !strings.HasSuffix(path, "/summary") {
						name += "/repositories/" + strings.ReplaceAll(rest, "/", "%252F")
					}
				}
				return w.askSame(caller, method, fmt.Sprintf(path, name), image.Index)
			})
		}
	}
	for _, route := range routesV1 {
		for _, method := range []string{"GET", "HEAD"} {
			for _, way := range [][2]string{
				{"?tag=%s", ""}, {"?digest=%s@" + index, ""}, {"?digest=%s@" + manifest, ""}, {"?namespace=%s", ""}, {"?namespace=%s&tagged", ""},
				{"?count=1&from=%s@" + index, ""}, {"?tag=nginx,%s", ""}, {"", `{"tag":"%s"}`}, {"", `[{"digest":"%s@` + index + `"},{"tag":"nginx"}]`},
				{"", `{"tag":"` + w.Host + `/%s:latest"}`}, {"?digest=" + index, `{"tag":"%s"}`},
			} {
				w.same(caller, names, func(name string) *harness.Answer {
					return w.askSame(caller, method, route+strings.ReplaceAll(way[0], "%s", name), strings.ReplaceAll(way[1], "%s", name))
				})
			}
			// What has no name: the digest and UUID of an image that is there,
			// and of one that is not.
			for _, way := range []string{"?digest=%s", "?uuid=%s", "?count=5&from=%s"} {
				there, absent := index, harness.Digest([]byte("absent"))
				if !strings.Contains(way, "digest") {
					there, absent = harness.UUIDOf(names[0], index), harness.UUIDOf(names[0], absent)
				}
				w.same(caller, []string{there, absent}, func(id string) *harness.Answer {
					return w.askSame(caller, method, route+fmt.Sprintf(way, id), "")
				})
			}
		}
	}
}

// same wants one answer for all names: status, headers and body, byte by byte,
// but for the name itself and for what is different each time.
func (w *world) same(caller string, names []string, ask func(name string) *harness.Answer) {
	w.t.Helper()
	var first string
	for _, name := range names {
		a := ask(name)
		var text strings.Builder
		fmt.Fprintf(&text, "%d\n", a.Status)
		a.Header.Del("Date")
		if timeTaken.Match(a.Body) {
			a.Header.Del("Content-Length") // of how many digits a time has
		}
		_ = a.Header.Write(&text)
		text.Write(timeTaken.ReplaceAll(a.Body, nil))
		got := strings.ReplaceAll(text.String(), name, "<name>")
		project, _, _ := strings.Cut(name, "/")
		got = strings.ReplaceAll(got, ":"+project+":", ":<project>:") // a summary's scope
		if first == "" {
			first = got
		} else if got != first {
			w.t.Errorf("%s can tell %s from %s:\n%s\n%s", caller, names[0], name, first, got)
		}
	}
}

// askSame asks under a request ID that is always the same, for it is in the
// answer.
func (w *world) askSame(caller, method, target string, body any) *harness.Answer {
	w.t.Helper()
	return w.ask(caller, method, target, body, "X-Request-Id", "same")
}

// TestTellsSelf makes sure that the comparison above can fail: whoever
// may see a repository can tell it from one that is not there.
func TestTellsSelf(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, caller := range []string{"bob", "admin"} {
		there := w.ask(caller, "GET", "/v2/bob/secret/tags/list", nil)
		absent := w.ask(caller, "GET", "/v2/bob/absent/tags/list", nil)
		if there.Status != 200 || absent.Status != 404 {
			t.Errorf("%s: %d and %d", caller, there.Status, absent.Status)
		}
	}
}
