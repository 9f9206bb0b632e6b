// Package writers has writers that change repositories at random, and know at
// any time what these must hold: for tests in which berth fails.
package writers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// Crew is several writers on one berth that is about to fail.
type Crew struct {
	Client  *harness.Client // looks at what the writers did
	writers []*Writer
	Steps   int // changes that were acknowledged
	rounds  int
}

// NewCrew returns four writers, who share a repository and have one each.
func NewCrew(b *harness.Berth, seed uint64) *Crew {
	crew := &Crew{Client: harness.NewClient(b.URL)}
	for i := range 4 {
		crew.writers = append(crew.writers,
			NewWriter(harness.NewClient(b.URL), fmt.Sprintf("w%d", i), seed, "shared/app", fmt.Sprintf("own%d/app", i)))
	}
	return crew
}

// Work lets all writers work until each has met an error, and returns how to
// wait for that. Answers that berth gives of its own will, and that only a
// wrong request deserves, fail the test.
func (crew *Crew) Work(t *testing.T) (wait func()) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, w := range crew.writers {
		wg.Go(func() {
			for n := 0; ; n++ {
				err := w.Step()
				if err == nil {
					continue
				}
				var refused *harness.Refusal
				if errors.As(err, &refused) && refused.Status < 500 {
					t.Errorf("%s: %v", w.Name, err)
				}
				w.c.HTTP.CloseIdleConnections()
				mu.Lock()
				defer mu.Unlock()
				crew.Steps += n
				return
			}
		})
	}
	return wg.Wait
}

// Verify looks at everything, through both APIs, and settles what was in doubt.
func (crew *Crew) Verify(t *testing.T) {
	t.Helper()
	crew.complete(t)
	var list harness.Listed
	tags := map[string]map[string]string{}
	askImages := func() {
		var err error
		if list, err = crew.Client.Listed("", ""); err != nil {
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
	want := harness.Listed{}
	for _, w := range crew.writers {
		for _, repository := range w.repositories {
			if err := crew.settle(w, repository, list, tags[repository]); err != nil {
				t.Errorf("%s: %v", w.Name, err)
				continue
			}
			maps.Copy(want, w.ledgers[repository].listed(repository))
			if err := w.check(repository, w.anyTag(), ""); err != nil {
				t.Errorf("%s: %v", w.Name, err)
			}
		}
	}
	if len(list) != len(want) && !t.Failed() {
		t.Errorf("the list has %d images, want %d: somebody's who made none", len(list), len(want))
	}
}

// complete has every change completed that was cut in two: each repository's
// next change does that, also one that comes to nothing.
func (crew *Crew) complete(t *testing.T) {
	t.Helper()
	for _, w := range crew.writers {
		for _, repository := range w.repositories {
			if _, err := crew.Client.Want(http.StatusNotFound, http.MethodDelete, "/v2/"+repository+"/manifests/no-such-tag", nil); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// catalog is the registry's own list of repositories, and those that the
// writers use: each of the first must be one of them.
func (crew *Crew) catalog(t *testing.T) []string {
	t.Helper()
	known := map[string]bool{}
	for _, w := range crew.writers {
		for _, r := range w.repositories {
			known[r] = true
		}
	}
	a, err := crew.Client.Want(http.StatusOK, http.MethodGet, "/v2/_catalog", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, quoted := range strings.Split(string(a.Body), `"`) {
		if strings.Contains(quoted, "/") && !known[quoted] {
			t.Errorf("the catalog has %q, which nobody made", quoted)
		}
	}
	return slices.Sorted(maps.Keys(known))
}

// resolve pulls every tag of a repository.
func (crew *Crew) resolve(t *testing.T, repository string) map[string]string {
	t.Helper()
	tags, err := crew.Client.TagsOf(repository)
	if err != nil {
		t.Fatal(err)
	}
	resolved := map[string]string{}
	for _, tag := range tags {
		d, err := crew.Client.DigestOf(repository, tag)
		if err != nil || d == "" {
			t.Errorf("%s:%s is listed and cannot be pulled (%v)", repository, tag, err)
		}
		resolved[tag] = d
	}
	return resolved
}

// settle wants a repository to hold what the writer's ledger says, or, if its
// last change was not acknowledged, what that would have made of it.
func (crew *Crew) settle(w *Writer, repository string, list harness.Listed, tags map[string]string) error {
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

func (crew *Crew) matches(w *Writer, repository string, l *ledger, all []*ledger, list harness.Listed, tags map[string]string) error {
	own, want := harness.Listed{}, l.listed(repository)
	for name, tags := range w.own(list) {
		if strings.HasPrefix(name, repository+"@") {
			own[name] = tags
		}
	}
	if !reflect.DeepEqual(own, want) {
		return fmt.Errorf("the images API has\n%v, want\n%v", own, want)
	}
	mine := maps.Clone(tags)
	maps.DeleteFunc(mine, func(tag, _ string) bool { return !strings.HasPrefix(tag, w.Name+"-") })
	if len(mine) != len(l.tags) || len(mine) > 0 && !maps.Equal(mine, l.tags) {
		return fmt.Errorf("the registry has the tags\n%v, want\n%v", mine, l.tags)
	}
	for _, other := range all {
		for digest := range other.held {
			_, there := l.held[digest]
			got, err := crew.Client.DigestOf(repository, digest)
			if err != nil || (got == digest) != there {
				return fmt.Errorf("the registry has %q for %s, want it there: %v (%v)", got, digest, there, err)
			}
		}
	}
	return nil
}

// PullBlobs pulls the acknowledged blobs that pulled does not hold yet.
func (crew *Crew) PullBlobs(t *testing.T, pulled map[string]bool) {
	t.Helper()
	for _, w := range crew.writers {
		for repository, blobs := range w.blobs {
			for digest, content := range blobs {
				if pulled[repository+digest] {
					continue
				}
				pulled[repository+digest] = true
				a, err := crew.Client.Want(http.StatusOK, http.MethodGet, "/v2/"+repository+"/blobs/"+digest, nil)
				if err != nil || !bytes.Equal(a.Body, content) {
					t.Errorf("an acknowledged blob of %s is not what was pushed: %v", repository, err)
				}
			}
		}
	}
}

// PullHeld pulls the blobs of every image that is held: the others may be collected.
func (crew *Crew) PullHeld(t *testing.T) {
	t.Helper()
	for _, w := range crew.writers {
		for repository, l := range w.ledgers {
			pulled := map[string]bool{}
			for d := range l.held {
				var m struct {
					Config harness.Descriptor
					Layers []harness.Descriptor
				}
				if err := json.Unmarshal(w.made[d].body, &m); err != nil {
					t.Fatal(err)
				}
				for _, blob := range append(m.Layers, m.Config) {
					if blob.Digest == "" || pulled[blob.Digest] {
						continue
					}
					pulled[blob.Digest] = true
					a, err := crew.Client.Want(http.StatusOK, http.MethodGet, "/v2/"+repository+"/blobs/"+blob.Digest, nil)
					if err != nil || harness.Digest(a.Body) != blob.Digest {
						t.Errorf("a blob of an image of %s is not what was pushed: %v", repository, err)
					}
				}
			}
		}
	}
}

// ForgetBlobs has the writers push every blob again, since what is not referred to
// may be collected between two rounds.
func (crew *Crew) ForgetBlobs() {
	for _, w := range crew.writers {
		for _, blobs := range w.blobs {
			clear(blobs)
		}
	}
}
