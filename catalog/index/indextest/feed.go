package indextest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// follower keeps a list by the changes alone, as a client does.
type follower struct {
	x     index.Index
	at    index.Revision
	state map[string]string // what an entry looks like, by repository and digest
}

func newFollower(x index.Index) *follower {
	return &follower{x: x, at: x.Last(), state: make(map[string]string)}
}

func key(repository string, d digest.Digest) string { return repository + "@" + d.String() }

func look1(e index.Entry) string { return fmt.Sprintf("%v %+v", e.Tags, e.Image) }

// follow takes in what has changed, n changes at a time, and returns it.
func (f *follower) follow(t testing.TB, n int) (all []index.Change) {
	t.Helper()
	for {
		changes, err := f.x.Changes(context.Background(), f.at, n)
		if err != nil {
			t.Fatal(err)
		}
		if len(changes) == 0 {
			if f.at != f.x.Last() {
				t.Fatalf("the changes end at %v, and the last is %v", f.at, f.x.Last())
			}
			return all
		}
		for _, c := range changes {
			if c.Revision != (index.Revision{Start: f.at.Start, N: f.at.N + 1}) {
				t.Fatalf("%v follows on %v", c.Revision, f.at)
			}
			f.at = c.Revision
			for _, d := range c.Entries {
				f.see(t, c.Repository, d)
			}
		}
		all = append(all, changes...)
	}
}

// see reads what an entry is now: a client is told with the change.
func (f *follower) see(t testing.TB, repository string, d digest.Digest) {
	t.Helper()
	delete(f.state, key(repository, d))
	entries, err := f.x.Listed(context.Background(), repository, []digest.Digest{d})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		f.state[key(e.Repository, e.Digest)] = look1(e)
	}
}

// check compares what was followed with the list.
func (f *follower) check(t testing.TB, what string) {
	t.Helper()
	list := make(map[string]string)
	for _, e := range readAll(t, f.x, index.Query{}, 100) {
		list[key(e.Repository, e.Digest)] = look1(e)
	}
	if !maps.Equal(list, f.state) {
		t.Fatalf("%s: what was followed is\n%v\nand the list\n%v", what, f.state, list)
	}
}

// testFeed does random updates: who follows has the list after each, what a record
// says of tags is what the model says, and no record names an entry that neither
// was nor is one.
func testFeed(t *testing.T, o Options) {
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 2))
		x, m := o.open(t), model{}
		f := newFollower(x)
		for range 120 {
			u := randomChange(r)
			tags := maps.Clone(m.repo(u.repository).tags)
			before := maps.Clone(f.state)
			want := m.apply(u)
			revision, err := tryPublish(x, u)
			if !errors.Is(err, want) {
				t.Fatalf("seed %d: %+v: %v, want %v", seed, u, err, want)
			}
			changes := f.follow(t, 100)
			what := fmt.Sprintf("seed %d, %+v: %+v", seed, u, changes)
			f.check(t, what)
			if err == nil && revision != x.Last() {
				t.Fatalf("%s: published as %v", what, revision)
			}
			if len(changes) > 1 {
				t.Fatalf("%s: more than one record", what)
			}
			checkRecord(t, what, changes, tags, m.repo(u.repository).tags, before, f.state)
		}
	}
}

// checkRecord compares a record with what has changed.
func checkRecord(t testing.TB, what string, changes []index.Change, before, after map[string]digest.Digest, was, is map[string]string) {
	t.Helper()
	moved := make(map[string]index.TagChange)
	for _, c := range changes {
		for _, tag := range c.Tags {
			moved[tag.Name] = tag
			if tag.Previous != before[tag.Name] || tag.Digest != after[tag.Name] {
				t.Fatalf("%s: tag %+v was %s and is %s", what, tag, before[tag.Name], after[tag.Name])
			}
		}
		for _, d := range c.Entries {
			if k := key(c.Repository, d); was[k] == "" && is[k] == "" {
				t.Fatalf("%s: %s neither was nor is an entry", what, d)
			}
		}
	}
	for _, name := range slices.Concat(slices.Collect(maps.Keys(before)), slices.Collect(maps.Keys(after))) {
		if _, told := moved[name]; !told && before[name] != after[name] {
			t.Fatalf("%s: nothing says that tag %s has moved", what, name)
		}
	}
}

// testFeedOfADay follows everything that clients do to a repository, with images
// that are put together of several manifests, and content that comes late.
func testFeedOfADay(t *testing.T, o Options) {
	w := NewWorld(t, o.open(t))
	f := newFollower(w.Index)
	types := map[string]index.ChangeType{
		"put a child on the tag of its index":         index.Pushed,
		"put its index, whose other child is missing": index.Pushed,
		"re-tag":                             index.Tagged,
		"untag":                              index.Untagged,
		"upload the blobs of b":              index.Changed,
		"delete the index with its children": index.Deleted,
		"delete everything":                  index.Deleted,
	}
	met := make(map[string]bool)
	for _, s := range day() {
		if err := s.do(w); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		changes := f.follow(t, 100)
		f.check(t, s.name)
		for _, c := range changes {
			if want := types[s.name]; want != "" && c.Type == want {
				met[s.name] = true
			}
		}
		if types[s.name] != "" && s.name != "upload the blobs of b" && len(changes) != 1 {
			t.Errorf("%s: %d records, want one: %+v", s.name, len(changes), changes)
		}
	}
	for name, want := range types {
		if !met[name] {
			t.Errorf("%s: no record is a %s", name, want)
		}
	}
}

// testFeedPages: changes are read in pages from anywhere, and what is kept no
// longer, of another start or not given out cannot be gone on from.
func testFeedPages(t *testing.T, o Options) {
	x, ctx := o.open(t), t.Context()
	first := x.Last()
	const n = 50
	for i := range n {
		repository := fmt.Sprint("page/r", i%3)
		if i%10 == 9 { // a repository that is gone keeps its name in what was
			publish(t, x, change{repository, index.Update{Delete: []digest.Digest{dgst(repository)}}})
			continue
		}
		publish(t, x, change{repository, index.Update{
			Put: []image.Description{{Digest: dgst(repository), Image: imageAt(at(1))}},
			Tag: map[string]digest.Digest{"t": dgst(repository)},
		}})
	}
	all, err := x.Changes(ctx, first, 1000)
	if err != nil || len(all) != n {
		t.Fatalf("%d changes, %v", len(all), err)
	}
	for i, c := range all {
		if c.Repository != fmt.Sprint("page/r", i%3) {
			t.Errorf("change %d is one of %q", i, c.Repository)
		}
	}
	for _, size := range []int{1, 7} {
		for from := range all {
			page, err := x.Changes(ctx, all[from].Revision, size)
			if want := all[from+1 : min(from+1+size, n)]; err != nil || fmt.Sprint(page) != fmt.Sprint(want) {
				t.Fatalf("%d after change %d: %v, %v, want %v", size, from, page, err, want)
			}
		}
	}
	last := x.Last()
	refused := func(what string, r index.Revision) {
		t.Helper()
		if _, err := x.Changes(ctx, r, 10); !errors.Is(err, index.ErrRevision) {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("of the future", index.Revision{Start: last.Start, N: last.N + 1})
	refused("another start", index.Revision{Start: last.Start + 1, N: last.N})
	for more, steps := true, 0; more; steps++ {
		if more, err = x.Trim(ctx, 20, time.Time{}, 7); err != nil || steps > 5 {
			t.Fatalf("step %d: %v", steps, err)
		}
	}
	refused("trimmed", all[n-22].Revision)
	page, err := x.Changes(ctx, all[n-21].Revision, 100)
	if err != nil || fmt.Sprint(page) != fmt.Sprint(all[n-20:]) {
		t.Errorf("after what was trimmed: %v, %v", page, err)
	}
	if _, err := x.Trim(ctx, 1000, all[n-5].Time.Add(time.Hour), 1000); err != nil {
		t.Fatal(err)
	}
	refused("too old", all[n-2].Revision)
	if page, err := x.Changes(ctx, last, 100); err != nil || len(page) != 0 || x.Last() != last {
		t.Errorf("at the end of what is all trimmed: %v, %v, the last is %v", page, err, x.Last())
	}
	publish(t, x, change{"page/r0", index.Update{Tag: map[string]digest.Digest{"t": dgst("next")}}})
	if page, err := x.Changes(ctx, last, 100); err != nil || len(page) != 1 {
		t.Errorf("after the end: %v, %v", page, err)
	}
}

// testFeedGrows: who waits is woken by the next change, and finds it there.
func testFeedGrows(t *testing.T, o Options) {
	x := o.open(t)
	at, n := x.Last(), 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n < 40 {
			select {
			case <-x.Grown(at):
			case <-time.After(time.Minute):
				t.Error("nobody is woken")
				return
			}
			changes, err := x.Changes(context.Background(), at, 3)
			if err != nil || len(changes) == 0 {
				t.Errorf("woken for nothing: %v", err)
				return
			}
			n += len(changes)
			at = changes[len(changes)-1].Revision
		}
	}()
	for i := range 40 {
		publish(t, x, change{"some/thing", index.Update{Tag: map[string]digest.Digest{"t": dgst(fmt.Sprint(i))}}})
	}
	<-done
	select {
	case <-x.Grown(x.Last()):
		t.Error("woken for nothing")
	default:
	}
}

// testPushers: of each tag is known who has set it last, as long as it is there.
func testPushers(t *testing.T, o Options) {
	x, ctx := o.open(t), t.Context()
	set := func(by string, second int) {
		publish(t, x, change{"a/b", index.Update{Tag: map[string]digest.Digest{"t": dgst("m")}, By: by, At: at(second)}})
	}
	check := func(want index.Push, there bool) {
		t.Helper()
		p, err := x.Pushed(ctx, "a/b", "t")
		if p != want || errors.Is(err, index.ErrNotFound) == there {
			t.Errorf("pushed by %+v, %v, want %+v", p, err, want)
		}
	}
	check(index.Push{}, false)
	set("alice", 5)
	check(index.Push{By: "alice", Time: at(5)}, true)
	set("", 6)
	check(index.Push{Time: at(6)}, true)
	publish(t, x, change{"a/b", index.Update{Untag: []string{"t"}, By: "bob", At: at(7)}})
	check(index.Push{}, false)
	changes, err := x.Changes(ctx, index.Revision{Start: x.Last().Start}, 9)
	if err != nil || len(changes) != 0 {
		// A tag of nothing, in a repository that holds nothing else, has records
		// too.
		for i, by := range []string{"alice", "", "bob"} {
			if i < len(changes) && changes[i].By != by {
				t.Errorf("change %d by %q, want %q", i, changes[i].By, by)
			}
		}
	}
	if len(changes) != 3 {
		t.Errorf("changes: %+v, %v", changes, err)
	}
}

// testPulls: they add up as long as the image is there, and of the time the day is
// kept.
func testPulls(t *testing.T, o Options) {
	x, ctx := o.open(t), t.Context()
	put := change{"a/b", index.Update{Put: []image.Description{{Digest: dgst("m")}}, Alias: map[digest.Digest]digest.Digest{digest.SHA512.FromString("m"): dgst("m")}}}
	publish(t, x, put)
	noon := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	for i := range 3 {
		err := x.AddPulls(ctx, []index.Pulls{
			{Repository: "a/b", Digest: dgst("m"), Count: 5, Last: noon.AddDate(0, 0, i)},
			{Repository: "a/b", Digest: digest.SHA512.FromString("m"), Count: 1, Last: noon.AddDate(0, 0, i)},
			{Repository: "a/b", Digest: dgst("never"), Count: 1, Last: noon}, {Repository: "never/pushed", Digest: dgst("m"), Count: 1, Last: noon},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	p, err := x.Pulls(ctx, "a/b", digest.SHA512.FromString("m"))
	if err != nil || p.Count != 18 || !p.Last.Equal(time.Date(2026, 3, 6, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v, %v", p, err)
	}
	publish(t, x, change{"a/b", index.Update{Delete: []digest.Digest{dgst("m")}}})
	publish(t, x, put)
	for _, repository := range []string{"a/b", "never/pushed"} {
		if p, err := x.Pulls(ctx, repository, dgst("m")); err != nil || p.Count != 0 {
			t.Errorf("%s: %+v, %v", repository, p, err)
		}
	}
}

// testHistory reads what happened in one repository, back to front.
func testHistory(t *testing.T, o Options) {
	x, ctx := o.open(t), t.Context()
	var want []index.Revision
	for i := range 30 {
		c := change{[]string{"a/a", "b/b"}[i%2], index.Update{Tag: map[string]digest.Digest{"t": dgst(fmt.Sprint(i))}}}
		if r := publish(t, x, c); i%2 == 0 {
			want = append(want, r)
		}
	}
	slices.Reverse(want)
	read := func(n int) (got []index.Revision) {
		for before, first := (index.Revision{}), true; first || before != (index.Revision{}); first = false {
			page, next, err := x.History(ctx, "a/a", before, n)
			if err != nil || len(page) > n {
				t.Fatalf("%d, %v", len(page), err)
			}
			for _, c := range page {
				if c.Repository != "a/a" {
					t.Errorf("of %s", c.Repository)
				}
				got = append(got, c.Revision)
			}
			before = next
		}
		return got
	}
	for _, n := range []int{1, 4, 15, 100} {
		if got := read(n); !slices.Equal(got, want) {
			t.Errorf("by %d: %v, want %v", n, got, want)
		}
	}
	if _, err := x.Trim(ctx, 10, time.Time{}, 100); err != nil {
		t.Fatal(err)
	}
	if got := read(2); !slices.Equal(got, want[:5]) {
		t.Errorf("after a trim: %v, want %v", got, want[:5])
	}
	if page, next, err := x.History(ctx, "never/pushed", index.Revision{}, 9); len(page) != 0 || next != (index.Revision{}) || err != nil {
		t.Errorf("of what is not there: %v, %v, %v", page, next, err)
	}
	for _, r := range []index.Revision{{Start: x.Last().Start + 1, N: 3}, {Start: x.Last().Start}} {
		if _, _, err := x.History(ctx, "a/a", r, 9); !errors.Is(err, index.ErrRevision) {
			t.Errorf("before %v: %v", r, err)
		}
	}
}
