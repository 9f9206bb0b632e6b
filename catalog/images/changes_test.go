package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// TestChangesRefused asks for what makes no sense, or is not there any more.
func TestChangesRefused(t *testing.T) {
	c := newReal(t)
	start := c.Last()
	for i := range 5 {
		c.push("alice/app", fmt.Sprint(i), "v1", "")
	}
	if _, err := c.Trim(t.Context(), 2, time.Time{}, 100); err != nil {
		t.Fatal(err)
	}
	server := serve(t, c, Options{})
	other := index.Revision{Start: start.Start + 1, N: 4}
	future := index.Revision{Start: start.Start, N: 6}
	for _, test := range []struct {
		query, accept, body string
		code                int
		message             string
	}{
		{query: "since=7", code: 400, message: "want one as berth has given it out"},
		{query: "since=", code: 400, message: "since"},
		{query: "since=x.7", code: 400, message: "since"},
		{query: "since=" + strings.ToUpper(fmt.Sprintf("%016x.1", 0xabc)), code: 400, message: "since"},
		{query: "since=" + start.String() + "&since=" + future.String(), code: 400, message: "want one value"},
		{query: "since=" + future.String(), code: 410, message: "list again"},
		{query: "since=" + other.String(), code: 410, message: "list again"},
		{query: "since=" + start.String(), code: 410, message: "list again"},
		{query: "since=" + start.String(), accept: "text/event-stream", code: 410, message: "list again"},
		{query: "since=%zz", code: 400, message: "percent-encoded"},
		{query: "namespaces=alice", code: 400, message: `"namespaces": not known; want one of since`},
		{query: "tag=v1", code: 400, message: "not known"},
		{query: "namespace=A", code: 400, message: "namespace"},
		{query: "repository=alice/", code: 400, message: "repository"},
		{query: "repository=" + strings.Repeat("a", 300), code: 400, message: "repository"},
		{query: "type=pushed", code: 400, message: "want push, tag, untag, delete or change"},
		{query: "type=push,", code: 400, message: "type"},
		{query: "type=bookmark", code: 400, message: "type"},
		{query: "limit=0", code: 400, message: "1 to 1000"},
		{query: "limit=1001", code: 400, message: "1 to 1000"},
		{query: "wait_s=61", code: 400, message: "0 to 60"},
		{query: "wait_s=-1", code: 400, message: "0 to 60"},
		{query: "initial=perhaps", code: 400, message: "not a flag"},
		{query: "initial=true", code: 400, message: "wants a stream"},
		{query: "initial=true&since=" + c.Last().String(), accept: "text/event-stream", code: 400, message: "want one of them"},
		{query: "limit=3", accept: "text/event-stream", code: 400, message: "one JSON answer"},
		{query: "wait_s=3", accept: "application/x-ndjson", code: 400, message: "one JSON answer"},
		{accept: "text/html", code: 406, message: "text/event-stream"},
		{accept: "text/*;q=0", code: 406, message: "text/event-stream"},
		{accept: "nonsense", code: 406, message: "text/event-stream"},
		{body: "{}", code: 400, message: "body"},
		{body: " ", accept: "text/event-stream", code: 400, message: "body"},
	} {
		var body io.Reader
		if test.body != "" {
			body = strings.NewReader(test.body)
		}
		req, err := http.NewRequest(http.MethodGet, server.URL+"/v1/changes?"+test.query, body)
		if err != nil {
			t.Fatal(err)
		}
		if test.accept != "" {
			req.Header.Set("Accept", test.accept)
		}
		wantFailure(t, ask(t, req), test.code, test.message)
	}
	req, err := http.NewRequest(http.MethodGet, server.URL+"/v1/changes", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Last-Event-ID", "7")
	wantFailure(t, ask(t, req), 400, "header Last-Event-ID")
	wantFailure(t, do(t, http.MethodPost, server.URL+"/v1/changes", ""), http.StatusMethodNotAllowed, "want GET or HEAD")
	if a := do(t, http.MethodHead, server.URL+"/v1/changes", ""); a.code != http.StatusOK || a.raw != "" {
		t.Errorf("HEAD: %d %s", a.code, a.raw)
	}
}

// TestAccept: of several forms the client gets that which it wants most.
func TestAccept(t *testing.T) {
	for accept, want := range map[string]form{
		"": formJSON, "*/*": formJSON, "application/*": formJSON, "text/*": formEvents, "text/event-stream": formEvents,
		"application/x-ndjson": formLines, "text/event-stream, */*": formEvents, "*/*, application/x-ndjson": formLines,
		"text/event-stream;q=0.3, application/json;q=0.7": formJSON, "application/json;q=0, */*": formEvents,
		"text/event-stream;charset=utf-8": formEvents, "TEXT/EVENT-STREAM": formEvents,
	} {
		var values []string
		if accept != "" {
			values = []string{accept}
		}
		if got, err := formOf(values); got != want || err != nil {
			t.Errorf("%q: %v, %v, want %v", accept, got, err, want)
		}
	}
}

// TestChangesForms reads the same changes in each form.
func TestChangesForms(t *testing.T) {
	c := newReal(t)
	begin := c.Last()
	c.push("alice/app", "one", "v1", "alice")
	c.push("alice/app", "two", "v1", "bob")
	c.publish("alice/app", index.Update{Tag: map[string]digest.Digest{"v2": digest.FromString("one")}})
	c.publish("alice/app", index.Update{Untag: []string{"v2"}})
	c.publish("alice/app", index.Update{Delete: []digest.Digest{digest.FromString("two")}})
	// The images are those of now: of the first four changes one is gone.
	want := []string{
		"push alice/app v1 1/0", "push alice/app v1 1/1", "tag alice/app v2 1/0", "untag alice/app v2 1/0", "delete alice/app v1 0/1",
	}
	server := serve(t, c, Options{PublicHost: "r.example.com"})
	url := server.URL + "/v1/changes?since=" + begin.String()

	all := changesOf(t, url)
	if got := brief(all); got != strings.Join(append(slices.Clone(want), "bookmark  0/0"), ", ") {
		t.Errorf("JSON: %s", got)
	}
	if last := all[len(all)-1]; last.Revision != c.Last().String() {
		t.Errorf("the bookmark is %s", last.Revision)
	}
	one, two := digest.FromString("one"), digest.FromString("two")
	second := all[1]
	if second.Digest != two || second.By != "bob" || second.Repository != "alice/app" || len(second.Tags) != 1 ||
		second.Tags[0] != (toldTag{"v1", two, one}) || second.Images[0].URL != "r.example.com/alice/app@"+one.String() ||
		second.Gone[0] != (toldGone{index.ImageUUID("alice/app", two).String(), two}) {
		t.Errorf("%+v", second)
	}
	if untag := all[3]; untag.Tags[0] != (toldTag{Name: "v2", Previous: one}) || untag.Digest != "" {
		t.Errorf("%+v", untag)
	}

	s := streamOf(t, url)
	s.want(append(slices.Clone(want), "bookmark  0/0")...)
	resumed := streamOf(t, server.URL+"/v1/changes?initial=true", "Last-Event-ID", all[2].Revision)
	resumed.want(append(slices.Clone(want[3:]), "bookmark  0/0")...)
	c.push("bob/app", "three", "v1", "")
	s.want("push bob/app v1 1/0")
	resumed.want("push bob/app v1 1/0")

	lines := watch(t, url, "Accept", "application/x-ndjson")
	for _, want := range append(slices.Clone(want), "push bob/app v1 1/0", "bookmark  0/0") {
		line, err := lines.lines.ReadBytes('\n')
		var e seenEvent
		if err = errors.Join(err, json.Unmarshal(line, &e)); err != nil || e.String() != want {
			t.Errorf("line %s, %v, want %s", line, err, want)
		}
	}
}

// TestChangesFilters: all filters that are given must hold.
func TestChangesFilters(t *testing.T) {
	c := newReal(t)
	begin := c.Last()
	for _, repository := range []string{"alice/app", "alice/app/below", "alice/app2", "bob/app", "official/nginx"} {
		c.push(repository, "one", "v1", "")
	}
	c.publish("alice/app", index.Update{Untag: []string{"v1"}})
	server := serve(t, c, Options{})
	for query, want := range map[string]string{
		"namespace=alice":                           "alice/app alice/app/below alice/app2 alice/app",
		"namespace=alice/app":                       "alice/app alice/app/below alice/app",
		"namespace=bob&namespace=official":          "bob/app official/nginx",
		"repository=alice/app":                      "alice/app alice/app",
		"repository=nginx":                          "official/nginx",
		"repository=alice/app&repository=bob/app":   "alice/app bob/app alice/app",
		"repository=alice/app&namespace=bob":        "",
		"type=untag":                                "alice/app",
		"type=untag,push&namespace=alice/app":       "alice/app alice/app/below alice/app",
		"type=untag&type=delete&repository=bob/app": "",
		"limit=2": "alice/app alice/app/below",
	} {
		all := changesOf(t, server.URL+"/v1/changes?since="+begin.String()+"&"+query)
		var got []string
		for _, e := range all[:len(all)-1] {
			got = append(got, e.Repository)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", query, got, want)
		}
		// From the bookmark on there is nothing that was not looked at.
		if rest := changesOf(t, server.URL+"/v1/changes?since="+all[len(all)-1].Revision+"&"+query); (len(rest) > 1) != (query == "limit=2") {
			t.Errorf("%s: after its bookmark there is %s", query, brief(rest))
		}
	}
}

// TestChangesWait: an answer waits for a change that gets through, and no longer
// than it is to.
func TestChangesWait(t *testing.T) {
	c := newReal(t)
	server := serve(t, c, Options{})
	if all := changesOf(t, server.URL+"/v1/changes?wait_s=1"); len(all) != 1 || all[0].Revision != c.Last().String() {
		t.Errorf("nothing: %s", brief(all))
	}
	begin := c.Last().String()
	got := make(chan string)
	go func() { got <- brief(changesOf(t, server.URL+"/v1/changes?namespace=alice&wait_s=60&since="+begin)) }()
	// It waits by now, or finds what has come: both are to end the same.
	c.push("bob/app", "one", "v1", "")
	c.push("alice/app", "one", "v1", "")
	if all := <-got; all != "push alice/app v1 1/0, bookmark  0/0" {
		t.Errorf("waited for %s", all)
	}
}

// TestInitial: what is there comes first, then a bookmark, and then what follows.
func TestInitial(t *testing.T) {
	c := newReal(t)
	c.push("alice/app", "one", "v1", "")
	c.push("bob/app", "one", "v1", "")
	c.publish("alice/app", index.Update{Put: []image.Description{{Digest: digest.FromString("no image")}}})
	server := serve(t, c, Options{})
	s := streamOf(t, server.URL+"/v1/changes?initial=true")
	e := s.want("image alice/app 1/0", "image bob/app 1/0", "bookmark  0/0")
	if e.Revision != c.Last().String() {
		t.Errorf("the bookmark is %s", e.Revision)
	}
	some := streamOf(t, server.URL+"/v1/changes?initial&namespace=bob")
	some.want("image bob/app 1/0", "bookmark  0/0")
	c.push("alice/app", "two", "v1", "")
	c.push("bob/app", "two", "v1", "")
	s.want("push alice/app v1 2/0", "push bob/app v1 2/0")
	some.want("push bob/app v1 2/0")
}

// TestBookmarks: who gets nothing for a while learns how far the feed has come all
// the same, and goes on from there.
func TestBookmarks(t *testing.T) {
	c := newReal(t)
	server := serve(t, c, Options{Bookmarks: 20 * time.Millisecond})
	s := streamOf(t, server.URL+"/v1/changes?namespace=alice")
	c.push("bob/app", "one", "v1", "")
	for e := s.want("bookmark  0/0"); e.Revision != c.Last().String(); {
		e = s.want("bookmark  0/0")
	}
}

// TestListsHaveARevision: every list says from where changes go on.
func TestListsHaveARevision(t *testing.T) {
	c := newReal(t)
	c.push("alice/app", "one", "v1", "")
	server := serve(t, c, Options{})
	for _, query := range []string{"", "/list", "?count=1", "?details=true", "?details", "?count=1&order=desc&namespace=alice"} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			if a := do(t, method, server.URL+"/v1/images"+query, ""); a.header.Get("Berth-Revision") != c.Last().String() {
				t.Errorf("%s %s: %v", method, query, a.header)
			}
		}
	}
}
