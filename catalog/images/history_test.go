package images

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/registry/access"
)

// historyOf asks for the history of an image.
func historyOf(t *testing.T, url, authorization string) (h imageHistory, a answer) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	a = ask(t, req)
	var whole struct {
		Data struct {
			History imageHistory `json:"history"`
		} `json:"data"`
	}
	if err := json.Unmarshal([]byte(a.raw), &whole); err != nil {
		t.Fatal(err)
	}
	return whole.Data.History, a
}

// TestHistory: it has all that was about an image, back to front and in pages, and
// nothing that was about others.
func TestHistory(t *testing.T) {
	c := newReal(t)
	one := digest.FromString("one")
	c.push("alice/app", "one", "v1", "alice")
	c.push("alice/app", "two", "v2", "alice")
	c.push("alice/other", "one", "v1", "alice")
	c.publish("alice/app", index.Update{Tag: map[string]digest.Digest{"v2": one}, By: "bob", At: time.Unix(20, 0)})
	c.publish("alice/app", index.Update{Untag: []string{"v1"}, By: "carol", At: time.Unix(30, 0)})
	if err := c.AddPulls(t.Context(), []index.Pulls{{Repository: "alice/app", Digest: one, Count: 3, Last: time.Date(2026, 2, 3, 4, 5, 6, 7, time.UTC)}}); err != nil {
		t.Fatal(err)
	}
	server := serve(t, c, Options{})
	url := server.URL + "/v1/images/" + index.ImageUUID("alice/app", one).String() + "/history"
	h, _ := historyOf(t, url, "")
	if h.Repository != "alice/app" || h.Digest != one || h.Pulls != 3 || h.LastPull != "2026-02-03" ||
		fmt.Sprint(h.Tags) != "[{v2 1970-01-01T00:00:20Z bob}]" {
		t.Errorf("%+v", h)
	}
	want := "untag carol, tag bob, push alice"
	brief := func(changes []told) string {
		var all []string
		for _, e := range changes {
			all = append(all, e.Type+" "+e.By)
		}
		return strings.Join(all, ", ")
	}
	if got := brief(h.Changes); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	var all []told
	for next, pages := url+"?limit=1", 0; next != ""; pages++ {
		h, a := historyOf(t, next, "")
		if all = append(all, h.Changes...); len(h.Changes) > 1 || pages > 5 {
			t.Fatalf("page %d: %+v", pages, h.Changes)
		}
		if next = a.next(t); next != "" {
			next = server.URL + next
		}
	}
	if got := brief(all); got != want {
		t.Errorf("in pages: %s, want %s", got, want)
	}
	for query, code := range map[string]int{"limit=0": 400, "limit=x": 400, "before=7": 400, "since=1": 400, "before=" + (index.Revision{Start: 1, N: 1}).String(): 410} {
		wantFailure(t, get(t, url+"?"+query, ""), code, "")
	}
	wantFailure(t, get(t, strings.Replace(url, "/history", "/", 1), ""), 404, "is not part of the API")
	wantFailure(t, get(t, server.URL+"/v1/images/"+index.ImageUUID("alice/none", one).String()+"/history", ""), 404, "there is no image")
}

// TestHistoryIsPrivate: who may not see an image, or the account that pushed it, does
// not.
func TestHistoryIsPrivate(t *testing.T) {
	w := newClosedWorld(t, Options{}, "alice", "bob")
	w.account("bob", func(a *access.Account) { a.Read = []string{"alice/shared"} })
	for _, repository := range []string{"alice/secret", "alice/shared"} {
		w.push(repository, "one", "v1", "alice")
	}
	as := func(name string) string { return "Bearer " + access.Bearer(name, w.secrets[name]) }
	url := func(repository string) string {
		return w.url + "/v1/images/" + index.ImageUUID(repository, digest.FromString("one")).String() + "/history"
	}
	if h, _ := historyOf(t, url("alice/shared"), as("alice")); h.Tags[0].By != "alice" || h.Changes[0].By != "alice" {
		t.Errorf("her own: %+v", h)
	}
	if h, _ := historyOf(t, url("alice/shared"), as("bob")); h.Tags[0].By != "" || h.Tags[0].PushTime == "" || h.Changes[0].By != "" {
		t.Errorf("what was granted: %+v", h)
	}
	_, hidden := historyOf(t, url("alice/secret"), as("bob"))
	_, none := historyOf(t, url("alice/none"), as("bob"))
	if hidden.code != http.StatusNotFound || hidden.code != none.code {
		t.Errorf("%s and %s", hidden.raw, none.raw)
	}
}
