package bolt

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	bbolt "go.etcd.io/bbolt"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
)

const place1 = "filesystem rootdirectory=/a"

func build(t testing.TB, fill func(*Index) error) *Index {
	t.Helper()
	x, err := Build(filepath.Join(t.TempDir(), "catalog.db"), place1, fill)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.Close() })
	return x
}

func empty(*Index) error { return nil }

func apply(t testing.TB, x *Index, u index.Update) {
	t.Helper()
	if err := x.Apply(context.Background(), u); err != nil {
		t.Fatal(err)
	}
}

func dgst(s string) digest.Digest { return digest.FromString(s) }

func image1(created time.Time) *image.Image {
	return &image.Image{Created: created, Size: 1, Initrd: true, Platforms: []image.Platform{}}
}

func at(second int) time.Time { return time.Unix(int64(second), 0).UTC() }

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "catalog.db")
	if _, err := Open(path, place1); !errors.Is(err, ErrNoIndex) {
		t.Fatalf("no file: %v", err)
	}
	boom := errors.New("boom")
	if _, err := Build(path, place1, func(*Index) error { return boom }); !errors.Is(err, boom) {
		t.Fatalf("failed build: %v", err)
	}
	if _, err := Open(path, place1); !errors.Is(err, ErrNoIndex) {
		t.Fatalf("a failed build left an index: %v", err)
	}
	x, err := Build(path, place1, empty)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, place1); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Fatalf("second open: %v", err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	if err := x.Apply(t.Context(), index.Update{Repository: "a/b"}); !errors.Is(err, errClosed) {
		t.Fatalf("write after close: %v", err)
	}
	if _, err := Open(path, "s3 bucket=other"); !errors.Is(err, ErrNoIndex) {
		t.Fatalf("index of another storage: %v", err)
	}
	for version, want := range map[string]string{"2": "newer berth", "10": "newer berth", "0": ErrNoIndex.Error()} {
		setSchema(t, path, version)
		if _, err := Open(path, place1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("schema %s: %v, want %q", version, err, want)
		}
	}
}

func setSchema(t *testing.T, path, version string) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Put(keySchema, []byte(version)) })
	if err != nil {
		t.Fatal(err)
	}
}

func TestPending(t *testing.T) {
	x := build(t, empty)
	ctx := t.Context()
	change := storage.Intent{Repository: "a/b", Put: dgst("m"), Tags: []string{"t"}}
	for _, err := range []error{
		x.Begin(ctx, change), x.Touch(ctx, "a/b"), x.Touch(ctx, "c/d"),
		x.Begin(ctx, storage.Intent{Repository: "e/f"}), x.Apply(ctx, index.Update{Repository: "e/f", Done: true}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	// What a change does to blobs on the way does not end it.
	apply(t, x, index.Update{Repository: "a/b", Link: map[digest.Digest]int64{dgst("l"): 1}})
	got, err := x.Pending(ctx)
	if err != nil || len(got) != 2 || got[0].Put != change.Put || got[0].Tags[0] != "t" || got[1].Repository != "c/d" {
		t.Fatalf("pending: %+v, %v", got, err)
	}
	apply(t, x, index.Update{Repository: "a/b", Done: true})
	if err := x.Settle(ctx, []string{"a/b", "c/d"}); err != nil {
		t.Fatal(err)
	}
	if got, err := x.Pending(ctx); err != nil || len(got) != 0 {
		t.Fatalf("pending after the end: %+v, %v", got, err)
	}
}

func TestMemory(t *testing.T) {
	x := build(t, empty)
	if _, found := x.Recall(dgst("l")); found {
		t.Fatal("recalled what nobody remembered")
	}
	x.Remember(dgst("l"), image.PartKernel|image.PartInitrd)
	apply(t, x, index.Update{Repository: "a/b"}) // which was queued after it
	if got, found := x.Recall(dgst("l")); !found || got != image.PartKernel|image.PartInitrd {
		t.Fatalf("recalled %v, %v", got, found)
	}
}

// TestGroup checks that updates which share a transaction do not share errors.
func TestGroup(t *testing.T) {
	x := build(t, empty)
	boom := errors.New("boom")
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			err := x.update("test", func(tx *bbolt.Tx) error {
				if i%7 == 0 {
					return boom
				}
				return tx.Bucket(bucketTouched).Put(fmt.Append(nil, i), nil)
			})
			if failed := errors.Is(err, boom); failed != (i%7 == 0) || !failed && err != nil {
				t.Errorf("update %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	got, err := x.Pending(t.Context())
	if err != nil || len(got) != 85 {
		t.Fatalf("%d of 85 updates are there, %v", len(got), err)
	}
}

func TestFrom(t *testing.T) {
	x := build(t, empty)
	for i := range 6 {
		d := dgst(fmt.Sprint(i))
		apply(t, x, index.Update{Repository: "a/b", Put: []image.Description{{Digest: d, Image: image1(at(i / 2))}}})
	}
	for _, c := range []struct {
		second     int
		descending bool
		want       int
	}{{1, false, 4}, {1, true, 4}, {0, true, 2}, {3, false, 0}, {3, true, 6}, {-1, true, 0}} {
		q := index.Query{ByTime: true, Descending: c.descending, From: &index.Position{Time: at(c.second)}}
		if got := readAll(t, x, q, 2); len(got) != c.want {
			t.Errorf("from %d, descending %v: %d images, want %d", c.second, c.descending, len(got), c.want)
		}
		for _, e := range readAll(t, x, q, 1) {
			q.From = &index.Position{Time: e.Image.Created, UUID: e.UUID()}
			if got := readAll(t, x, q, 3); got[0].Digest != e.Digest {
				t.Errorf("from %s: begins at %s", e.Digest, got[0].Digest)
			}
		}
	}
}

// TestListWhileMoving reads lists batch by batch while images get other
// creation times: each must be in each list exactly once.
func TestListWhileMoving(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	x := build(t, empty)
	const images = 12
	set := func(i int) {
		name := names[i%3]
		apply(t, x, index.Update{Repository: name, Put: []image.Description{{Digest: dgst(fmt.Sprint(i)), Image: image1(at(r.IntN(30)))}}})
	}
	for i := range images {
		set(i)
	}
	for round := range 300 {
		q := index.Query{ByTime: round%3 != 0, Descending: round%3 == 1}
		seen := map[string]int{}
		for cursor, first := index.Cursor(""), true; first || cursor != ""; first = false {
			batch, next, err := x.List(t.Context(), q, cursor, 1+r.IntN(3))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range batch {
				seen[e.Repository+"@"+e.Digest.String()]++
			}
			cursor = next
			for range r.IntN(4) {
				set(r.IntN(images))
			}
		}
		for i := range images {
			if n := seen[names[i%3]+"@"+dgst(fmt.Sprint(i)).String()]; n != 1 {
				t.Fatalf("round %d, %+v: image %d is in the list %d times", round, q, i, n)
			}
		}
	}
}

// TestAliases names a manifest by another digest of its bytes, in every order:
// tags, indexes and subjects that use it mean the manifest.
func TestAliases(t *testing.T) {
	const repo = "alice/app"
	short, long := dgst("child"), digest.SHA512.FromString("child")
	parent, signature := dgst("index"), dgst("signature")
	steps := []index.Update{
		{Repository: repo, Put: []image.Description{{Digest: short, Image: image1(at(1))}}},
		{Repository: repo, Alias: map[digest.Digest]digest.Digest{long: short}},
		{Repository: repo, Put: []image.Description{{Digest: parent, Image: image1(at(2)), Children: []digest.Digest{long}}}},
		{Repository: repo, Put: []image.Description{{Digest: signature, Subject: long}}},
		{Repository: repo, Tag: map[string]digest.Digest{"v1": long}},
	}
	var first string
	for seed := range uint64(30) {
		x := build(t, empty)
		r := rand.New(rand.NewPCG(seed, 3))
		for _, i := range r.Perm(len(steps)) {
			apply(t, x, steps[i])
		}
		if got := dump(t, x); first == "" {
			first = got
		} else if got != first {
			t.Fatalf("seed %d: the index depends on the order of arrival:\n%s\n---\n%s", seed, got, first)
		}
		ctx := t.Context()
		for _, d := range []digest.Digest{short, long} {
			e, err := x.Entry(ctx, repo, d)
			if err != nil || e.Digest != short || !e.Has(long) || !slices.Equal(e.Tags, []string{"v1"}) {
				t.Fatalf("entry by %s: %+v, %v", d.Algorithm(), e, err)
			}
			if all, err := x.ByDigest(ctx, d, nil, "", 9); err != nil || len(all) != 1 {
				t.Fatalf("by digest %s: %v, %v", d.Algorithm(), all, err)
			}
			if parents, _, err := x.Relatives(ctx, repo, d); err != nil || !slices.Equal(parents, []digest.Digest{parent}) {
				t.Fatalf("parents by %s: %v, %v", d.Algorithm(), parents, err)
			}
			found, err := x.Referrers(ctx, repo, d, "", 9)
			if err != nil || len(found) != 1 || found[0].Digest != signature {
				t.Fatalf("referrers by %s: %v, %v", d.Algorithm(), found, err)
			}
		}
		if _, children, err := x.Relatives(ctx, repo, parent); err != nil || !slices.Equal(children, []digest.Digest{short}) {
			t.Fatalf("children: %v, %v", children, err)
		}
		if got, err := x.Tag(ctx, repo, "v1"); err != nil || got != long {
			t.Fatalf("tag: %s, %v", got, err)
		}
		apply(t, x, index.Update{Repository: repo, Untag: []string{"v1"}})
		if got := readAll(t, x, index.Query{}, 9); len(got) != 1 || got[0].Digest != parent {
			t.Fatalf("an untagged child is listed: %v", got)
		}
		apply(t, x, index.Update{Repository: repo, Unalias: []digest.Digest{long}, Delete: []digest.Digest{short}})
		if _, err := x.Canonical(ctx, repo, long); !errors.Is(err, index.ErrNotFound) {
			t.Fatalf("the alias outlives the manifest: %v", err)
		}
	}
}
