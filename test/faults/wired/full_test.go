package wired

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog"
	"github.com/berth-oci/berth/catalog/bolt"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/catalog/index/indextest"
)

const (
	fullManifestType = "application/vnd.oci.image.manifest.v1+json"
	fullKept         = "kept/app"
)

// fullManifest is a unikernel of one ROM, and its two blobs. It is longer than
// what the driver buffers.
func fullManifest(name string) (manifest string, blobs []string) {
	config := fmt.Sprintf(`{"created":"2026-01-02T03:04:05Z","os":"kraftcloud","architecture":"x86_64","config":{"Cmd":[%q]}}`, name)
	rom := "rom of " + name
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},`+
		`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d,"annotations":{"org.unikraft.kernel.rom":"/rom"}}],"annotations":{"long":%q}}`,
		fullManifestType, digest.FromString(config), len(config), digest.FromString(rom), len(rom), strings.Repeat("x", 5000)), []string{config, rom}
}

func (b *fullBerth) pushBlobs(repository string, blobs ...string) {
	b.t.Helper()
	for _, blob := range blobs {
		b.must(http.StatusCreated, "POST", "/v2/"+repository+"/blobs/uploads/?digest="+digest.FromString(blob).String(), blob)
	}
}

// push pushes an image and returns its digest.
func (b *fullBerth) push(repository, name string, tags ...string) string {
	b.t.Helper()
	manifest, blobs := fullManifest(name)
	b.pushBlobs(repository, blobs...)
	for _, ref := range append(tags, digest.FromString(manifest).String()) {
		b.must(http.StatusCreated, "PUT", "/v2/"+repository+"/manifests/"+ref, manifest, "Content-Type", fullManifestType)
	}
	return digest.FromString(manifest).String()
}

var fullTook = regexp.MustCompile(`"op_time_us":\d+`)

// reads are the answers to every kind of read.
func (b *fullBerth) reads(kept string) map[string]string {
	b.t.Helper()
	targets := []string{
		"/v2/", "/v2/_catalog", "/v1/images", "/v1/images/list", "/v1/images/list?namespace=kept", "/api/v2.0/projects/kept/summary",
		"/v2/" + fullKept + "/referrers/" + kept, "/v2/" + fullKept + "/manifests/" + kept,
	}
	for _, repository := range []string{fullKept, "gone/tag", "gone/manifest", "gone/all", "new/app", "new/manifest", "moved/app", "gone/blob"} {
		targets = append(targets, "/v2/"+repository+"/tags/list", "/v2/"+repository+"/manifests/v1", "/v2/"+repository+"/manifests/v2")
	}
	_, blobs := fullManifest("kept")
	for _, blob := range blobs {
		targets = append(targets, "/v2/"+fullKept+"/blobs/"+digest.FromString(blob).String())
	}
	answers := make(map[string]string)
	for _, target := range targets {
		for _, method := range []string{"GET", "HEAD"} {
			if method == "HEAD" && !strings.HasPrefix(target, "/v2/") {
				continue
			}
			w := b.ask(method, target, "", "Accept", fullManifestType)
			if w.Code >= 500 {
				b.t.Errorf("%s %s: %d %s", method, target, w.Code, w.Body)
			}
			answers[method+" "+target] = fmt.Sprint(w.Code, w.Header()["Docker-Content-Digest"], fullTook.ReplaceAllString(w.Body.String(), ""))
		}
	}
	return answers
}

// fullWrite is a request that writes, and what it makes of an address that is
// read, if it succeeds.
type fullWrite struct {
	what    string
	request func() *httptest.ResponseRecorder
	read    string
	status  int
}

// writes are all kinds of writes. What they begin with has to be there already.
func (b *fullBerth) writes() []fullWrite {
	b.t.Helper()
	fresh, blobs := fullManifest("new")
	b.pushBlobs("new/manifest", blobs...)
	b.pushBlobs("new/manifest", "mounted")
	other := b.push("moved/app", "moved to")
	b.push("moved/app", "moved from", "v1")
	moved, _ := fullManifest("moved to")
	b.push("gone/tag", "untagged", "v1", "v2")
	deleted := b.push("gone/manifest", "deleted", "v1", "v2")
	b.push("gone/all", "cleared", "v1")
	b.pushBlobs("gone/blob", "a blob that goes")
	b.pushBlobs("new/app", "a blob that stays")
	upload := func() string {
		w := b.must(http.StatusAccepted, "POST", "/v2/new/app/blobs/uploads/", "")
		return w.Header().Get("Location")
	}
	large := strings.Repeat("more than a buffer ", 5000)
	ask := func(method, target, body string, header ...string) func() *httptest.ResponseRecorder {
		return func() *httptest.ResponseRecorder { return b.ask(method, target, body, header...) }
	}
	blob := func(name string) string { return "/v2/new/app/blobs/" + digest.FromString(name).String() }
	put := func(location, content string) string {
		return location + "&digest=" + url.QueryEscape(digest.FromString(content).String())
	}
	// chunked uploads in two steps, the second of which may be the one that fails.
	chunked := upload()
	begun := b.must(http.StatusAccepted, "PATCH", upload(), "begun").Header().Get("Location")
	return []fullWrite{
		{"the first blob", ask("POST", "/v2/first/app/blobs/uploads/?digest="+digest.FromString("first").String(), "first"), "/v2/first/app/blobs/" + digest.FromString("first").String(), 200},
		{"a new upload", ask("POST", "/v2/new/app/blobs/uploads/", ""), "", 0},
		{"a single POST", ask("POST", "/v2/new/app/blobs/uploads/?digest="+digest.FromString("single").String(), "single"), blob("single"), 200},
		{"a large single POST", ask("POST", "/v2/new/app/blobs/uploads/?digest="+digest.FromString("s"+large).String(), "s"+large), blob("s" + large), 200},
		{"a mount", ask("POST", "/v2/new/app/blobs/uploads/?mount="+digest.FromString("mounted").String()+"&from=new/manifest", ""), "", 0},
		{"a PUT", ask("PUT", put(upload(), "put"), "put"), blob("put"), 200},
		{"a large PUT", ask("PUT", put(upload(), "p"+large), "p"+large), blob("p" + large), 200},
		{"a small chunk", func() *httptest.ResponseRecorder {
			w := b.ask("PATCH", chunked, "small")
			if w.Code != http.StatusAccepted {
				return w
			}
			// What is acknowledged is there to go on from, once there is room.
			defer b.full.Store(b.full.Swap(nil))
			return b.ask("PUT", put(w.Header().Get("Location"), "small"), "")
		}, "", 0},
		{"a large chunk", ask("PATCH", upload(), large), "", 0},
		{"the end of chunks", ask("PUT", put(begun, "begun, and done"), ", and done"), blob("begun, and done"), 200},
		{"a manifest by tag", ask("PUT", "/v2/new/manifest/manifests/v1", fresh, "Content-Type", fullManifestType), "/v2/new/manifest/manifests/v1", 200},
		{"a manifest with tags", ask("PUT", "/v2/new/manifest/manifests/"+digest.FromString(fresh).String()+"?tag=v1&tag=v2", fresh, "Content-Type", fullManifestType), "/v2/new/manifest/manifests/v2", 200},
		{"a re-tag", ask("PUT", "/v2/moved/app/manifests/v1", moved, "Content-Type", fullManifestType), "/v2/moved/app/manifests/" + other, 200},
		{"another tag", ask("PUT", "/v2/moved/app/manifests/v2", moved, "Content-Type", fullManifestType), "/v2/moved/app/manifests/v2", 200},
		{"an untag", ask("DELETE", "/v2/gone/tag/manifests/v1", ""), "/v2/gone/tag/manifests/v1", 404},
		{"a deletion", ask("DELETE", "/v2/gone/manifest/manifests/"+deleted, ""), "/v2/gone/manifest/manifests/v2", 404},
		{"a deletion of all", ask("DELETE", "/api/v2.0/projects/gone/repositories/all", ""), "/v2/gone/all/manifests/v1", 404},
		{"a deletion of a blob", ask("DELETE", "/v2/gone/blob/blobs/"+digest.FromString("a blob that goes").String(), ""),
			"/v2/gone/blob/blobs/" + digest.FromString("a blob that goes").String(), 404},
	}
}

// refused wants an answer that says that it cannot be written now, in the
// specification's form, and nothing of the inside.
func (b *fullBerth) refused(what string, w *httptest.ResponseRecorder) {
	b.t.Helper()
	var answer struct {
		Errors []struct{ Code, Message string }
	}
	err := json.Unmarshal(w.Body.Bytes(), &answer)
	if err != nil || len(answer.Errors) != 1 || answer.Errors[0].Code != "UNAVAILABLE" ||
		w.Code != http.StatusInsufficientStorage && w.Code != http.StatusServiceUnavailable {
		b.t.Errorf("%s is answered %d %s, want 507 or 503 in the specification's form", what, w.Code, w.Body)
	}
	for _, inside := range []string{"private", b.dir, "no space left", "injected", "bbolt", "PathError"} {
		if strings.Contains(w.Body.String(), inside) {
			b.t.Errorf("%s: the answer shows %q: %s", what, inside, w.Body)
		}
	}
}

// fullState is what the index has of every repository.
func fullState(t *testing.T, x index.Index) map[string]index.State {
	t.Helper()
	names, err := x.Repositories(t.Context(), nil, "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	states := make(map[string]index.State)
	for _, name := range names {
		if states[name], err = x.State(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	return states
}

// rebuilt reports whether nothing is unfinished, and the index is one made of
// storage.
func (b *fullBerth) rebuilt() bool {
	b.t.Helper()
	for range b.index.Index.Abandoned(b.t.Context()) {
		return false
	}
	x, err := bolt.Build(filepath.Join(b.t.TempDir(), "catalog.db"), b.store.Identity(), func(x *bolt.Index) error {
		c := catalog.New(x, b.store, slog.New(slog.DiscardHandler))
		if err := c.Rebuild(context.Background(), func(catalog.Progress) {}); err != nil {
			return err
		}
		return c.Close()
	})
	if err != nil {
		b.t.Fatal(err)
	}
	defer x.Close()
	return reflect.DeepEqual(fullState(b.t, b.index.Index), fullState(b.t, x))
}

// try does all writes, and returns how many were refused. What is refused has
// changed nothing that is read.
func (b *fullBerth) try(kept string, writes []fullWrite) (refused int) {
	b.t.Helper()
	var before map[string]string
	for _, write := range writes {
		if before == nil {
			before = b.reads(kept)
		}
		w := write.request()
		if w.Code < 300 {
			before = nil
			if write.read == "" {
				continue
			}
			if read := b.ask("GET", write.read, "", "Accept", fullManifestType); read.Code != write.status {
				b.t.Errorf("%s succeeds with %d, and then GET %s is %d %s", write.what, w.Code, write.read, read.Code, read.Body)
			}
			continue
		}
		refused++
		b.refused(write.what, w)
		sameReads(b.t, "after "+write.what+", which was refused", b.reads(kept), before)
	}
	return refused
}

func sameReads(t *testing.T, when string, got, want map[string]string) {
	t.Helper()
	for target, was := range want {
		if got[target] != was {
			t.Errorf("%s: %s: got\n%s\nwant\n%s", when, target, got[target], was)
		}
	}
}

// TestFull writes in every way while there is no room for some kind of writing:
// each request is refused as a whole, or succeeds; all that is read stays as it
// was; and once there is room all is whole again without a further request.
func TestFull(t *testing.T) {
	t.Parallel()
	for name, full := range map[string]struct{ storage, index []string }{
		"everything":      {[]string{"put", "write", "close", "commit", "move"}, []string{"Prepare", "Publish", "Link", "MarkDirty", "ClearDirty"}},
		"storage":         {[]string{"put", "write", "close", "commit", "move"}, nil},
		"put":             {[]string{"put"}, nil},
		"write":           {[]string{"write"}, nil},
		"close":           {[]string{"close"}, nil},
		"commit":          {[]string{"commit"}, nil},
		"move":            {[]string{"move"}, nil},
		"index":           {nil, []string{"Prepare", "Publish", "Link", "MarkDirty", "ClearDirty"}},
		"index: Prepare":  {nil, []string{"Prepare"}},
		"index: Publish":  {nil, []string{"Publish"}},
		"index: Link":     {nil, []string{"Link"}},
		"put and Publish": {[]string{"put"}, []string{"Publish"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newFullBerth(t, t.TempDir(), "catalog.db", nil)
			kept := b.push(fullKept, "kept", "v1", "v2")
			writes := b.writes()
			b.full.Store(&full.storage)
			b.index.Fail(func(method string, _ int) (indextest.When, error) {
				if slices.Contains(full.index, method) {
					return indextest.Before, &fs.PathError{Op: "write", Path: "/private/path", Err: syscall.ENOSPC}
				}
				return indextest.Before, nil
			})
			refused := b.try(kept, writes)
			if refused == 0 {
				t.Error("nothing was refused")
			}
			if len(full.storage) == 5 && len(full.index) == 5 && refused < len(writes) {
				t.Errorf("%d of %d kinds of writes were refused with no room for anything", refused, len(writes))
			}

			b.full.Store(nil)
			b.index.Fail(nil)
			for deadline := time.Now().Add(time.Minute); !b.rebuilt(); time.Sleep(50 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("with room again, the index is\n%v", fullState(t, b.index.Index))
				}
			}
			b.push("after/app", "after", "v1")
			for _, target := range []string{"/v2/" + fullKept + "/manifests/v1", "/v2/after/app/manifests/v1"} {
				b.must(http.StatusOK, "GET", target, "", "Accept", fullManifestType)
			}
		})
	}
}
