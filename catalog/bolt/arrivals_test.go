package bolt

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	bbolt "go.etcd.io/bbolt"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
)

// hold has the index write nothing until it is let go.
func hold(t *testing.T, x *Index) (release func()) {
	began, end := make(chan struct{}), make(chan struct{})
	done := x.w.later(func(*bbolt.Tx) error {
		close(began)
		<-end
		return nil
	})
	<-began
	release = sync.OnceFunc(func() {
		close(end)
		<-done
	})
	t.Cleanup(release)
	return release
}

var repositories = []string{"a/one", "a/two", "b/one"}

// answersOf is what readers are told of blobs and namespaces.
func answersOf(t *testing.T, x *Index, blobs []digest.Digest) (answers []string) {
	t.Helper()
	ctx := context.Background()
	say := func(what string, answer any, err error) {
		if err != nil && !errors.Is(err, index.ErrNotFound) {
			t.Fatal(err)
		}
		answers = append(answers, fmt.Sprint(what, ": ", answer, " ", err))
	}
	for _, repository := range repositories {
		tags, err := x.TagNames(ctx, repository, "", 10)
		say("tags of "+repository, tags, err)
		for _, d := range blobs {
			size, found, err := x.Linked(ctx, repository, d)
			say(repository+" links "+d.String(), fmt.Sprint(size, found), err)
			adds, err := x.Adds(ctx, repository, map[digest.Digest]int64{d: 100_000})
			say(repository+" adds "+d.String(), adds, err)
		}
	}
	for _, namespace := range []string{"a", "b"} {
		usage, err := x.Usage(ctx, namespace)
		say("usage of "+namespace, usage, err)
		idle, err := x.Idle(ctx, namespace, blobs)
		say("idle in "+namespace, idle, err)
		for _, d := range blobs {
			_, err := x.MountSource(ctx, d, []string{namespace})
			say("mounts of "+d.String()+" from "+namespace, nil, err)
		}
	}
	stats, err := x.Stats(ctx)
	say("stats", stats, err)
	return answers
}

// publish makes an update of a repository.
func publish(t *testing.T, x *Index, repository string, u index.Update) error {
	t.Helper()
	l, err := x.Acquire(t.Context(), repository)
	if err != nil {
		t.Fatal(err)
	}
	_, err = x.Publish(t.Context(), l, u)
	if err := x.Release(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	return err
}

// TestArrivalsShown links, mounts, uses and unlinks blobs at random in two indexes.
// One writes each link before it says so, the other shows it before it can: what
// they answer is the same before it is written, and after.
func TestArrivalsShown(t *testing.T) {
	blobs := []digest.Digest{dgst("1"), dgst("2"), dgst("3"), digest.SHA512.FromString("3")}
	for seed := range uint64(4) {
		chance := rand.New(rand.NewPCG(seed, 1))
		atOnce, later := build(t, empty), build(t, empty)
		both := func(fn func(x *Index) error) {
			t.Helper()
			for _, x := range []*Index{atOnce, later} {
				if err := fn(x); err != nil {
					t.Fatal(err)
				}
			}
		}
		for step := range 12 {
			release := hold(t, later)
			for range 1 + chance.IntN(3) {
				repository := repositories[chance.IntN(3)]
				d, key := blobs[chance.IntN(len(blobs))], fmt.Sprint("upload ", step)
				both(func(x *Index) error {
					_, err := x.Reserve(t.Context(), repository[:1], storage.Reservation{Key: key, Bytes: 7000, Limit: -1, Until: time.Now().Add(time.Hour)})
					return err
				})
				link := map[digest.Digest]int64{d: 100_000}
				want := atOnce.Link(t.Context(), repository, link, key, nil)
				got := later.Link(t.Context(), repository, link, key, func(error) {})
				if got != want || want != nil && !errors.Is(want, index.ErrReferenced) {
					t.Fatalf("Link: %v, want %v", got, want)
				}
			}
			want := answersOf(t, atOnce, blobs)
			same := func(when string) {
				for i, got := range answersOf(t, later, blobs) {
					if got != want[i] {
						t.Fatalf("seed %d, step %d, %s: %s, want %s", seed, step, when, got, want[i])
					}
				}
			}
			same("before it is written")
			release()
			same("when it is written")
			repository, d := repositories[chance.IntN(3)], blobs[chance.IntN(3)]
			put, unlink, remove := chance.IntN(2) == 0, chance.IntN(2) == 0, chance.IntN(3) == 0
			both(func(x *Index) error {
				state, err := x.State(t.Context(), repository)
				if size, linked := state.Links[d]; err == nil && linked && put {
					m := image.Description{Digest: dgst(repository), Size: 5000, Blobs: []image.Blob{{Digest: d, Size: size}}}
					err = publish(t, x, repository, index.Update{Put: []image.Description{m}})
				}
				return err
			})
			both(func(x *Index) error {
				var u index.Update
				if remove {
					u.Delete = []digest.Digest{dgst(repository)}
				}
				if unlink {
					u.Unlink = []digest.Digest{d}
				}
				return publish(t, x, repository, u)
			})
		}
	}
}

// TestArrivalsWritten: what has arrived is written although nothing else is, or
// before the end, and who linked it is told.
func TestArrivalsWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	x, err := Build(path, place1, empty)
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan error, 2)
	written := func(err error) { told <- err }
	link := func(blob string) {
		t.Helper()
		if err := x.Link(t.Context(), "a/b", map[digest.Digest]int64{dgst(blob): 7}, "", written); err != nil {
			t.Fatal(err)
		}
	}
	link("first")
	if err := <-told; err != nil { // nothing else is written
		t.Fatal(err)
	}
	link("second")
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-told:
		if err != nil {
			t.Fatal(err)
		}
	default:
		t.Error("nobody is told that it is written")
	}
	if x, err = Open(path, place1); err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	for _, blob := range []string{"first", "second"} {
		if size, found, err := x.Linked(t.Context(), "a/b", dgst(blob)); err != nil || !found || size != 7 {
			t.Errorf("%s has %d bytes, %t, %v", blob, size, found, err)
		}
	}
}

// TestArrivalRefused: who linked what cannot be written is told, it is not shown
// any more, and what comes with it and after it is written.
func TestArrivalRefused(t *testing.T) {
	x := build(t, empty)
	release := hold(t, x)
	arrive, failed := x.w.arrive, errors.New("failed")
	x.w.arrive = func(tx *bbolt.Tx, a *arrival) error {
		if _, is := a.blobs[dgst("bad")]; is {
			return failed
		}
		return arrive(tx, a)
	}
	told := make(chan error, 3)
	for _, blob := range []string{"good", "bad", "better"} {
		if err := x.Link(t.Context(), "a/b", map[digest.Digest]int64{dgst(blob): 7}, "", func(err error) { told <- err }); err != nil {
			t.Fatal(err)
		}
	}
	release()
	var errs []error
	for range 3 {
		if err := <-told; err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) != 1 || !errors.Is(errs[0], failed) {
		t.Errorf("who linked was told %v", errs)
	}
	for blob, want := range map[string]bool{"good": true, "bad": false, "better": true} {
		if _, found, err := x.Linked(t.Context(), "a/b", dgst(blob)); err != nil || found != want {
			t.Errorf("%s is linked: %t, %v", blob, found, err)
		}
	}
}

// TestArrivalsAndMissing: of a blob that arrives while a manifest is published that
// lacks it, one of the two is told, whichever comes first.
func TestArrivalsAndMissing(t *testing.T) {
	blob := dgst("blob")
	lacks := index.Update{Put: []image.Description{{Digest: dgst("manifest"), Size: 5, Blobs: []image.Blob{{Digest: blob}}}}}
	link := func(x *Index) error {
		return x.Link(t.Context(), "a/b", map[digest.Digest]int64{blob: 7}, "", func(error) {})
	}
	x := build(t, empty)
	release := hold(t, x)
	if err := link(x); err != nil {
		t.Fatal(err)
	}
	published := make(chan error, 1)
	go func() { published <- publish(t, x, "a/b", lacks) }()
	release()
	if err := <-published; !errors.Is(err, index.ErrLinked) {
		t.Errorf("the manifest came second: %v", err)
	}

	x = build(t, empty)
	release = hold(t, x)
	go func() { published <- publish(t, x, "a/b", lacks) }()
	for quiet := true; quiet; {
		_, quiet = x.arrivals.turn("a/b")
	}
	linked := make(chan error, 1)
	go func() { linked <- link(x) }()
	release()
	if err := <-published; err != nil {
		t.Error(err)
	}
	if err := <-linked; !errors.Is(err, index.ErrReferenced) {
		t.Errorf("the blob came second: %v", err)
	}
	if _, found, err := x.Linked(t.Context(), "a/b", blob); err != nil || found {
		t.Errorf("it is linked: %t, %v", found, err)
	}
}

// TestArrivalInPages: who reads all links of a repository has those that have just
// arrived.
func TestArrivalInPages(t *testing.T) {
	x := build(t, empty)
	for i, read := range []func() (int, error){
		func() (int, error) {
			all, err := x.LinksAfter(t.Context(), "a/b", "", 100)
			return len(all), err
		},
		func() (int, error) {
			state, err := x.State(t.Context(), "a/b")
			return len(state.Links), err
		},
	} {
		if err := x.Link(t.Context(), "a/b", map[digest.Digest]int64{dgst(fmt.Sprint(i)): 7}, "", func(error) {}); err != nil {
			t.Fatal(err)
		}
		if n, err := read(); err != nil || n != i+1 {
			t.Errorf("there are %d links (%v), want %d", n, err, i+1)
		}
	}
}
