package indextest

import (
	"context"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
	"github.com/berth-oci/berth/storage/reference"
)

// testBlobStates leads a blob, a manifest and tags through all that can become
// of them, and wants the sums after each step.
func testBlobStates(t *testing.T, o Options) {
	const least = storage.MinCounted
	x, ctx := o.open(t), t.Context()
	blob, size := dgst("blob"), int64(10*least)
	want := func(step string, bytes, uncollected, idle int64) {
		t.Helper()
		u, err := x.Usage(ctx, "a")
		if err != nil || u.Bytes != bytes || u.Uncollected != uncollected {
			t.Fatalf("%s: %+v, %v; want %d and %d uncollected", step, u, err, bytes, uncollected)
		}
		if got, err := x.Idle(ctx, "a", []digest.Digest{blob, dgst("nobody's")}); err != nil || got != idle {
			t.Fatalf("%s: %d bytes are idle, %v; want %d", step, got, err, idle)
		}
		if s, err := x.Stats(ctx); err != nil || s.Bytes != bytes || s.Uncollected != uncollected {
			t.Fatalf("%s: of all %+v, %v; want %d and %d", step, s, err, bytes, uncollected)
		}
	}
	link := func(repository string) {
		t.Helper()
		before, err := x.Usage(ctx, "a")
		if err != nil {
			t.Fatal(err)
		}
		more, err := x.Adds(ctx, repository, map[digest.Digest]int64{blob: size})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if after, err := x.Usage(ctx, "a"); err != nil || after.Bytes != before.Bytes+more {
				t.Fatalf("a link into %s was to add %d: before %+v, after %+v, %v", repository, more, before, after, err)
			}
		}()
		if err := x.Link(ctx, repository, map[digest.Digest]int64{blob: size}, "", nil); err != nil {
			t.Fatal(err)
		}
	}
	manifest := func(repository string, bytes int64, tags ...string) {
		t.Helper()
		u := index.Update{Tag: map[string]digest.Digest{}, Put: []image.Description{{
			Digest: dgst("m"), Size: bytes, Blobs: []image.Blob{{Digest: blob, Size: size}},
		}}}
		for _, tag := range tags {
			u.Tag[tag] = dgst("m")
		}
		publish(t, x, change{repository, u})
	}
	gone := func(repository string) {
		t.Helper()
		publish(t, x, change{repository, index.Update{Delete: []digest.Digest{dgst("m")}}})
	}
	unlink := func(repository string) {
		t.Helper()
		publish(t, x, change{repository, index.Update{Unlink: []digest.Digest{blob}}})
	}
	link("a/one")
	want("fresh", size, 0, 0)
	link("a/one")
	want("again", size, 0, 0)
	link("a/two")
	want("in a further repository", size+least, 0, 0)
	unlink("a/two")
	want("out of it", size, 0, 0)
	unlink("a/one")
	want("gone", 0, size, 0)
	link("a/one")
	want("back", size, 0, 0)
	manifest("a/one", 5)
	want("in use", size+least, 0, 0)
	manifest("a/one", 2*least, "v1", "v2")
	want("with tags, and its true size", size+4*least, 0, 0)
	publish(t, x, change{"a/one", index.Update{Untag: []string{"v2", "v3"}}})
	want("with one tag less", size+3*least, 0, 0)
	as := digest.SHA512.FromString("m")
	publish(t, x, change{"a/one", index.Update{Alias: map[digest.Digest]digest.Digest{as: dgst("m")}}})
	publish(t, x, change{"a/one", index.Update{Alias: map[digest.Digest]digest.Digest{as: dgst("m")}}})
	want("with another digest", size+4*least, 0, 0)
	publish(t, x, change{"a/one", index.Update{Unalias: []digest.Digest{as, as}}})
	link("a/two")
	manifest("a/two", 2*least)
	want("twice", size+6*least, 0, 0)
	gone("a/one")
	want("once", size+3*least, 0, 0)
	gone("a/two")
	want("idle", 0, size+3*least, size+least)
	publish(t, x, change{"a/two", index.Update{Link: map[digest.Digest]int64{blob: size}}})
	want("still idle", 0, size+3*least, size+least)
	link("a/two")
	want("fresh again", size+least, 2*least, 0)
	manifest("a/two", 2*least)
	gone("a/two")
	unlink("a/one")
	want("idle again", 0, size+2*least, size)
	manifest("a/two", 2*least)
	want("in use again", size+2*least, 0, 0)
	gone("a/two")
	unlink("a/two")
	want("all gone", 0, size+2*least, 0)
	publish(t, x, change{"b/one", index.Update{Link: map[digest.Digest]int64{blob: size}}})
	if u, err := x.Usage(ctx, "b"); err != nil || u.Bytes != 0 || u.Uncollected != size {
		t.Fatalf("linked by an update: %+v, %v", u, err)
	}
	empty := map[digest.Digest]int64{dgst(""): 0, digest.SHA512.FromString(""): 1 << 30}
	if err := x.Link(ctx, "c/one", empty, "", nil); err != nil {
		t.Fatal(err)
	}
	if u, err := x.Usage(ctx, "c"); err != nil || u.Bytes != 2*least {
		t.Fatalf("an empty blob, and a link by another digest: %+v, %v", u, err)
	}
	publish(t, x, change{"c/one", index.Update{Put: []image.Description{{Digest: dgst("e"), Blobs: []image.Blob{{Digest: dgst("")}}}}}})
	publish(t, x, change{"c/one", index.Update{Delete: []digest.Digest{dgst("e")}}})
	if u, err := x.Usage(ctx, "c"); err != nil || u.Bytes != least || u.Uncollected != 2*least {
		t.Fatalf("without its manifest, an empty blob: %+v, %v", u, err)
	}
}

// testRecount does a day, and after each step adds up again what there is.
func testRecount(t *testing.T, o Options) {
	w := NewWorld(t, o.open(t))
	r := newRecount()
	for _, s := range day() {
		if err := s.do(w); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		r.check(t, s.name, w)
	}
}

// recount counts by looking at everything.
type recount struct {
	// held is what the namespace has ever held, with what it counts: what it no
	// longer holds is gone.
	held map[digest.Digest]int64
	gone int64 // what that came to when it was last counted, in bytes
}

func newRecount() *recount { return &recount{held: map[digest.Digest]int64{}} }

// check wants the sums of alice's namespace to be what there is.
func (r *recount) check(t testing.TB, step string, w *World) {
	t.Helper()
	ctx := context.Background()
	repositories := []string{"alice/app", "alice/other"}
	checkIdle(t, step, w, repositories)
	var must int64 // what counts whatever became of it before
	now := map[digest.Digest]int64{}
	links := map[digest.Digest]int64{} // how many
	inUse := map[digest.Digest]bool{}
	for _, repository := range repositories {
		state, err := w.Index.State(ctx, repository)
		if err != nil {
			t.Fatal(err)
		}
		must += storage.MinCounted * int64(len(state.Tags)+len(state.Aliases))
		for d := range state.Manifests {
			info, err := w.Store.Content().Stat(ctx, d)
			if err != nil {
				t.Fatal(err)
			}
			must += storage.Counted(info.Size)
			now[d] = storage.Counted(info.Size)
		}
		for d, size := range state.Links {
			links[d]++
			now[d] = storage.Counted(size)
			referring, err := w.Index.Referring(ctx, repository, d)
			if err != nil {
				t.Fatal(err)
			}
			inUse[d] = inUse[d] || len(referring) > 0
		}
	}
	var idleOrFresh int64
	for d, n := range links {
		counted := now[d] + (n-1)*storage.MinCounted
		if inUse[d] {
			must += counted
		} else {
			idleOrFresh += counted
		}
	}
	r.gone = 0
	if step == "collect" {
		clear(r.held)
	}
	for d, counted := range now {
		r.held[d] = counted
	}
	for d, counted := range r.held {
		if now[d] == 0 {
			r.gone += counted
		}
	}
	u, err := w.Usage(ctx, reference.Namespace(repositories[0]))
	if err != nil || u.Bytes < must || u.Uncollected < r.gone || u.Bytes+u.Uncollected != must+idleOrFresh+r.gone {
		t.Fatalf("%s: %+v, %v; want %d, %d gone, and beside them %d", step, u, err, must, r.gone, idleOrFresh)
	}
	s, err := w.Stats(ctx)
	if err != nil || s.Bytes != u.Bytes || s.Uncollected != u.Uncollected {
		t.Fatalf("%s: %+v, %v; want the only namespace, %+v", step, s, err, u)
	}
}
