package images

import (
	"net/http"
	"strings"
	"testing"
)

func TestSlips(t *testing.T) {
	server := serve(t, shop(), Options{})
	for name, meant := range map[string]string{
		"namespaces": "namespace", "namespce": "namespace", "Namespace": "namespace", "name": "namespace", "tags": "tag", "Tag": "tag", "TAG": "tag",
		"tagd": "tag", "taged": "tagged", "uuids": "uuid", "uid": "uuid", "digests": "digest", "digset": "digest", "counts": "count",
		"form": "", "page": "", "limit": "", "offset": "", "t": "", "ts": "", "_": "", "v": "", "last": "", "n": "", "format": "", "metro": "",
		"x-trace-id": "", "orders": "order", "detail": "details", "details_": "details", "alter": "after", "afters": "after", "sort": "sortby", "sort_by": "sortby",
	} {
		for _, path := range []string{"/v1/images", "/images", "/v1/image-store", "/v1/images/list"} {
			w := get(t, server.URL+path+"?"+name+"=alice", "")
			if meant == "" {
				if w.code != http.StatusOK {
					t.Errorf("%s?%s: %d %s", path, name, w.code, w.raw)
				}
				continue
			}
			if w.code != http.StatusBadRequest || !strings.Contains(w.Message, "query parameter "+name) || !strings.Contains(w.Message, "did you mean "+meant+"?") {
				t.Errorf("%s?%s: %d %s", path, name, w.code, w.raw)
			}
		}
	}
}

func TestSlipsInBody(t *testing.T) {
	server := serve(t, shop(), Options{})
	for body, says := range map[string]string{
		`{"Tag":"alice/app"}`:                        "body: key Tag is not known; did you mean tag?",
		`{"tags":"alice/app"}`:                       "did you mean tag?",
		`[{"tag":"alice/app"},{"Digest":"x"}]`:       "body: item 2: key Digest is not known; did you mean digest?",
		`{"tag":"alice/app","digset":"x"}`:           "did you mean digest?",
		`{"name":"alice/app"}`:                       "body: no key of it is known (\"name\"); want",
		`[{"tag":"alice/app"},{"who":"x","n":1}]`:    "body: item 2: no key of it is known (\"who\", \"n\"); want",
		`[{"tag":"alice/app"},{"uid":"x"}]`:          "body: item 2: key uid is not known; did you mean uuid?",
		`[{"filter":{"tag":"alice/app"}}]`:           "body: item 1: no key of it is known (\"filter\"); want",
		"{ 'Tag': 'alice/app' }":                     "did you mean tag?",
		"- name: alice/app\n":                        "body: item 1: no key of it is known (\"name\"); want",
		`{"` + strings.Repeat("x", 900) + `":"app"}`: "no key of it is known (\"x",
	} {
		w := get(t, server.URL+"/v1/images", body)
		if w.code != http.StatusBadRequest || !strings.Contains(w.Message, says) || len(w.Message) > 500 {
			t.Errorf("%s: %d %s", body, w.code, w.raw)
		}
	}
	for _, body := range []string{`{"tag":"alice/app","x":1,"why":{"tag":[]}}`, `[]`, `{}`, `{"tag":null}`} {
		if w := get(t, server.URL+"/v1/images", body); w.code == http.StatusBadRequest {
			t.Errorf("%s: %d %s", body, w.code, w.raw)
		}
	}
}
