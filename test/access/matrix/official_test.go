package matrix

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

// short asks for an official image by its short form, and wants the long one
// nowhere in the answer.
func (w *world) short(caller string, status int, code, method, target string, body any, header ...string) *harness.Answer {
	w.t.Helper()
	a := w.ask(caller, method, target, body, header...)
	w.check(cell{method: method, caller: caller, status: status, code: code}, target, a)
	var text bytes.Buffer
	_ = a.Header.Write(&text)
	text.Write(a.Body)
	if strings.Contains(text.String(), "official") {
		w.t.Errorf("%s %s: the answer shows the long form:\n%s", method, target, text.String())
	}
	return a
}

// TestShortForm pushes, pulls and fails with an official image under its
// bare name.
func TestShortForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := harness.NewImage("redis", "redis")
	bare := harness.Digest(image.Index)
	for _, blob := range image.Blobs {
		location := w.location(w.short("admin", 202, "", "POST", "/v2/redis/blobs/uploads/", nil))
		w.short("admin", 204, "", "GET", location.String(), nil)
		location = w.location(w.short("admin", 202, "", "PATCH", location.String(), blob, "Content-Type", "application/octet-stream"))
		w.short("admin", 416, "RANGE_INVALID", "PATCH", location.String(), "x", "Content-Range", "900000-900000", "Content-Type", "application/octet-stream")
		a := w.short("admin", 201, "", "PUT", harness.WithDigest(location, harness.Digest(blob)), nil)
		if got, want := a.Header.Get("Location"), "/v2/redis/blobs/"+harness.Digest(blob); got != want {
			t.Errorf("a blob is at %q, want %q", got, want)
		}
		w.short("stranger", 200, "", "GET", "/v2/redis/blobs/"+harness.Digest(blob), nil)
	}
	w.short("admin", 201, "", "POST", "/v2/redis/blobs/uploads/?digest="+harness.Digest([]byte("one")), "one")
	a := w.short("admin", 201, "", "POST", "/v2/redis/blobs/uploads/?from=nginx&mount="+harness.Digest(w.images["official/nginx"].Blobs[1]), nil)
	if got := a.Header.Get("Location"); !strings.HasPrefix(got, "/v2/redis/blobs/") {
		t.Errorf("a mounted blob is at %q", got)
	}
	w.short("admin", 201, "", "PUT", "/v2/redis/manifests/"+harness.Digest(image.Manifest), image.Manifest, "Content-Type", harness.OCIManifest)
	a = w.short("admin", 201, "", "PUT", "/v2/redis/manifests/latest", image.Index, "Content-Type", harness.OCIIndex)
	if got, want := a.Header.Get("Location"), "/v2/redis/manifests/"+bare; got != want {
		t.Errorf("a manifest is at %q, want %q", got, want)
	}
	w.short("admin", 201, "", "PUT", "/v2/redis/manifests/"+bare+"?tag=v1&tag=v2", image.Index, "Content-Type", harness.OCIIndex)
	// Every error that has a name or a digest in it.
	missing := harness.NewImage("missing", "missing")
	none := harness.Digest([]byte("none"))
	for _, e := range []struct {
		status               int
		code, method, target string
		body                 any
	}{
		{404, "MANIFEST_UNKNOWN", "GET", "/manifests/none", nil}, {404, "MANIFEST_UNKNOWN", "GET", "/manifests/" + none, nil},
		{404, "BLOB_UNKNOWN", "GET", "/blobs/" + none, nil}, {404, "MANIFEST_UNKNOWN", "DELETE", "/manifests/none", nil},
		{404, "BLOB_UNKNOWN", "DELETE", "/blobs/" + none, nil}, {400, "", "PUT", "/manifests/bad", missing.Manifest},
		{400, "MANIFEST_INVALID", "PUT", "/manifests/bad", "{}"}, {400, "DIGEST_INVALID", "PUT", "/manifests/" + none, missing.Index},
		{404, "BLOB_UPLOAD_UNKNOWN", "GET", "/blobs/uploads/none", nil}, {404, "BLOB_UPLOAD_INVALID", "PATCH", "/blobs/uploads/none?_state=x", "x"},
		{400, "TAG_INVALID", "PUT", "/manifests/.bad", missing.Index}, {405, "UNSUPPORTED", "POST", "/manifests/latest", nil},
		{400, "PAGINATION_NUMBER_INVALID", "GET", "/tags/list?n=x", nil}, {400, "DIGEST_INVALID", "POST", "/blobs/uploads/?digest=" + none, "x"},
	} {
		w.short("admin", e.status, e.code, e.method, "/v2/redis"+e.target, e.body, "Content-Type", harness.OCIManifest)
	}
	w.short("admin", 404, "NAME_UNKNOWN", "GET", "/v2/nothere/tags/list", nil)
	w.short("stranger", 403, "DENIED", "PUT", "/v2/redis/manifests/latest", image.Index, "Content-Type", harness.OCIIndex)
	w.short("anonymous", 401, "UNAUTHORIZED", "GET", "/v2/redis/manifests/latest", nil)
	// A tenant pulls it by both names, and sees the one that it used.
	for _, name := range []string{"redis", "official/redis"} {
		var list struct {
			Name string
			Tags []string
		}
		a := w.ask("stranger", "GET", "/v2/"+name+"/tags/list?n=2", nil)
		if json.Unmarshal(a.Body, &list) != nil || list.Name != name || fmt.Sprint(list.Tags) != "[latest v1]" || !strings.Contains(a.Header.Get("Link"), "</v2/"+name+"/tags/list?") {
			t.Errorf("tags of %s: %s, Link %s", name, a.Body, a.Header.Get("Link"))
		}
		a = w.ask("stranger", "GET", "/v2/"+name+"/manifests/latest", nil)
		if a.Header.Get("Docker-Content-Digest") != bare || !bytes.Equal(a.Body, image.Index) {
			t.Errorf("%s:latest is %d %s", name, a.Status, a.Body)
		}
	}
	for _, path := range routesV1 {
		for _, tag := range []string{"redis", "official/redis", w.Host + "/redis:latest"} {
			a := w.short("stranger", 200, "", "GET", path+"?tag="+tag, nil)
			if !bytes.Contains(a.Body, []byte(`redis@`+bare)) {
				t.Errorf("%s?tag=%s: %s", path, tag, a.Body)
			}
		}
	}
	w.short("admin", 202, "", "DELETE", "/v2/redis/manifests/v1", nil)
	w.short("admin", 202, "", "DELETE", "/v2/redis/manifests/"+bare, nil)
}

// TestFolders: no official folder has the name of an account, and which
// names are folders is known again after a restart.
func TestFolders(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	index := harness.IndexOf()
	for _, folder := range []string{"alice", "bob", "root", "mallory", "team"} { // team: something in it is granted
		base := "/v2/official/" + folder + "/x"
		for _, r := range []struct{ method, path string }{
			{"PUT", "/manifests/latest"}, {"POST", "/blobs/uploads/"}, {"POST", "/blobs/uploads/?from=nginx&mount=" + harness.Digest(w.images["official/nginx"].Blobs[1])},
			{"PUT", "/manifests/" + harness.Digest(index)}, {"POST", "/blobs/uploads/?digest=" + harness.Digest([]byte("x"))},
		} {
			a := w.ask("admin", r.method, base+r.path, index, "Content-Type", harness.OCIIndex)
			w.check(cell{method: r.method, caller: "admin", status: 403, code: "DENIED"}, base+r.path, a)
			if !bytes.Contains(a.Body, []byte("folder "+folder)) {
				t.Errorf("%s: the refusal does not say which folder: %s", base, a.Body)
			}
		}
		if a := w.ask("admin", "GET", base+"/tags/list", nil); a.Status != 404 {
			t.Errorf("%s is there: %d", base, a.Status)
		}
	}
	// An image may be called like an account: that is one part, no folder.
	w.must(201, "PUT", "/v2/bob/manifests/latest", w.images["official/nginx"].Index, "Content-Type", harness.OCIIndex)
	if a := w.ask("stranger", "GET", "/v2/official/bob/manifests/latest", nil); a.Status != 200 {
		t.Errorf("an official image called bob: %d", a.Status)
	}
	if a := w.ask("stranger", "GET", "/v2/bob/secret/manifests/latest", nil); a.Status != 404 {
		t.Errorf("bob/secret beside an official image called bob: %d", a.Status)
	}

	found := func(when string) {
		t.Helper()
		for caller, name := range map[string]string{"stranger": "utils/tunnel", "admin": "official/utils/tunnel"} {
			if a := w.ask(caller, "GET", "/v2/"+name+"/manifests/latest", nil); a.Status != 200 {
				t.Errorf("%s, %s as %s: %d", when, name, caller, a.Status)
			}
		}
		if a := w.ask("stranger", "PUT", "/v2/utils/new/manifests/x", index, "Content-Type", harness.OCIIndex); a.Status != 403 {
			t.Errorf("%s, a tenant writes into a folder: %d", when, a.Status)
		}
	}
	found("at first")
	w.again(w.Stop)
	found("after a restart")
	w.again(w.Kill)
	found("after a crash")
	w.again(func() {
		w.Stop()
		if err := os.Remove(filepath.Join(w.Data, "catalog.db")); err != nil {
			t.Fatal(err)
		}
	})
	found("with the index made anew")
}

// TestBrokenAccounts puts secrets where they do not belong: into the
// accounts file. What is said about that shows none, and nothing changes.
func TestBrokenAccounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path := filepath.Join(w.Data, "accounts.yaml")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	secret := w.secrets["owner"]
	for i, text := range []string{
		"accounts:\n  - name: alice\n    tokens: [{label: laptop, sha256: " + secret + "}]\n",
		"accounts:\n  - name: " + secret + "\n    tokens: []\n",
		"accounts:\n  - name: alice\n    secret: " + secret + "\n",
		"accounts:\n  - name: alice\n    " + secret + ": x\n",
		"accounts:\n  - name: alice\n    tokens: [{label: " + secret + ", sha256: 00}]\n",
		"accounts:\n  - name: alice\n    read: [" + secret + "]\n",
		"accounts: [\"" + secret + "\n", secret, "{" + secret + ": " + secret, "",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		deadline := time.Now().Add(10 * time.Second)
		for strings.Count(w.Log.String(), "ACCOUNTS FILE CANNOT BE USED") <= i && time.Now().Before(deadline) {
			time.Sleep(20 * time.Millisecond)
		}
		for caller, status := range map[string]int{"owner": 200, "stranger": 404, "anonymous": 401, "wrong": 401} {
			if a := w.ask(caller, "GET", "/v2/alice/app/tags/list", nil); a.Status != status {
				t.Errorf("with file %d, %s gets %d, want %d", i, caller, a.Status, status)
			}
		}
	}
	if n := strings.Count(w.Log.String(), "ACCOUNTS FILE CANNOT BE USED"); n < 10 {
		t.Errorf("of 10 broken files the log tells of %d", n)
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
}
