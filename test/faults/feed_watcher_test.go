package faults

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

// feedEvent is one event of the feed, as clients read it.
type feedEvent struct {
	Type       string `json:"type"`
	Revision   string `json:"revision"`
	Time       string `json:"time"`
	Repository string `json:"repository"`
	Digest     string `json:"digest"`
	Tags       []struct {
		Name     string `json:"name"`
		Digest   string `json:"digest"`
		Previous string `json:"previous"`
	} `json:"tags"`
	By     string                 `json:"by"`
	Images []harness.EntryCurrent `json:"images"`
	Gone   []struct {
		UUID string `json:"uuid"`
	} `json:"gone"`
	Status int `json:"status"`
}

// content is what must be the same whoever reads the event, and whenever.
func (e feedEvent) content() string {
	return fmt.Sprint(e.Type, e.Time, e.Repository, e.Digest, e.Tags)
}

// number is that of a revision, which clients do not look at; a test may.
func number(revision string) int {
	_, n, _ := strings.Cut(revision, ".")
	value, _ := strconv.Atoi(n)
	return value
}

// feedLog is what all watchers have seen, by revision.
type feedLog struct {
	mu   sync.Mutex
	seen map[string]string // the content; guarded by mu
}

// feedWatcher is a client with rights of its own that follows the feed, and is cut
// off again and again.
type feedWatcher struct {
	name    string
	account harness.Account
	// query is its filter, and sees says which repositories pass it and may be seen.
	query url.Values
	sees  func(repository string) bool
	// all is set if it gets every change, so that it can tell whether one is missing.
	all bool

	b    *harness.Berth
	log  *feedLog
	rand *rand.Rand

	since string
	state map[string]string // by UUID: what follows from the events
	// got are the revisions that came, with what they are about.
	got map[string]feedEvent
	// These count what has happened.
	begun, marks       int
	repeated, compared atomic.Int64
}

// look is an entry of a list as text that two of the same have in common.
func look(e harness.EntryCurrent) string {
	text, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	return string(text)
}

var errUnavailable = errors.New("berth is away")

// open asks for the stream from where the watcher is.
func (w *feedWatcher) open(ctx context.Context) (*http.Response, error) {
	q := maps.Clone(w.query)
	if w.since == "" {
		q.Set("initial", "true")
	} else {
		q.Set("since", w.since)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.b.URL+"/v1/changes?"+q.Encode(), nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/x-ndjson")
	r.Header.Set("Authorization", w.account.Basic())
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, errUnavailable
	}
	return answer, nil
}

// follow reads for a while, and is cut off. Whatever it has read stays read.
func (w *feedWatcher) follow(ctx context.Context, while time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, while)
	defer cancel()
	answer, err := w.open(ctx)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %d since %s", w.name, answer.StatusCode, w.since)
	}
	w.begun++
	state := w.state
	if w.since == "" {
		state = make(map[string]string) // nothing counts before the first bookmark
	}
	lines := bufio.NewReader(answer.Body)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return nil // cut off, by whom ever; half a line is none
		}
		var e feedEvent
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("%s: %w in %s", w.name, err, line)
		}
		if e.Type == "end" {
			return nil
		}
		if err := w.take(e, state); err != nil {
			return fmt.Errorf("%s: %w in %.300s", w.name, err, line)
		}
		if e.Type == "bookmark" {
			w.state = state
		}
	}
}

// take takes an event in, and returns what is wrong with it.
func (w *feedWatcher) take(e feedEvent, state map[string]string) error {
	if e.Repository != "" && !w.sees(e.Repository) {
		return errors.New("nobody may be told of that")
	}
	for _, i := range e.Images {
		state[i.UUID] = look(i)
	}
	for _, g := range e.Gone {
		delete(state, g.UUID)
	}
	switch e.Type {
	case "image":
		return nil
	case "bookmark":
		w.marks++
	default:
		if err := w.change(e); err != nil {
			return err
		}
	}
	if w.since != "" && number(e.Revision) < number(w.since) {
		return fmt.Errorf("it follows on %s", w.since)
	}
	if w.since != "" || e.Type == "bookmark" {
		w.since = e.Revision
	}
	return nil
}

// change looks at a change: each comes after the one before it, and is for all what
// it is for one.
func (w *feedWatcher) change(e feedEvent) error {
	if w.since != "" && number(e.Revision) <= number(w.since) {
		return fmt.Errorf("it comes after %s", w.since)
	}
	if w.all && w.since != "" && number(e.Revision) != number(w.since)+1 {
		return fmt.Errorf("something is lost between it and %s", w.since)
	}
	if owner, _, _ := strings.Cut(e.Repository, "/"); e.By != "" && e.By != owner {
		return fmt.Errorf("it is said to be by %s", e.By)
	}
	if _, again := w.got[e.Revision]; again {
		w.repeated.Add(1)
	}
	w.got[e.Revision] = e
	w.log.mu.Lock()
	defer w.log.mu.Unlock()
	if was, ok := w.log.seen[e.Revision]; ok && was != e.content() {
		return fmt.Errorf("it was %s", was)
	}
	w.log.seen[e.Revision] = e.content()
	return nil
}

// run follows until ctx ends; it is cut off all the time, and goes on now and then
// from where it was earlier.
func (w *feedWatcher) run(ctx context.Context) error {
	earlier, before := w.since, maps.Clone(w.state)
	for ctx.Err() == nil {
		err := w.follow(ctx, time.Duration(20+w.rand.IntN(400))*time.Millisecond)
		switch {
		case errors.Is(err, errUnavailable):
			time.Sleep(10 * time.Millisecond)
		case err != nil:
			return err
		}
		if err := w.compare(); err != nil && !errors.Is(err, errUnavailable) {
			return err
		}
		switch w.rand.IntN(6) {
		case 0:
			earlier, before = w.since, maps.Clone(w.state)
		case 1:
			w.since, w.state = earlier, maps.Clone(before)
		}
	}
	return nil
}

// list is what the watcher may see of the list, and at which revision it was.
func (w *feedWatcher) list() (state map[string]string, revision string, err error) {
	q := url.Values{"namespace": w.query["namespace"]}
	a, err := w.account.On(w.b).Want(http.StatusOK, http.MethodGet, "/v1/images?"+q.Encode(), nil)
	if err != nil {
		return nil, "", errUnavailable
	}
	var list struct {
		Data struct {
			Images []harness.EntryCurrent `json:"images"`
		} `json:"data"`
	}
	if err := json.Unmarshal(a.Body, &list); err != nil {
		return nil, "", err
	}
	state = make(map[string]string)
	for _, e := range list.Data.Images {
		if w.sees(repositoryOf(e.URL)) {
			state[e.UUID] = look(e)
		}
	}
	return state, a.Header.Get("Berth-Revision"), nil
}

// repositoryOf is the repository in the URL of an entry.
func repositoryOf(url string) string {
	name, _, _ := strings.Cut(url, "@")
	_, repository, _ := strings.Cut(name, "/")
	return repository
}

// touched are the repositories that have changed since the watcher read last, up to
// a revision at least.
func (w *feedWatcher) touched(revision string) (map[string]bool, error) {
	all := make(map[string]bool)
	for since := w.since; ; {
		q := maps.Clone(w.query)
		q.Set("since", since)
		a, err := w.account.On(w.b).Want(http.StatusOK, http.MethodGet, "/v1/changes?"+q.Encode(), nil)
		if err != nil {
			return nil, errUnavailable
		}
		var answer struct {
			Data struct {
				Changes []feedEvent `json:"changes"`
			} `json:"data"`
		}
		if err := json.Unmarshal(a.Body, &answer); err != nil {
			return nil, err
		}
		for _, e := range answer.Data.Changes {
			all[e.Repository] = true
			since = e.Revision
		}
		if number(since) >= number(revision) {
			return all, nil
		}
	}
}

// compare compares the state with the list, while others write: what has changed
// between the two does not count. A list may show a change a moment before that is
// durable, and so before it has a revision.
func (w *feedWatcher) compare() error {
	if w.state == nil || w.query.Has("type") {
		return nil
	}
	list, _, err := w.list()
	if err != nil {
		return err
	}
	for patience := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		different, err := w.differs(list)
		if different == "" || err != nil {
			return err
		}
		if time.Now().After(patience) {
			return errors.New(different)
		}
	}
}

// differs says how the state differs from the list in what has not changed between
// the two, as far as there are revisions by now; "" for nothing.
func (w *feedWatcher) differs(list map[string]string) (string, error) {
	_, after, err := w.list()
	if err != nil {
		return "", err
	}
	touched, err := w.touched(after)
	if err != nil {
		return "", err
	}
	settled := func(state map[string]string) map[string]string {
		state = maps.Clone(state)
		maps.DeleteFunc(state, func(_, entry string) bool {
			var e harness.EntryCurrent
			return json.Unmarshal([]byte(entry), &e) != nil || touched[repositoryOf(e.URL)]
		})
		return state
	}
	if a, b := settled(list), settled(w.state); !maps.Equal(a, b) {
		return fmt.Sprintf("%s at %s: the list has\n%v\nand what was followed is\n%v", w.name, w.since, a, b), nil
	}
	w.compared.Add(1)
	return "", nil
}

// catchUp follows up to a revision, so far that a bookmark says so.
func (w *feedWatcher) catchUp(t *testing.T, revision string) {
	t.Helper()
	for range 200 {
		if err := w.follow(t.Context(), 2*time.Second); err != nil && !errors.Is(err, errUnavailable) {
			t.Fatal(err)
		}
		if number(w.since) >= number(revision) {
			return
		}
	}
	t.Fatalf("%s is at %s and does not come to %s", w.name, w.since, revision)
}

// check wants the state that was followed to be the list: nobody writes.
func (w *feedWatcher) check(t *testing.T, what string) {
	t.Helper()
	list, revision, err := w.list()
	if err != nil {
		t.Fatal(err)
	}
	w.catchUp(t, revision)
	if maps.Equal(list, w.state) {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(list)) {
		if w.state[id] != list[id] {
			t.Errorf("%s, %s, %s: the list has\n%s\nand what was followed\n%s", what, w.name, id, list[id], w.state[id])
		}
	}
	for id, entry := range w.state {
		if list[id] == "" {
			t.Errorf("%s, %s: what was followed has\n%s", what, w.name, entry)
		}
	}
}
