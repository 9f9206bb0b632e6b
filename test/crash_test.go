package test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// rawCrew is several writers on one berth that is about to fail.
type rawCrew struct {
	b       *Berth
	c       *rawClient
	writers []*rawWriter
	steps   int
	rounds  int
}

func newRawCrew(b *Berth, seed uint64) *rawCrew {
	crew := &rawCrew{b: b, c: newRawClient(b.URL)}
	for i := range 4 {
		crew.writers = append(crew.writers,
			newRawWriter(newRawClient(b.URL), fmt.Sprintf("w%d", i), seed, "shared/app", fmt.Sprintf("own%d/app", i)))
	}
	return crew
}

// work lets all writers work until each has met an error, and returns how to
// wait for that. Answers that berth gives of its own will, and that only a
// wrong request deserves, fail the test.
func (crew *rawCrew) work(t *testing.T) (wait func()) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, w := range crew.writers {
		wg.Go(func() {
			for n := 0; ; n++ {
				err := w.step()
				if err == nil {
					continue
				}
				var refused *rawRefusal
				if errors.As(err, &refused) && refused.status < 500 {
					t.Errorf("%s: %v", w.name, err)
				}
				w.c.http.CloseIdleConnections()
				mu.Lock()
				defer mu.Unlock()
				crew.steps += n
				return
			}
		})
	}
	return wg.Wait
}

// verify looks at everything, through both APIs, and settles what was in doubt.
func (crew *rawCrew) verify(t *testing.T) {
	t.Helper()
	crew.complete(t)
	var list rawListed
	tags := map[string]map[string]string{}
	askImages := func() {
		var err error
		if list, err = crew.c.listed("", ""); err != nil {
			t.Fatal(err)
		}
	}
	askRegistry := func() {
		for _, repository := range crew.catalog(t) {
			tags[repository] = crew.resolve(t, repository)
		}
	}
	if crew.rounds++; crew.rounds%2 == 0 {
		askImages()
		askRegistry()
	} else {
		askRegistry()
		askImages()
	}
	want := rawListed{}
	for _, w := range crew.writers {
		for _, repository := range w.repositories {
			if err := crew.settle(w, repository, list, tags[repository]); err != nil {
				t.Errorf("%s: %v", w.name, err)
				continue
			}
			maps.Copy(want, w.ledgers[repository].listed(repository))
			if err := w.check(repository, w.anyTag(), ""); err != nil {
				t.Errorf("%s: %v", w.name, err)
			}
		}
	}
	if len(list) != len(want) && !t.Failed() {
		t.Errorf("the list has %d images, want %d: somebody's who made none", len(list), len(want))
	}
}

// complete has every change completed that was cut in two: each repository's
// next change does that, also one that comes to nothing.
func (crew *rawCrew) complete(t *testing.T) {
	t.Helper()
	for _, w := range crew.writers {
		for _, repository := range w.repositories {
			if _, err := crew.c.want(http.StatusNotFound, http.MethodDelete, "/v2/"+repository+"/manifests/no-such-tag", nil); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// catalog is the registry's own list of repositories, and those that the
// writers use: each of the first must be one of them.
func (crew *rawCrew) catalog(t *testing.T) []string {
	t.Helper()
	known := map[string]bool{}
	for _, w := range crew.writers {
		for _, r := range w.repositories {
			known[r] = true
		}
	}
	a, err := crew.c.want(http.StatusOK, http.MethodGet, "/v2/_catalog", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, quoted := range strings.Split(string(a.body), `"`) {
		if strings.Contains(quoted, "/") && !known[quoted] {
			t.Errorf("the catalog has %q, which nobody made", quoted)
		}
	}
	return slices.Sorted(maps.Keys(known))
}

// resolve pulls every tag of a repository.
func (crew *rawCrew) resolve(t *testing.T, repository string) map[string]string {
	t.Helper()
	tags, err := crew.c.tagsOf(repository)
	if err != nil {
		t.Fatal(err)
	}
	resolved := map[string]string{}
	for _, tag := range tags {
		d, err := crew.c.digestOf(repository, tag)
		if err != nil || d == "" {
			t.Errorf("%s:%s is listed and cannot be pulled (%v)", repository, tag, err)
		}
		resolved[tag] = d
	}
	return resolved
}

// settle wants a repository to hold what the writer's ledger says, or, if its
// last change was not acknowledged, what that would have made of it.
func (crew *rawCrew) settle(w *rawWriter, repository string, list rawListed, tags map[string]string) error {
	candidates := []*ledger{w.ledgers[repository]}
	if w.doubt != nil && w.doubtIn == repository {
		candidates = append(candidates, w.doubt)
		w.doubt = nil
	}
	var wrong []error
	for i, l := range candidates {
		err := crew.matches(w, repository, l, candidates, list, tags)
		if err == nil {
			w.ledgers[repository] = l
			return nil
		}
		wrong = append(wrong, fmt.Errorf("%s, candidate %d of %d: %w", repository, i+1, len(candidates), err))
	}
	return errors.Join(wrong...)
}

func (crew *rawCrew) matches(w *rawWriter, repository string, l *ledger, all []*ledger, list rawListed, tags map[string]string) error {
	own, want := rawListed{}, l.listed(repository)
	for name, tags := range w.own(list) {
		if strings.HasPrefix(name, repository+"@") {
			own[name] = tags
		}
	}
	if !reflect.DeepEqual(own, want) {
		return fmt.Errorf("the images API has\n%v, want\n%v", own, want)
	}
	mine := maps.Clone(tags)
	maps.DeleteFunc(mine, func(tag, _ string) bool { return !strings.HasPrefix(tag, w.name+"-") })
	if len(mine) != len(l.tags) || len(mine) > 0 && !maps.Equal(mine, l.tags) {
		return fmt.Errorf("the registry has the tags\n%v, want\n%v", mine, l.tags)
	}
	for _, other := range all {
		for digest := range other.held {
			_, there := l.held[digest]
			got, err := crew.c.digestOf(repository, digest)
			if err != nil || (got == digest) != there {
				return fmt.Errorf("the registry has %q for %s, want it there: %v (%v)", got, digest, there, err)
			}
		}
	}
	return nil
}

// pullBlobs pulls the acknowledged blobs that pulled does not hold yet.
func (crew *rawCrew) pullBlobs(t *testing.T, pulled map[string]bool) {
	t.Helper()
	for _, w := range crew.writers {
		for repository, blobs := range w.blobs {
			for digest, content := range blobs {
				if pulled[repository+digest] {
					continue
				}
				pulled[repository+digest] = true
				a, err := crew.c.want(http.StatusOK, http.MethodGet, "/v2/"+repository+"/blobs/"+digest, nil)
				if err != nil || !bytes.Equal(a.body, content) {
					t.Errorf("an acknowledged blob of %s is not what was pushed: %v", repository, err)
				}
			}
		}
	}
}

// TestKilledAtAnyMoment pushes, re-tags and deletes, and kills berth in the
// middle of it, again and again.
func TestKilledAtAnyMoment(t *testing.T) {
	rounds := 50
	if testing.Short() {
		rounds = 10
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	b := start(t, withArgs("--log-level", "warn"))
	crew := newRawCrew(b, seed)
	pulled := map[string]bool{}
	for round := range rounds {
		wait := crew.work(t)
		time.Sleep(time.Duration(rnd.IntN(700)) * time.Millisecond)
		b.kill()
		wait()
		crew.c.http.CloseIdleConnections()
		b.restart()
		crew.verify(t)
		crew.pullBlobs(t, pulled)
		if t.Failed() {
			t.Fatalf("in round %d\n%s", round, b.log)
		}
	}
	crew.pullBlobs(t, map[string]bool{})
	t.Logf("%d steps in %d rounds", crew.steps, rounds)
	compareRebuilt(t, b)
}
