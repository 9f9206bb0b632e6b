package test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"sync"
	"testing"
)

// TestEveryChangeIsInTheNextAnswer is a thousand changes by concurrent writers,
// each of whom looks at its own after every answer.
func TestEveryChangeIsInTheNextAnswer(t *testing.T) {
	b := start(t, withArgs("--log-level", "warn"))
	steps, seed := 1000, rand.Uint64()
	if testing.Short() {
		steps = 200
	}
	t.Logf("seed %d", seed)
	const writers = 5
	var wg sync.WaitGroup
	for i := range writers {
		w := newRawWriter(newRawClient(b.URL), fmt.Sprintf("w%d", i), seed, "shared/app", fmt.Sprintf("own%d/app", i))
		w.checks = true
		wg.Go(func() {
			for n := range steps / writers {
				if err := w.step(); err != nil {
					t.Errorf("%s, step %d: %v", w.name, n, err)
					return
				}
			}
		})
	}
	wg.Wait()
	compareRebuilt(t, b)
}

// TestDeleteByDigestSparesAMovedTag lets one client delete what a tag points
// to while another moves the tag away.
func TestDeleteByDigestSparesAMovedTag(t *testing.T) {
	b := start(t, withArgs("--log-level", "warn"))
	c := newRawClient(b.URL)
	stays := newRawImage("k", "stays")
	kept, err := c.push("race/app", "stays", stays)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 30 {
		leaves, err := c.push("race/app", "moves", newRawImage("k", fmt.Sprint("leaves ", n)))
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := c.want(http.StatusAccepted, http.MethodDelete, "/v2/race/app/manifests/"+leaves, nil); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if err := c.pushManifest("race/app", "moves", rawOCIIndex, stays.index); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		got, err := c.digestOf("race/app", "moves")
		if err != nil || got != kept {
			t.Fatalf("round %d: the moved tag is %q (%v), want %q", n, got, err, kept)
		}
		list, err := c.listed("?namespace=race", "")
		want := rawListed{"race/app@" + kept: {"race/app:moves", "race/app:stays"}}
		if err != nil || !reflect.DeepEqual(list, want) {
			t.Fatalf("round %d: the list is %v (%v), want %v", n, list, err, want)
		}
	}
}

var opTime = regexp.MustCompile(`"op_time_us":\d+`)

// answersOf is all that the images API says of what is there: both lists, and
// every image by UUID.
func answersOf(t testing.TB, c *rawClient) map[string]string {
	t.Helper()
	answers := map[string]string{}
	ask := func(path string) []byte {
		a, err := c.want(http.StatusOK, http.MethodGet, path, nil)
		if err != nil {
			t.Fatal(err)
		}
		body := opTime.ReplaceAll(a.body, nil)
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

// compareRebuilt stops berth, deletes the index, and wants the same answers
// from the one that is made from storage.
func compareRebuilt(t testing.TB, b *Berth) {
	t.Helper()
	before := answersOf(t, newRawClient(b.URL))
	b.stop()
	if err := os.Remove(filepath.Join(b.Data, "catalog.db")); err != nil {
		t.Fatal(err)
	}
	b.restart()
	after := answersOf(t, newRawClient(b.URL))
	for path, want := range before {
		if got := after[path]; !bytes.Equal([]byte(got), []byte(want)) {
			t.Errorf("%s after the index was made again:\n%s\nbefore:\n%s", path, got, want)
		}
	}
}
