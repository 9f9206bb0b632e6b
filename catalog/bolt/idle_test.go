package bolt

import (
	"math"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// TestUptimeGoesOn: the time goes on where the last process has left it, and what
// was idle then is as long idle as before.
func TestUptimeGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	x, err := Build(path, place1, empty)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	now := index.Uptime(time.Hour)
	x.SetIdle(0, func() index.Uptime { return now })
	if err := x.Tick(ctx); err != nil {
		t.Fatal(err)
	}
	now = index.Uptime(time.Minute)
	if err := x.Tick(ctx); err != nil { // a time that goes back is not written down
		t.Fatal(err)
	}
	reopened := func(want time.Duration) {
		t.Helper()
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
		if x, err = Open(path, place1); err != nil {
			t.Fatal(err)
		}
		if got := time.Duration(x.Uptime()); got < want || got > want+time.Hour/2 {
			t.Fatalf("it goes on at %s, want %s", got, want)
		}
	}
	reopened(time.Hour)
	now = index.Uptime(5 * time.Hour) // that is not written down, but what happens then is
	x.SetIdle(0, func() index.Uptime { return now })
	if err := x.Link(ctx, "a/b", map[digest.Digest]int64{dgst("blob"): 1}, "", nil); err != nil {
		t.Fatal(err)
	}
	reopened(5 * time.Hour)
	idle, err := x.IdleBefore(ctx, index.IdleLink, math.MaxInt64, "", 9)
	if err != nil || len(idle) != 1 || idle[0].Since != now {
		t.Fatalf("%+v, %v", idle, err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestRenewWritesLittle: to ask for what is in use, or was asked for a moment ago,
// writes nothing.
func TestRenewWritesLittle(t *testing.T) {
	x, ctx := build(t, empty), t.Context()
	var now index.Uptime
	x.SetIdle(time.Minute, func() index.Uptime { return now })
	writes := 0
	x.Observe(func(operation string, _ time.Duration, _ error) {
		if operation == "renew" || operation == "link" {
			writes++
		}
	})
	blob := map[digest.Digest]int64{dgst("blob"): 1}
	ask := func(want int) {
		t.Helper()
		for range 10 {
			if err := x.Renew(ctx, "a/b", dgst("blob")); err != nil {
				t.Fatal(err)
			}
			if err := x.Link(ctx, "a/b", blob, "", nil); err != nil {
				t.Fatal(err)
			}
		}
		if writes != want {
			t.Fatalf("%d writes, want %d", writes, want)
		}
		writes = 0
	}
	ask(1) // the link
	now += index.Uptime(time.Minute)
	ask(1) // one renewal
	l, err := x.Acquire(ctx, "a/b")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.Publish(ctx, l, index.Update{Put: []image.Description{{Digest: dgst("m"), Blobs: []image.Blob{{Digest: dgst("blob"), Size: 1}}}}}); err != nil {
		t.Fatal(err)
	}
	now += index.Uptime(time.Hour)
	ask(0)
}

// TestArrivalsAreHeld: bytes that a repository was just given are not loose, although
// nobody has waited for that to be written.
func TestArrivalsAreHeld(t *testing.T) {
	x, ctx := build(t, empty), t.Context()
	now := index.Uptime(time.Hour)
	x.SetIdle(0, func() index.Uptime { return now })
	blob := map[digest.Digest]int64{dgst("blob"): 1}
	if err := x.Link(ctx, "a/one", blob, "", nil); err != nil {
		t.Fatal(err)
	}
	now += index.Uptime(time.Hour)
	l, err := x.Acquire(ctx, "a/one")
	if err != nil {
		t.Fatal(err)
	}
	if gone, err := x.UnlinkIdle(ctx, l, []digest.Digest{dgst("blob")}, now); err != nil || len(gone) != 1 {
		t.Fatalf("%v went, %v", gone, err)
	}
	want := func(loose, held int) {
		t.Helper()
		a, b, err := x.Loose(ctx, []digest.Digest{dgst("blob")}, now, false)
		if err != nil || len(a) != loose || len(b) != held {
			t.Fatalf("loose are %v, held %v, %v; want %d and %d", a, b, err, loose, held)
		}
	}
	want(1, 0)
	written := make(chan error, 1)
	if err := x.Link(ctx, "b/two", blob, "", func(err error) { written <- err }); err != nil {
		t.Fatal(err)
	}
	want(0, 1)
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	want(0, 1)
}
