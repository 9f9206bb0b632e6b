package indextest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
	"github.com/berth-oci/berth/storage/collect"
)

// step is one request of a day. A client that got an error asks again; asking
// again for what has happened is answered with done, or with success.
type step struct {
	name string
	do   func(w *World) error
	done error
}

// day is what clients do to a repository, and to one beside it: everything that
// changes an index, in an order in which each has something to change.
func day() []step {
	const app, other = "alice/app", "alice/other"
	rom := func(name string) digest.Digest { return digest.FromBytes(ROM(name)) }
	upload := func(repository, name string) step {
		return step{"upload the blobs of " + name, func(w *World) error {
			return errors.Join(w.Upload(repository, Config(name)), w.Upload(repository, ROM(name)))
		}, nil}
	}
	put := func(what, repository string, intent func(w *World) storage.Intent) step {
		return step{"put " + what, func(w *World) error { return w.Put(repository, intent(w)) }, nil}
	}
	inner := func(w *World) digest.Digest { return w.IndexOf(w.Unikernel("a"), w.Unikernel("b")) }
	outer := func(w *World) digest.Digest { return w.IndexOf(inner(w), w.Unikernel("a")) }
	return []step{
		upload(app, "a"),
		put("a child on the tag of its index", app, func(w *World) storage.Intent {
			return storage.Intent{Put: w.Unikernel("a"), Tags: []string{"v1"}}
		}),
		put("its index, whose other child is missing", app, func(w *World) storage.Intent {
			return storage.Intent{Put: inner(w), Tags: []string{"v1", "v2"}}
		}),
		put("the other child, whose blobs are missing", app, func(w *World) storage.Intent {
			return storage.Intent{Put: w.Unikernel("b")}
		}),
		upload(app, "b"),
		put("an index of the index", app, func(w *World) storage.Intent {
			return storage.Intent{Put: outer(w), Tags: []string{"nested"}}
		}),
		put("a manifest by another digest", app, func(w *World) storage.Intent {
			return storage.Intent{Put: w.Unikernel("c"), As: digest.SHA512.FromString("c"), Tags: []string{"long"}}
		}),
		upload(app, "c"),
		{"re-tag", func(w *World) error { return w.Put(app, storage.Intent{Put: w.Unikernel("a"), Tags: []string{"v2"}}) }, nil},
		{"untag", func(w *World) error { return w.Untag(context.Background(), app, "v2") }, storage.ErrNotFound},
		{"delete a blob in use", func(w *World) error { return w.Unlink(context.Background(), app, rom("b")) }, storage.ErrNotFound},
		upload(app, "b"),
		{"delete the outer index", func(w *World) error { return w.Delete(context.Background(), app, outer(w)) }, storage.ErrNotFound},
		{"delete the index with its children", func(w *World) error { return w.Delete(context.Background(), app, inner(w)) }, storage.ErrNotFound},
		upload(other, "d"),
		put("an image beside it", other, func(w *World) storage.Intent {
			return storage.Intent{Put: w.Unikernel("d"), Tags: []string{"v1"}}
		}),
		{"delete everything", func(w *World) error { return w.Clear(context.Background(), app) }, storage.ErrNotFound},
		{"collect", collectAll, nil},
		put("an image again", app, func(w *World) storage.Intent {
			return storage.Intent{Put: w.Unikernel("a"), Tags: []string{"v1"}}
		}),
		{"read all of it anew", func(w *World) error { return w.Remake(context.Background(), app) }, nil},
		{"ask for a blob", func(w *World) error { return w.Renew(context.Background(), other, rom("d")) }, nil},
		put("a signature of it", other, func(w *World) storage.Intent { return storage.Intent{Put: w.Referrer(w.Unikernel("d"))} }),
		{"delete what is signed", func(w *World) error { return w.Delete(context.Background(), other, w.Unikernel("d")) }, storage.ErrNotFound},
		{"collect", collectAll, nil},
		{"refer to what was collected", func(w *World) error { return w.bringBack(other, rom("d")) }, nil},
		{"set aside", func(w *World) error {
			_, err := w.Reserve(context.Background(), "alice", storage.Reservation{Key: "upload", Bytes: 5, Limit: 1 << 20, Until: later})
			return err
		}, nil},
	}
}

// collectAll takes away all that nothing refers to, and what nobody knows of.
func collectAll(w *World) error {
	w.Blob([]byte("nobody's"))
	c := collect.New(collect.Options{
		Catalog: w.Catalog, Store: w.Store, Quarantine: 1, Search: time.Hour,
		Rate: 1 << 40, Operations: 1 << 30, Log: slog.New(slog.DiscardHandler),
	})
	const sweeps = 4 // what the first finds or keeps goes with the others
	for range sweeps {
		if _, err := c.Sweep(context.Background(), nil); err != nil {
			return err
		}
	}
	return nil
}

// look reads everything through the catalog, as clients do. Of what is
// uncollected it leaves out so many bytes.
func look(ctx context.Context, w *World, gone int64) (string, error) {
	var b strings.Builder
	var errs []error
	say := func(what string, v any, err error) {
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			errs = append(errs, err)
		}
		fmt.Fprintln(&b, what, v, errors.Is(err, storage.ErrNotFound))
	}
	entries, _, err := w.List(ctx, index.Query{}, "", 100)
	say("list", brief(entries...), err)
	for _, e := range entries {
		found, err := w.ByUUID(ctx, e.UUID(), nil)
		say("uuid", brief(found), err)
		all, err := w.ByDigest(ctx, e.Digest, nil, "", 9)
		say("digest", brief(all...), err)
	}
	names, err := w.Repositories(ctx, nil, "", 9)
	say("repositories", names, err)
	for _, repository := range []string{"alice/app", "alice/other"} {
		tags, err := w.TagNames(ctx, repository, "", 99)
		say("tags", tags, err)
		for _, tag := range tags {
			d, err := w.Resolve(ctx, repository, tag)
			say(tag, d, err)
			e, err := w.Tagged(ctx, repository, tag)
			say(tag, brief(e), err)
			c, err := w.Canonical(ctx, repository, d)
			say(tag, c, err)
			at, err := w.TagTime(ctx, repository, tag)
			if stored, _ := w.Store.Repository(repository).TagTime(ctx, tag); err == nil && !at.Equal(stored) {
				err = fmt.Errorf("tag %s was set at %v, and in storage at %v", tag, at, stored)
			}
			say(tag, at.IsZero(), err)
			found, _, err := w.Referrers(ctx, repository, d, "", "", 9)
			say(tag, len(found), err)
			e, err = w.Entry(ctx, repository, d)
			say(tag, brief(e), err)
		}
		state, err := w.Index.State(ctx, repository)
		say("state", fmt.Sprint(state), err) // fmt sorts maps
	}
	errs = append(errs, readPast(ctx, w))
	rom := digest.FromBytes(ROM("a"))
	from, err := w.MountSource(ctx, rom, nil)
	say("mount", from, err)
	idle, err := w.Idle(ctx, "alice", []digest.Digest{rom, digest.FromString("nobody's")})
	say("idle", idle, err)
	adds, err := w.Adds(ctx, "alice/third", map[digest.Digest]int64{rom: 8})
	say("a further link adds", adds, err)
	usage, err := w.Usage(ctx, "alice")
	usage.Uncollected -= gone
	say("usage", usage, err)
	kept, err := w.Kept(ctx)
	say("in quarantine", kept, err)
	stats, err := w.Stats(ctx)
	stats.Uncollected -= gone
	say("stats", stats, err)
	return b.String(), errors.Join(errs...)
}

// readPast reads what an index does not know of that was built from storage.
func readPast(ctx context.Context, w *World) error {
	_, err := w.Index.Changes(ctx, w.Index.Last(), 9)
	_, _, errHistory := w.Index.History(ctx, "alice/app", index.Revision{}, 9)
	_, errPushed := w.Index.Pushed(ctx, "alice/app", "v1")
	if errors.Is(errPushed, index.ErrNotFound) {
		errPushed = nil
	}
	_, errListed := w.Index.Listed(ctx, "alice/app", []digest.Digest{digest.FromString("nobody's")})
	_, errPulls := w.Index.Pulls(ctx, "alice/app", digest.FromString("nobody's"))
	return errors.Join(err, errHistory, errPushed, errListed, errPulls)
}

func brief(entries ...index.Entry) string {
	var b strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&b, "%s@%.14s %v %d %d;", e.Repository, e.Digest, e.Tags, len(e.Aliases), e.Image.Size)
		for _, p := range e.Image.Platforms {
			fmt.Fprintf(&b, " %.14s %d", p.Digest, p.Size)
		}
	}
	return b.String()
}

// mustLook is look where nothing fails.
func mustLook(t testing.TB, w *World) string {
	t.Helper()
	return mustLookWithout(t, w, 0)
}

func mustLookWithout(t testing.TB, w *World, gone int64) (seen string) {
	t.Helper()
	var err error
	w.Index.Undisturbed(func() { seen, err = look(context.Background(), w, gone) })
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

// settle completes what was cut in two: the next change of a repository does
// that, also one that comes to nothing.
func settle(t testing.TB, w *World) {
	t.Helper()
	w.Index.Undisturbed(func() {
		for _, repository := range []string{"alice/app", "alice/other"} {
			if err := w.Untag(context.Background(), repository, "no-such-tag"); !errors.Is(err, storage.ErrNotFound) {
				t.Fatalf("%s is not settled: %v", repository, err)
			}
		}
	})
}

// asIs are the methods that a day's clients do not make berth call, and why.
var asIs = map[string]string{
	"Close":    "ends everything",
	"Remember": "cannot fail",
	"Recall":   "cannot fail",
	"Uptime":   "cannot fail",
	"Last":     "cannot fail",
	"Grown":    "cannot fail",
	"Trim":     "is called in the background, now and then",
	"AddPulls": "is called in the background, now and then",
}

// sampled is one of how many failing calls that are tried where TEST_REQUIRE does not
// ask for all.
const sampled = 5

// testEveryCallFails lets every single call of a day fail, before it happened
// and after it was durable. The step that met it is answered with an error or
// with success; then it has happened as a whole or not at all; asked for again
// it succeeds, and the rest of the day goes as if nothing had been. At the end
// the index is what one built from storage is. Where TEST_REQUIRE does not ask for
// crash it tries some of them, of each method at least one.
func testEveryCallFails(t *testing.T, o Options) {
	w := NewWorld(t, o.open(t))
	var states []string // before each step, and after the last
	for _, s := range day() {
		states = append(states, mustLook(t, w))
		if err := s.do(w); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
	}
	states = append(states, mustLook(t, w))
	if err := w.Restart(); err != nil {
		t.Fatal(err)
	}
	counts := w.Index.Calls()
	w.Index.Fail(nil)
	if _, err := look(t.Context(), w, 0); err != nil {
		t.Fatal(err)
	}
	reads := w.Index.Calls()

	all := slices.Contains(strings.Split(os.Getenv("TEST_REQUIRE"), ","), "crash")
	cases, run, offset := 0, 0, 0
	for method := range reflect.TypeFor[index.Index]().Methods() {
		switch {
		case asIs[method.Name] != "":
		case counts[method.Name] > 0:
			offset++ // so that it is not the first call of every method
			of := 2 * counts[method.Name]
			for i := range of {
				if cases++; !all && i%sampled != offset%min(sampled, of) {
					continue
				}
				run++
				n, when := i/2+1, When(i%2)
				t.Run(fmt.Sprintf("%s/%d/%s", method.Name, n, []string{"Before", "After"}[when]), func(t *testing.T) { failOnce(t, o, states, method.Name, n, when) })
			}
		case reads[method.Name] > 0:
			cases, run = cases+1, run+1
			t.Run(method.Name, func(t *testing.T) { failRead(t, w, method.Name) })
		default:
			t.Errorf("nothing in a day makes berth call %s: its failure is not tried", method.Name)
		}
	}
	t.Logf("%d cases of %d", run, cases)
}

// failRead lets a method fail that only answers: the answer is the error, and
// the next one is right.
func failRead(t *testing.T, w *World, method string) {
	before := mustLook(t, w)
	w.Index.FailAll(method)
	if _, err := look(t.Context(), w, 0); !errors.Is(err, ErrInjected) {
		t.Errorf("the failure is hidden: %v", err)
	}
	w.Index.Fail(nil)
	if after, err := look(t.Context(), w, 0); err != nil || after != before {
		t.Errorf("after it, %v:\n%s\nwant\n%s", err, after, before)
	}
}

func failOnce(t *testing.T, o Options, states []string, method string, n int, when When) {
	w := NewWorld(t, o.open(t))
	w.Index.Fail(func(m string, i int) (When, error) {
		if m == method && i == n {
			return when, ErrInjected
		}
		return when, nil
	})
	counted := newRecount()
	for i, s := range day() {
		err := s.do(w)
		if err != nil {
			settle(t, w)
			seen := mustLook(t, w)
			if s.name != "set aside" && s.name != "collect" && !strings.HasPrefix(s.name, "upload") && seen != states[i] && seen != states[i+1] {
				t.Fatalf("%s, answered with %v, happened in part:\n%s\nbefore it was\n%s\nafter it would be\n%s", s.name, err, seen, states[i], states[i+1])
			}
			if method == "Prepare" && seen != states[i] {
				t.Fatalf("%s, refused before storage was touched, has happened:\n%s", s.name, seen)
			}
			if err := s.do(w); err != nil && (s.done == nil || !errors.Is(err, s.done)) {
				t.Fatalf("%s, asked for again: %v", s.name, err)
			}
		}
		if seen := mustLook(t, w); seen != states[i+1] {
			t.Fatalf("%s, answered with %v: now\n%s\nwant\n%s", s.name, err, seen, states[i+1])
		}
		w.Index.Undisturbed(func() { counted.check(t, s.name, w) })
	}
	if err := w.Restart(); err != nil && !errors.Is(err, ErrInjected) {
		t.Fatal(err)
	}
	settle(t, w)
	if _, err := w.Reserve(context.Background(), "alice", storage.Reservation{Key: "upload"}); err != nil {
		t.Fatal(err)
	}
	fresh := NewWorld(t, o.open(t))
	fresh.Store = w.Store
	if err := fresh.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := fresh.Rebuild(context.Background(), func(catalog.Progress) {}); err != nil {
		t.Fatal(err)
	}
	// What is gone, an index that is built anew does not know.
	if a, b := mustLookWithout(t, w, counted.gone), mustLook(t, fresh); a != b {
		t.Fatalf("the index holds\n%s\nand built from storage\n%s", a, b)
	}
}
