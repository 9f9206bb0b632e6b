package indextest

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
)

const blobSize = 10 * storage.MinCounted

// idling is an index whose time a test sets.
type idling struct {
	index.Index
	t   *testing.T
	now time.Duration
}

func newIdling(t *testing.T, o Options, coalesce time.Duration) *idling {
	t.Helper()
	x := &idling{Index: o.open(t), t: t, now: time.Hour}
	o.SetIdle(x.Index, coalesce, func() index.Uptime { return index.Uptime(x.now) })
	return x
}

// publish changes a repository.
func (x *idling) publish(repository string, u index.Update) {
	x.t.Helper()
	publish(x.t, x.Index, change{repository, u})
}

// link links blobs as a client does.
func (x *idling) link(repository string, names ...string) {
	x.t.Helper()
	blobs := map[digest.Digest]int64{}
	for _, name := range names {
		blobs[dgst(name)] = blobSize
	}
	if err := x.Link(x.t.Context(), repository, blobs, "", nil); err != nil {
		x.t.Fatal(err)
	}
}

// referTo puts a manifest that refers to a blob.
func (x *idling) referTo(repository, manifest, blob string) {
	x.t.Helper()
	x.publish(repository, index.Update{Put: []image.Description{{
		Digest: dgst(manifest), Size: 1, Blobs: []image.Blob{{Digest: dgst(blob), Size: blobSize}},
	}}})
}

func (x *idling) remove(repository, manifest string) {
	x.t.Helper()
	x.publish(repository, index.Update{Delete: []digest.Digest{dgst(manifest)}})
}

// want wants what is idle of a kind, each as place/digest name since.
func (x *idling) want(step string, kind index.IdleKind, want ...string) {
	x.t.Helper()
	names := map[digest.Digest]string{}
	for _, name := range []string{"blob", "other", "m", "n", "index", "child", "subject", "referrer", "stray"} {
		names[dgst(name)] = name
	}
	got := []string{}
	for _, found := range x.all(kind, math.MaxInt64) {
		got = append(got, fmt.Sprint(found.Repository, found.Namespace, ":", names[found.Digest], " ", time.Duration(found.Since).Minutes()))
	}
	slices.Sort(got) // what is idle since the same time has no order
	slices.Sort(want)
	if !slices.Equal(got, want) {
		x.t.Fatalf("%s: %s: idle are %q, want %q", step, kind, got, want)
	}
}

// all reads what is idle in batches of one.
func (x *idling) all(kind index.IdleKind, before index.Uptime) (all []index.Idle) {
	x.t.Helper()
	for after := ""; ; {
		some, err := x.IdleBefore(x.t.Context(), kind, before, after, 1)
		if err != nil {
			x.t.Fatal(err)
		}
		if len(some) == 0 {
			return all
		}
		all, after = append(all, some...), some[0].Position
	}
}

func (x *idling) unlink(repository, blob string, before time.Duration) bool {
	x.t.Helper()
	ctx := x.t.Context()
	l, err := x.Acquire(ctx, repository)
	if err != nil {
		x.t.Fatal(err)
	}
	unlinked, err := x.UnlinkIdle(ctx, l, []digest.Digest{dgst(blob), dgst(blob)}, index.Uptime(before))
	if err != nil {
		x.t.Fatal(err)
	}
	if err := x.Release(ctx, l); err != nil {
		x.t.Fatal(err)
	}
	if _, err := x.UnlinkIdle(ctx, l, []digest.Digest{dgst(blob)}, index.Uptime(before)); !errors.Is(err, index.ErrStaleLease) {
		x.t.Fatalf("with an old lease: %v", err)
	}
	return slices.Equal(unlinked, []digest.Digest{dgst(blob)})
}

func (x *idling) loose(blob string, before time.Duration) (loose, held bool) {
	x.t.Helper()
	a, b, err := x.Loose(x.t.Context(), []digest.Digest{dgst(blob)}, index.Uptime(before), false)
	if err != nil {
		x.t.Fatal(err)
	}
	return len(a) > 0, len(b) > 0
}

func (x *idling) uncollected(step, namespace string, want int64) {
	x.t.Helper()
	u, err := x.Usage(x.t.Context(), namespace)
	if err != nil || u.Uncollected != want {
		x.t.Fatalf("%s: %+v, %v; want %d uncollected in %s", step, u, err, want, namespace)
	}
}

// testIdleLinks follows the link of a blob: since when it is idle, and what is
// not taken away.
func testIdleLinks(t *testing.T, o Options) {
	x := newIdling(t, o, 10*time.Minute)
	const h = time.Hour
	x.link("a/one", "blob")
	x.want("arrived", index.IdleLink, "a/one:blob 60")
	x.now += 5 * time.Minute
	x.link("a/one", "blob")
	x.want("again a moment later", index.IdleLink, "a/one:blob 60")
	x.now += 5 * time.Minute
	x.link("a/one", "blob")
	x.want("again", index.IdleLink, "a/one:blob 70")
	x.now += 10 * time.Minute
	x.publish("a/one", index.Update{Link: map[digest.Digest]int64{dgst("blob"): blobSize}})
	x.want("by an update", index.IdleLink, "a/one:blob 80")
	x.now += 10 * time.Minute
	renew := func(repository, name string) {
		t.Helper()
		if err := x.Renew(t.Context(), repository, dgst(name)); err != nil {
			t.Fatal(err)
		}
	}
	renew("a/one", "blob")
	renew("a/one", "other")
	renew("nobody/here", "blob")
	x.want("renewed", index.IdleLink, "a/one:blob 90")
	x.referTo("a/one", "m", "blob")
	x.want("in use", index.IdleLink)
	renew("a/one", "blob")
	x.link("a/one", "blob")
	x.want("in use, renewed", index.IdleLink)
	if x.unlink("a/one", "blob", 99*h) {
		t.Fatal("a link in use was taken away")
	}
	x.referTo("a/one", "n", "blob")
	x.remove("a/one", "m")
	x.want("in use once", index.IdleLink)
	x.now += h
	x.remove("a/one", "n")
	x.want("not any more", index.IdleLink, "a/one:blob 150")
	x.now += h
	x.link("b/one", "blob")
	x.want("beside another", index.IdleLink, "a/one:blob 150", "b/one:blob 210")
	if got := x.all(index.IdleLink, index.Uptime(160*time.Minute)); len(got) != 1 || got[0].Repository != "a/one" || got[0].Size != blobSize {
		t.Fatalf("before a time: %+v", got)
	}
	if x.unlink("a/one", "blob", 150*time.Minute) {
		t.Fatal("a link was taken away that has not been idle for so long")
	}
	if !x.unlink("a/one", "blob", 151*time.Minute) || x.unlink("a/one", "blob", 99*h) {
		t.Fatal("the idle link was not taken away once")
	}
	x.want("taken away", index.IdleLink, "b/one:blob 210")
	if _, linked, err := x.Linked(t.Context(), "a/one", dgst("blob")); linked || err != nil {
		t.Fatalf("it is still there: %v, %v", linked, err)
	}
	x.link("a/one", "blob")
	x.want("back", index.IdleLink, "a/one:blob 210", "b/one:blob 210")
	x.publish("a/one", index.Update{Unlink: []digest.Digest{dgst("blob")}})
	x.want("deleted", index.IdleLink, "b/one:blob 210")
}

// testIdleBytes follows bytes from their last link to the end of the quarantine.
func testIdleBytes(t *testing.T, o Options) {
	x := newIdling(t, o, 0)
	ctx, blob := t.Context(), []digest.Digest{dgst("blob")}
	x.link("a/one", "blob")
	x.now += 30 * time.Minute
	x.link("b/one", "blob")
	x.now += time.Hour
	x.unlink("a/one", "blob", x.now)
	x.want("one link is left", index.IdleBytes, "a:blob 60")
	if loose, held := x.loose("blob", x.now); loose || !held {
		t.Fatal("bytes are loose that somebody links")
	}
	x.unlink("b/one", "blob", x.now)
	x.want("idle as long as the links", index.IdleBytes, "a:blob 60", "b:blob 90")
	for _, c := range []struct {
		before int
		loose  bool
	}{{60, false}, {61, false}, {91, true}} {
		if loose, held := x.loose("blob", time.Duration(c.before)*time.Minute); loose != c.loose || held {
			t.Fatalf("before minute %d: %v, %v", c.before, loose, held)
		}
	}
	x.uncollected("idle", "a", blobSize)
	dispose := func(kept bool, want ...digest.Digest) {
		t.Helper()
		if held, err := x.Dispose(ctx, blob, kept); err != nil || !slices.Equal(held, want) {
			t.Fatalf("%v, %v; want %v to be held", held, err, want)
		}
	}
	keeps := func(step string, want int64) {
		t.Helper()
		if n, err := x.Kept(ctx); err != nil || n != want {
			t.Fatalf("%s: %d bytes are in quarantine, %v; want %d", step, n, err, want)
		}
	}
	dispose(true)
	x.want("kept", index.IdleBytes)
	x.want("kept", index.IdleKept, "a:blob 150", "b:blob 150")
	keeps("kept", 2*blobSize)
	x.uncollected("kept", "a", blobSize)
	left := func(namespace string, want bool) {
		t.Helper()
		if got, err := x.Left(ctx, namespace, dgst("blob")); err != nil || got != want {
			t.Fatalf("left of %s: %v, %v", namespace, got, err)
		}
	}
	left("a", true)
	left("c", false)
	x.now += time.Hour
	x.link("b/one", "blob")
	x.want("back in one", index.IdleKept, ":blob 150", "a:blob 150")
	left("b", false)
	x.uncollected("back in one", "b", 0)
	dispose(true, dgst("blob"))
	x.want("held after all", index.IdleKept, ":blob 150", "a:blob 150")
	emptied := func(before time.Duration) {
		t.Helper()
		if err := x.Emptied(ctx, blob, index.Uptime(before)); err != nil {
			t.Fatal(err)
		}
	}
	for before, want := range map[int]int{150: 0, 151: 1} {
		old, _, err := x.Loose(ctx, blob, index.Uptime(time.Duration(before)*time.Minute), true)
		if err != nil || len(old) != want {
			t.Fatalf("kept since before minute %d: %v, %v", before, old, err)
		}
	}
	emptied(150 * time.Minute)
	keeps("not yet", 2*blobSize)
	emptied(151 * time.Minute)
	keeps("emptied", 0)
	x.uncollected("emptied", "a", 0)
	left("a", false)
	x.unlink("b/one", "blob", x.now+1)
	x.uncollected("gone", "b", blobSize)
	dispose(false)
	x.uncollected("not stored any more", "b", 0)
	x.want("not stored any more", index.IdleBytes)
	if s, err := x.Stats(ctx); err != nil || s != (index.Stats{}) {
		t.Fatalf("in the end: %+v, %v", s, err)
	}
	x.referTo("a/one", "m", "blob")
	x.remove("a/one", "m")
	x.want("a manifest", index.IdleBytes, "a:blob 210", "a:m 210")
	if loose, held := x.loose("m", x.now+1); !loose || held {
		t.Fatal("a deleted manifest is not loose")
	}
	x.referTo("b/two", "m", "blob")
	if loose, held := x.loose("m", x.now+1); loose || !held {
		t.Fatal("a manifest is loose that another repository has")
	}
}

// testStrays: what nobody knows of is nobody's.
func testStrays(t *testing.T, o Options) {
	x := newIdling(t, o, 0)
	ctx := t.Context()
	x.link("a/one", "blob")
	x.referTo("a/one", "m", "blob")
	x.link("a/two", "other")
	x.publish("a/two", index.Update{Unlink: []digest.Digest{dgst("other")}})
	x.now += time.Hour
	all := map[digest.Digest]int64{dgst("blob"): 1, dgst("m"): 1, dgst("other"): 1, dgst("stray"): blobSize}
	adopt := func(kept bool, want int) {
		t.Helper()
		strays, err := x.Strays(ctx, slices.Collect(maps.Keys(all)), kept)
		if err != nil || len(strays) != want {
			t.Fatalf("%d are new, %v; want %d", len(strays), err, want)
		}
		if err := x.Adopt(ctx, all, kept); err != nil {
			t.Fatal(err)
		}
	}
	adopt(false, 1)
	adopt(false, 0)
	x.want("strays", index.IdleBytes, "a:other 60", ":stray 120")
	if s, err := x.Stats(ctx); err != nil || s.Uncollected != 2*blobSize {
		t.Fatalf("%+v, %v", s, err)
	}
	if _, err := x.Dispose(ctx, []digest.Digest{dgst("stray")}, true); err != nil {
		t.Fatal(err)
	}
	all = map[digest.Digest]int64{dgst("stray"): 1, dgst("n"): blobSize}
	adopt(true, 1)
	x.want("kept", index.IdleKept, ":n 120", ":stray 120")
}

// checkIdle wants exactly those links to be idle that nothing refers to.
func checkIdle(t testing.TB, step string, w *World, repositories []string) {
	t.Helper()
	var want, got []string
	for _, repository := range repositories {
		state, err := w.Index.State(t.Context(), repository)
		if err != nil {
			t.Fatal(err)
		}
		for d := range state.Links {
			referring, err := w.Index.Referring(t.Context(), repository, d)
			if err != nil {
				t.Fatal(err)
			}
			if len(referring) == 0 {
				want = append(want, repository+"@"+d.String())
			}
		}
	}
	idle, err := w.Index.IdleBefore(t.Context(), index.IdleLink, math.MaxInt64, "", math.MaxInt)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range idle {
		got = append(got, i.Repository+"@"+i.Digest.String())
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Fatalf("%s: idle are\n%q\nand nothing refers to\n%q", step, got, want)
	}
}
