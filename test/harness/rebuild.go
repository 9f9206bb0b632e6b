package harness

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// AllAnswers is all that the images API says of what is there: both lists, and
// every image by UUID.
func AllAnswers(t testing.TB, c *Client) map[string]string {
	t.Helper()
	answers := map[string]string{}
	ask := func(path string) []byte {
		a, err := c.Want(http.StatusOK, http.MethodGet, path, nil)
		if err != nil {
			t.Fatal(err)
		}
		body := TimeTaken.ReplaceAll(a.Body, nil)
		answers[path] = string(body)
		return body
	}
	ask("/v1/images/list")
	ask("/v1/images?order=asc")
	uuid := regexp.MustCompile(`"uuid":"([^"]+)"`)
	for _, m := range uuid.FindAllSubmatch(ask("/v1/images"), -1) {
		ask("/v1/images?uuid=" + string(m[1]))
	}
	return answers
}

// CompareRebuilt stops berth, deletes the index, and wants the same answers
// from the one that is made from storage.
func CompareRebuilt(t testing.TB, b *Berth) {
	t.Helper()
	before := AllAnswers(t, NewClient(b.URL))
	b.Stop()
	if err := os.Remove(filepath.Join(b.Data, "catalog.db")); err != nil {
		t.Fatal(err)
	}
	b.Restart()
	after := AllAnswers(t, NewClient(b.URL))
	for path, want := range before {
		if got := after[path]; !bytes.Equal([]byte(got), []byte(want)) {
			t.Errorf("%s after the index was made again:\n%s\nbefore:\n%s", path, got, want)
		}
	}
}

// RemoveIndex deletes the index of a berth that is stopped.
func RemoveIndex(t *testing.T, b *Berth) {
	t.Helper()
	if err := os.Remove(filepath.Join(b.Data, "catalog.db")); err != nil {
		t.Fatal(err)
	}
}

// PushAllSorts pushes every fixture, images with several tags and with none,
// children with and without a tag of their own, what was deleted again, and
// what is no image. It returns queries that show all of it.
func PushAllSorts(t *testing.T, b *Berth) (queries [][2]string) {
	t.Helper()
	ask := func(query, body string) {
		for _, path := range []string{"/v1/images/list", "/v1/images"} {
			queries = append(queries, [2]string{path + query, body})
		}
	}
	for _, f := range Fixtures {
		for _, repository := range []string{"alice/" + f.Name, "official/" + f.Name} {
			if err := PushGGCR(t, b, f.Dir(), f.Tag, repository); err != nil {
				t.Fatal(err)
			}
			ask("", `{"tag":"`+repository+":"+f.Tag+`"}`)
			ask("?uuid="+UUIDOf(repository, f.Digest), "")
			for _, p := range f.Platforms {
				ask("", `{"digest":"`+repository+"@"+p.Digest+`"}`)
			}
		}
		ask("", `{"digest":"`+f.Digest+`"}`)
	}
	retag := func(repository, ref, tag string) {
		accept := "application/vnd.oci.image.index.v1+json"
		if ref != "latest" && ref != "v2" {
			accept = "application/vnd.oci.image.manifest.v1+json"
		}
		b.PutManifest(t, repository, tag, accept, b.Get(t, "/v2/"+repository+"/manifests/"+ref, accept))
	}
	remove := func(repository, ref string) {
		b.Must(t, http.StatusAccepted, http.MethodDelete, "/v2/"+repository+"/manifests/"+ref, nil)
	}
	retag("alice/kraft-hello", "latest", "stable")
	retag("alice/kraft-hello", "latest", "v1")
	retag("alice/kraft-multi", FixtureNamed(t, "kraft-multi").Platforms[2].Digest, "arm64")
	remove("official/unikraft-rom", "latest")
	remove("official/kraft-multi", FixtureNamed(t, "kraft-multi").Digest)
	PushSmall(t, b, "bob/app", "untagged", "2026-03-01T00:00:00Z")
	PushSmall(t, b, "bob/app", "one", "2026-03-02T00:00:00Z", "v1")
	PushSmall(t, b, "bob/app", "two", "2026-03-03T00:00:00Z", "v1", "latest")
	// Without a time of its own, an image has that of its manifest's bytes.
	PushSmall(t, b, "bob/app", "timeless", "", "timeless")
	pushed := PushSmall(t, b, "bob/gone", "gone", "2026-03-03T00:00:00Z", "latest")
	remove("bob/gone", pushed.Digest)
	blob := b.PutBlob(t, "bob/container", "application/vnd.oci.image.config.v1+json", []byte(`{"os":"linux"}`))
	b.PutManifest(t, "bob/container", "latest", "application/vnd.oci.image.manifest.v1+json",
		fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[]}`,
			blob.MediaType, blob.Digest, blob.Size))

	for _, query := range []string{
		"", "?tagged", "?order=asc", "?order=desc", "?order=desc&count=5", "?count=7",
		"?namespace=alice", "?namespace=official", "?namespace=bob", "?namespace=bob/app&order=desc",
	} {
		ask(query, "")
	}
	ask("", `[{"tag":"bob/app"},{"tag":"bob/app:timeless"},{"tag":"bob/gone"},{"tag":"bob/container"}]`)
	ask("", `{"digest":"`+pushed.Digest+`"}`)
	return queries
}

// TimeTaken is what differs in two answers that are the same.
var TimeTaken = regexp.MustCompile(`"op_time_us":\d+`)

// Answers is what the API says, less the time that it took.
func Answers(t *testing.T, b *Berth, queries [][2]string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, q := range queries {
		a := SendImages(t, b, http.MethodGet, q[0], q[1], "X-Request-Id", "the-same") // it is in the messages
		all[q[0]+" "+q[1]] = fmt.Sprintf("%d %s", a.Code, TimeTaken.ReplaceAll(a.Raw, []byte(`"op_time_us":0`)))
	}
	return all
}

// SameAnswers compares what Answers returned at two times.
func SameAnswers(t *testing.T, when string, got, want map[string]string) {
	t.Helper()
	for _, query := range slices.Sorted(maps.Keys(want)) {
		if got[query] != want[query] {
			t.Errorf("%s: %s: got\n\t%s\nwant\n\t%s", when, query, got[query], want[query])
		}
	}
}
