package matrix

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

const (
	emptyIndex = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
	secretBlob = "bob's own"
	someUpload = "00000000-0000-4000-8000-000000000000"
)

var (
	calledNames = []string{"bob/secret", "bob/absent", "zed/secret"}
	allMethods  = []string{"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"}
)

// TestNoCalls: for what a caller may not see, the gate answers without a
// single call to storage or index, and in the same way whether it is there.
func TestNoCalls(t *testing.T) {
	for _, public := range []bool{false, true} {
		b := newCounted(t, public)
		b.push("bob/secret", emptyIndex, secretBlob)
		manifest, blob := digest.FromString(emptyIndex).String(), digest.FromString(secretBlob).String()
		paths := []string{
			"/tags/list", "/tags/list?n=1&last=a", "/manifests/latest", "/manifests/none", "/manifests/" + manifest, "/manifests/" + manifest + "?tag=a",
			"/blobs/" + blob, "/referrers/" + manifest, "/blobs/uploads/", "/blobs/uploads/?mount=" + blob, "/blobs/uploads/?mount=" + blob + "&from=bob/secret",
			"/blobs/uploads/?mount=" + blob + "&from=alice/app", "/blobs/uploads/?digest=" + blob, "/blobs/uploads/" + someUpload,
			"/blobs/uploads/" + someUpload + "?digest=" + blob + "&_state=x", "/", "", "/manifests/sha256:bad",
		}
		asked := 0
		for _, caller := range blindCallers {
			for _, method := range allMethods {
				for _, path := range paths {
					var first string
					for _, name := range calledNames {
						asked++
						w, calls := b.ask(caller, method, "/v2/"+name+path, emptyIndex, "Content-Type", "application/vnd.oci.image.index.v1+json")
						if len(calls) > 0 || w.Code < 400 {
							t.Errorf("%s: %s /v2/%s%s: %d after %q", caller, method, name, path, w.Code, calls)
						}
						got := strings.ReplaceAll(fmt.Sprint(w.Code, w.Header(), w.Body), name, "<name>")
						if first == "" {
							first = got
						} else if got != first {
							t.Errorf("%s: %s /v2/%s%s: %s\nand for %s: %s", caller, method, name, path, got, calledNames[0], first)
						}
					}
				}
				for _, target := range []string{"/api/v2.0/projects/bob/summary", "/api/v2.0/projects/zed/summary", "/api/v2.0/projects/bob/repositories/secret", "/api/v2.0/projects/bob/repositories/absent"} {
					if w, calls := b.ask(caller, method, target, ""); len(calls) > 0 || w.Code < 400 {
						t.Errorf("%s: %s %s: %d after %q", caller, method, target, w.Code, calls)
					}
				}
				if _, calls := b.ask(caller, method, "/token?scope=repository:bob/secret:pull", ""); len(calls) > 0 {
					t.Errorf("%s: %s /token after %q", caller, method, calls)
				}
			}
		}
		t.Logf("%d requests under /v2", asked)
		// The count can count: for who may see it, there are calls.
		for _, caller := range []string{"bob", "admin"} {
			for _, path := range paths[:8] {
				if w, calls := b.ask(caller, "GET", "/v2/bob/secret"+path, ""); len(calls) == 0 {
					t.Errorf("%s: GET %s is answered with %d without a call", caller, path, w.Code)
				}
			}
		}
	}
}

// TestNoCallsV1: without an account nothing is looked at. With one, a
// lookup by name asks for nothing that the caller may not see: but for the
// official image that the name could also mean, which all may see.
func TestNoCallsV1(t *testing.T) {
	b := newCounted(t, false)
	b.push("bob/secret", emptyIndex, secretBlob)
	manifest := digest.FromString(emptyIndex).String()
	lookups := [][2]string{
		{"?tag=%s", ""}, {"?tag=%s:none", ""}, {"?digest=%s@" + manifest, ""}, {"", `{"tag":"%s"}`}, {"", `[{"digest":"%s@` + manifest + `"}]`},
		{"", `{"tag":"berth.test/%s:latest"}`}, {"?count=1&from=%s@" + manifest, ""}, {"?tag=%s", `{"digest":"%s@` + manifest + `"}`}, {"?tag=%s&namespace=bob", ""},
	}
	others := [][2]string{{"", ""}, {"?namespace=%s", ""}, {"?digest=" + manifest, ""}, {"?uuid=" + someUpload, ""}, {"?tag=%s:-", ""}, {"", "{"}}
	for _, route := range []string{"/v1/images", "/v1/images/list", "/v1/image-store", "/v1/users/quotas", "/v1/none"} {
		for _, method := range allMethods {
			for _, way := range slices.Concat(lookups, others) {
				for _, caller := range []string{"anonymous", "expired", "wrong"} {
					target := route + strings.ReplaceAll(way[0], "%s", "bob/secret")
					if w, calls := b.ask(caller, method, target, strings.ReplaceAll(way[1], "%s", "bob/secret")); len(calls) > 0 || w.Code < 400 {
						t.Errorf("%s: %s %s: %d after %q", caller, method, target, w.Code, calls)
					}
				}
			}
		}
	}
	for _, route := range []string{"/v1/images", "/v1/images/list", "/v1/image-store"} {
		for _, caller := range blindCallers[3:] {
			for _, way := range lookups {
				var first []string
				for i, name := range calledNames {
					w, calls := b.ask(caller, "GET", route+strings.ReplaceAll(way[0], "%s", name), strings.ReplaceAll(way[1], "%s", name))
					if w.Code != http.StatusNotFound {
						t.Errorf("%s: %s as %q: %d %s", caller, name, way, w.Code, w.Body)
					}
					for j, call := range calls {
						about, ok := strings.CutPrefix(call, "about ")
						if ok && about != "official/"+name || strings.HasPrefix(call, "storage") {
							t.Errorf("%s: %s as %q: %q", caller, name, way, calls)
						}
						calls[j] = strings.ReplaceAll(call, name, "<name>")
					}
					if i == 0 {
						first = calls
					} else if !slices.Equal(calls, first) {
						t.Errorf("%s: %s as %q: %q, and for %s %q", caller, name, way, calls, calledNames[0], first)
					}
				}
			}
		}
	}
}

// TestMountCalls: a mount asks nothing about a source that the caller may
// not read, and does the same as for one that is not there.
func TestMountCalls(t *testing.T) {
	b := newCounted(t, false)
	b.push("bob/secret", emptyIndex, secretBlob)
	for _, caller := range []string{"stranger", "owner", "reader", "writer"} {
		own := countedAccounts[caller] + "/x"
		var first []string
		for _, from := range calledNames {
			target := "/v2/" + own + "/blobs/uploads/?from=" + from + "&mount=" + digest.FromString(secretBlob).String()
			w, calls := b.ask(caller, "POST", target, "from=bob/secret", "Content-Type", "application/x-www-form-urlencoded")
			if w.Code != http.StatusAccepted {
				t.Errorf("%s mounts from %s: %d %s", caller, from, w.Code, w.Body)
			}
			for i, call := range calls {
				if strings.Contains(call, "bob") || strings.Contains(call, "zed") || strings.Contains(call, "index mount_source") {
					t.Errorf("%s mounts from %s after %q", caller, from, calls)
				}
				kind, _, _ := strings.Cut(call, " /")
				calls[i] = kind
			}
			if first == nil {
				first = calls
			} else if !slices.Equal(calls, first) {
				t.Errorf("%s mounts from %s with %q, and from %s with %q", caller, from, calls, calledNames[0], first)
			}
		}
	}
}
