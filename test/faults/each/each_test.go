package each

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-oci/berth/catalog/bolt"
	"github.com/berth-oci/berth/catalog/fsck"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/catalog/index/indextest"
	"github.com/berth-oci/berth/test/harness"
)

// fewest is how many cases there are at least: each operation of the day that
// writes in four ways, each that reads in two.
const fewest = 4000

// sampled is one of how many cases that run where TEST_REQUIRE does not ask for
// all.
const sampled = 60

// recorded is a day without a failure: where the registry is before each step, and
// what it says after it.
type recorded struct {
	steps  []step
	places []place // before each step
	views  []string
	usage  []string
	stored [][]string // after it, where exactly that is to be
	seen   [][]operation
}

func record(t *testing.T, dir string) recorded {
	t.Helper()
	b := start(t, place{disk: newDisk()}, dir)
	r := recorded{steps: day()}
	at := b.end()
	for _, s := range r.steps {
		if s.before != nil {
			s.before(at.disk)
		}
		r.places = append(r.places, at)
		b := start(t, at, dir)
		r.views, r.usage = append(r.views, b.view()), append(r.usage, b.usage())
		b.faults.arm(0, 0)
		if err := s.do(b, false); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		seen, _ := b.faults.disarm()
		r.seen = append(r.seen, seen)
		r.stored = append(r.stored, b.disk.below("/docker/registry/v2/blobs"))
		at = b.end()
	}
	b = start(t, at, dir)
	r.views, r.usage = append(r.views, b.view()), append(r.usage, b.usage())
	b.whole()
	b.end()
	return r
}

// TestEveryOperationFails lets each operation of storage and index in a day fail,
// in each way. What was asked for has happened as a whole or not at all, or is
// completed by the next start; asked for again it happens; and after the next start
// everything is as if nothing had been, and fsck --deep finds nothing.
//
// TEST_REQUIRE=crash runs all cases, or those that -run names; else it is some of
// them.
func TestEveryOperationFails(t *testing.T) {
	dir := scratch(t)
	r := record(t, dir)
	cases, run := 0, 0
	for i, s := range r.steps {
		for n, o := range r.seen[i] {
			for _, w := range []way{errorBefore, errorAfter, crashBefore, crashAfter} {
				if !o.writes && (w == errorAfter || w == crashAfter) {
					continue // what only reads is the same before and after
				}
				cases++
				name := strings.ReplaceAll(fmt.Sprintf("%s/%03d %s/%s", s.name, n+1, o.name, w), " ", "_")
				if !harness.Required("crash") && hash(name)%sampled != 0 {
					continue
				}
				run++
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					r.fail(t, dir, i, n+1, w)
				})
			}
		}
	}
	t.Logf("%d cases of %d", run, cases)
	if cases < fewest {
		t.Errorf("a day has %d cases, want %d at least", cases, fewest)
	}
}

func hash(name string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return h.Sum32()
}

// begin does a step, of which the n-th operation fails. What the background does
// may come later than the end of the step: then it is tried again.
func (r recorded) begin(t *testing.T, dir string, i, n int, w way) (b *berth, err error) {
	t.Helper()
	for range 10 {
		b = start(t, r.places[i], dir)
		b.faults.arm(n, w)
		err = r.steps[i].do(b, false)
		if _, fired := b.faults.disarm(); fired {
			return b, err
		}
		b.end()
	}
	t.Fatalf("nothing fails: the step has another course")
	return nil, nil
}

// fail lets the n-th operation of a step fail.
func (r recorded) fail(t *testing.T, dir string, i, n int, w way) {
	s := r.steps[i]
	b, err := r.begin(t, dir, i, n, w)
	var refused *refusal
	if errors.As(err, &refused) && !w.crash() { // else nobody gets an answer
		refused.wellFormed(t, r.seen[i][n-1].writes)
	}
	if w.crash() || b.down {
		b = start(t, b.end(), dir)
	}
	accepted := []string{r.views[i], r.views[i+1]}
	switch {
	case err == nil && !w.crash(): // a promise
		accepted = accepted[1:]
	case s.parts:
		accepted = nil
	}
	if seen := b.becomes(accepted...); accepted != nil && !slices.Contains(accepted, seen) {
		t.Fatalf("answered with %v, it has happened in part:\n%s\nbefore it was\n%s\nafter it would be\n%s", err, seen, r.views[i], r.views[i+1])
	}
	b.again(r, i)
	if stored := b.disk.below("/docker/registry/v2/blobs"); s.exact && !slices.Equal(stored, r.stored[i]) {
		t.Errorf("stored are\n%s\nwant\n%s", strings.Join(stored, "\n"), strings.Join(r.stored[i], "\n"))
	}
	for i++; r.steps[i-1].unwell; i++ {
		if err := r.steps[i].do(b, true); err != nil {
			t.Fatalf("%s: %v", r.steps[i].name, err)
		}
	}
	b = start(t, b.end(), dir)
	if seen := b.becomes(r.views[i]); seen != r.views[i] {
		t.Fatalf("after a restart there is\n%s\nwant\n%s", seen, r.views[i])
	}
	if seen := b.usage(); seen != r.usage[i] {
		t.Errorf("after a restart there count\n%s\nwant\n%s", seen, r.usage[i])
	}
	b.whole()
	b.end()
}

// again does what a client does that got an error.
func (b *berth) again(r recorded, i int) {
	b.t.Helper()
	err := r.steps[i].do(b, true)
	for range 100 { // the collector waits until nothing is left in the middle
		if err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
		err = r.steps[i].do(b, true)
	}
	if err != nil {
		b.t.Fatalf("asked for again: %v", err)
	}
	if seen := b.becomes(r.views[i+1]); seen != r.views[i+1] {
		b.t.Fatalf("asked for again, there is\n%s\nwant\n%s", seen, r.views[i+1])
	}
}

// wellFormed wants an error in the specification's form, which shows nothing of the
// inside. What cannot be written may be tried again.
func (r *refusal) wellFormed(t *testing.T, write bool) {
	t.Helper()
	var body struct {
		Errors []struct{ Code, Message string }
	}
	err := json.Unmarshal(r.answer.Body.Bytes(), &body)
	passing := r.answer.Code == http.StatusServiceUnavailable || !write && r.answer.Code == http.StatusInternalServerError
	if !passing || err != nil || len(body.Errors) != 1 || strings.Contains(r.answer.Body.String(), "private") {
		t.Errorf("it is answered: %v", r)
	}
}

// becomes waits until nothing is left in the middle, which the background may have
// to do, and the registry says one of what is wanted, if that is anything. It
// returns what it says.
func (b *berth) becomes(wanted ...string) (seen string) {
	b.t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if seen = b.view(); (len(wanted) == 0 || slices.Contains(wanted, seen)) && b.settled() || time.Now().After(deadline) {
			return seen
		}
	}
}

// settled reports whether no change is left in the middle.
func (b *berth) settled() bool {
	for range b.kept.Abandoned(context.Background()) {
		return false
	}
	return true
}

// view is all that the registry says, but for times.
func (b *berth) view() string {
	b.t.Helper()
	var out strings.Builder
	ctx := context.Background()
	for _, name := range []string{app, other, bobs, carols} {
		state, err := b.kept.State(ctx, name)
		if err != nil {
			b.t.Fatal(err)
		}
		fmt.Fprintln(&out, name, state) // fmt sorts maps
		for _, d := range slices.Sorted(maps.Keys(state.Manifests)) {
			found, _, err := b.kept.Referrers(ctx, name, d, "", "", 100)
			if err != nil {
				b.t.Fatal(err)
			}
			fmt.Fprintln(&out, d, len(found))
		}
	}
	for _, e := range indextest.Listed(b.t, b.kept) {
		fmt.Fprintln(&out, e)
	}
	return out.String()
}

// usage is what counts in the namespaces, in bytes. A blob whose upload was answered
// with an error counts only once it is asked for again.
func (b *berth) usage() string {
	b.t.Helper()
	var out strings.Builder
	for _, namespace := range []string{"alice", "bob", "carol"} {
		usage, err := b.kept.Usage(context.Background(), namespace)
		if err != nil {
			b.t.Fatal(err)
		}
		fmt.Fprintln(&out, namespace, usage.Bytes, usage.Images)
	}
	return out.String()
}

// whole wants fsck --deep to find nothing, and all that is promised to be pulled.
func (b *berth) whole() {
	b.t.Helper()
	ctx := context.Background()
	_, err := fsck.Run(ctx, fsck.Options{
		Store: b.store, Index: b.kept, Catalog: b.catalog, Deep: true, Progress: func(fsck.Summary) {},
		Found: func(f fsck.Finding) {
			if f.Kind != fsck.Unlinked { // which is for the collector
				b.t.Errorf("fsck finds %+v", f)
			}
		},
		Another: func(fn func(index.Index) error) error {
			var done error
			_, err := bolt.Build(filepath.Join(scratch(b.t), "should.db"), "a place", func(x *bolt.Index) error {
				done = fn(x)
				return errNotKept
			})
			if errors.Is(err, errNotKept) {
				err = nil
			}
			return errors.Join(done, err)
		},
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.t.Errorf("fsck: %v", err)
	}
	for _, name := range []string{app, other, bobs, carols} {
		state, err := b.kept.State(ctx, name)
		if err != nil {
			b.t.Fatal(err)
		}
		for tag, d := range state.Tags {
			a := b.ask("GET", "/v2/"+name+"/manifests/"+tag, "", "Accept", manifestType, "Accept", indexType)
			if a.Code != http.StatusOK || d.Algorithm().FromBytes(a.Body.Bytes()) != d {
				b.t.Errorf("%s:%s: %d %s", name, tag, a.Code, a.Body)
			}
		}
		for d := range state.Links {
			if a := b.ask("GET", "/v2/"+name+"/blobs/"+d.String(), ""); a.Code != http.StatusOK || d.Algorithm().FromBytes(a.Body.Bytes()) != d {
				b.t.Errorf("%s@%s: %d", name, d, a.Code)
			}
		}
	}
}

var errNotKept = errors.New("the index was not to be kept")
