package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	bbolt "go.etcd.io/bbolt"

	"github.com/berth-oci/berth/catalog"
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

func apply(t testing.TB, x *Index, u catalog.Update) {
	t.Helper()
	if err := x.Apply(context.Background(), u); err != nil {
		t.Fatal(err)
	}
}

func dgst(s string) digest.Digest { return digest.FromString(s) }

func image1(created time.Time) *catalog.Image {
	return &catalog.Image{Created: created, Size: 1, Initrd: true, Platforms: []catalog.Platform{}}
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
	if err := x.Apply(t.Context(), catalog.Update{Repository: "a/b"}); !errors.Is(err, errClosed) {
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
	change := storage.Change{Repository: "a/b", Put: dgst("m"), Tags: []string{"t"}}
	for _, err := range []error{
		x.Begin(ctx, change), x.Touch(ctx, "a/b"), x.Touch(ctx, "c/d"),
		x.Begin(ctx, storage.Change{Repository: "e/f"}), x.Withdraw(ctx, "e/f"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	// What a change does to blobs on the way does not end it.
	apply(t, x, catalog.Update{Repository: "a/b", Link: map[digest.Digest]int64{dgst("l"): 1}})
	got, err := x.Pending(ctx)
	if err != nil || len(got) != 2 || got[0].Put != change.Put || got[0].Tags[0] != "t" || got[1].Repository != "c/d" {
		t.Fatalf("pending: %+v, %v", got, err)
	}
	apply(t, x, catalog.Update{Repository: "a/b", Done: true})
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
	x.Remember(dgst("l"), catalog.PartKernel|catalog.PartInitrd)
	apply(t, x, catalog.Update{Repository: "a/b"}) // which was queued after it
	if got, found := x.Recall(dgst("l")); !found || got != catalog.PartKernel|catalog.PartInitrd {
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

// model is what the index should know, kept in the plainest way.
type model map[string]*repo

type repo struct {
	manifests map[digest.Digest]catalog.Description
	tags      map[string]digest.Digest
	links     map[digest.Digest]int64
}

func (m model) repo(name string) *repo {
	if m[name] == nil {
		m[name] = &repo{map[digest.Digest]catalog.Description{}, map[string]digest.Digest{}, map[digest.Digest]int64{}}
	}
	return m[name]
}

func (m model) apply(u catalog.Update) {
	r := m.repo(u.Repository)
	for _, d := range u.Delete {
		delete(r.manifests, d)
		maps.DeleteFunc(r.tags, func(_ string, target digest.Digest) bool { return target == d })
	}
	for _, p := range u.Put {
		r.manifests[p.Digest] = p
	}
	for _, tag := range u.Untag {
		delete(r.tags, tag)
	}
	maps.Copy(r.tags, u.Tag)
	maps.Copy(r.links, u.Link)
	for _, d := range u.Unlink {
		delete(r.links, d)
	}
}

// entries are the listed images in the order of a query.
func (m model) entries(q catalog.Query) []catalog.Entry {
	var out []catalog.Entry
	for name, r := range m {
		for d, p := range r.manifests {
			tags := r.tagsOf(d)
			held := slices.ContainsFunc(slices.Collect(maps.Values(r.manifests)), func(o catalog.Description) bool { return slices.Contains(o.Children, d) })
			if p.Image == nil || held && len(tags) == 0 || q.Tagged && len(tags) == 0 || !within(q.Within, name) {
				continue
			}
			out = append(out, catalog.Entry{Repository: name, Digest: d, Tags: tags, Image: *p.Image})
		}
	}
	slices.SortFunc(out, func(a, b catalog.Entry) int {
		ua, ub := a.UUID(), b.UUID()
		byTime := cmpOr(a.Image.Created.Compare(b.Image.Created), bytes.Compare(ua[:], ub[:]))
		switch {
		case q.Descending:
			return -byTime
		case q.ByTime:
			return byTime
		}
		return cmpOr(strings.Compare(a.Name(), b.Name()), b.Image.Created.Compare(a.Image.Created),
			strings.Compare(string(a.Digest), string(b.Digest)), len(a.Repository)-len(b.Repository))
	})
	return out
}

func cmpOr(values ...int) int {
	for _, v := range values {
		if v != 0 {
			return v
		}
	}
	return 0
}

func (r *repo) tagsOf(d digest.Digest) []string {
	var tags []string
	for tag, target := range r.tags {
		if target == d {
			tags = append(tags, tag)
		}
	}
	slices.Sort(tags)
	return tags
}

var names = []string{"alice/app", "alice/app/below", "alice/app-2", "bob/x", "official/nginx", "official/utils/tunnel", "nginx", "zoe/z", "official", "alice"}

func randomUpdate(r *rand.Rand) catalog.Update {
	some := func(n int) digest.Digest { return dgst(fmt.Sprint("m", r.IntN(n))) }
	u := catalog.Update{Repository: names[r.IntN(len(names))], Done: r.IntN(2) == 0, Tag: map[string]digest.Digest{}}
	for range r.IntN(3) {
		p := catalog.Description{Digest: some(8), Size: 3}
		switch r.IntN(4) {
		case 0:
			p.Children = []digest.Digest{some(8), dgst("elsewhere")}
			fallthrough
		case 1, 2:
			p.Image = image1(at(r.IntN(5)))
			p.Image.Kernel, p.Image.Initrd, p.Image.ROM = r.IntN(2) == 0, r.IntN(2) == 0, r.IntN(2) == 0
		}
		for i := range r.IntN(3) {
			blob := catalog.Blob{Digest: dgst(fmt.Sprint("blob", i)), Size: int64(100 + i)}
			if r.IntN(4) == 0 {
				blob.Size = 0
			}
			p.Blobs = append(p.Blobs, blob)
		}
		if !slices.ContainsFunc(u.Put, func(o catalog.Description) bool { return o.Digest == p.Digest }) {
			u.Put = append(u.Put, p)
		}
	}
	if r.IntN(3) == 0 {
		u.Delete = append(u.Delete, some(8))
		u.Put = slices.DeleteFunc(u.Put, func(p catalog.Description) bool { return p.Digest == u.Delete[0] })
	}
	if r.IntN(2) == 0 {
		u.Tag[fmt.Sprint("t", r.IntN(4))] = some(8)
	}
	if r.IntN(4) == 0 {
		u.Untag = append(u.Untag, fmt.Sprint("u", r.IntN(4)), "t9")
	}
	if r.IntN(3) == 0 {
		u.Link = map[digest.Digest]int64{dgst("blob1"): 101}
	} else if r.IntN(3) == 0 {
		u.Unlink = []digest.Digest{dgst("blob1")}
	}
	return u
}

var queries = []catalog.Query{
	{}, {Tagged: true}, {Within: []string{"alice"}}, {Within: []string{"alice/app"}}, {Within: []string{"official"}},
	{Within: []string{"official", "alice", "alice/app", "bob/x"}}, {Within: []string{"nobody"}}, {Within: []string{}},
	{ByTime: true}, {ByTime: true, Descending: true}, {ByTime: true, Within: []string{"alice/app", "zoe"}},
	{ByTime: true, Descending: true, Tagged: true, Within: []string{"official/utils", "bob"}},
}

// TestModel does random updates and compares every kind of answer with the
// model, and at last the whole file with one that got the same in another
// order: an index does not depend on how it came to be.
func TestModel(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		x, m := build(t, empty), model{}
		for range 150 {
			u := randomUpdate(r)
			apply(t, x, u)
			m.apply(u)
		}
		for _, q := range queries {
			got := readAll(t, x, q, 1+r.IntN(5))
			compare(t, fmt.Sprintf("seed %d, %+v", seed, q), got, m.entries(q))
		}
		checkLookups(t, x, m)
		fresh := build(t, func(x *Index) error {
			for _, u := range oneByOne(r, m) {
				if err := x.Apply(context.Background(), u); err != nil {
					return err
				}
			}
			return nil
		})
		if a, b := dump(t, x), dump(t, fresh); a != b {
			t.Fatalf("seed %d: the index depends on the order of arrival:\n%s\n---\n%s", seed, a, b)
		}
	}
}

// oneByOne brings a model about by single updates in random order.
func oneByOne(r *rand.Rand, m model) []catalog.Update {
	var out []catalog.Update
	for name, repo := range m {
		for _, p := range repo.manifests {
			out = append(out, catalog.Update{Repository: name, Put: []catalog.Description{p}})
		}
		for tag, d := range repo.tags {
			out = append(out, catalog.Update{Repository: name, Tag: map[string]digest.Digest{tag: d}})
		}
		for d, size := range repo.links {
			out = append(out, catalog.Update{Repository: name, Link: map[digest.Digest]int64{d: size}})
		}
	}
	slices.SortFunc(out, func(a, b catalog.Update) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func checkLookups(t *testing.T, x *Index, m model) {
	t.Helper()
	ctx := t.Context()
	checkNames(t, x, m)
	for name, r := range m {
		for tag, d := range r.tags {
			if got, err := x.Tag(ctx, name, tag); err != nil || got != d {
				t.Fatalf("tag %s:%s is %s, %v; want %s", name, tag, got, err, d)
			}
		}
		for d, p := range r.manifests {
			e, err := x.Entry(ctx, name, d)
			if p.Image == nil {
				if !errors.Is(err, catalog.ErrNotFound) {
					t.Fatalf("%s@%s is no image: %v", name, d, err)
				}
				continue
			}
			if err != nil || !slices.Equal(e.Tags, r.tagsOf(d)) || !e.Image.Created.Equal(p.Image.Created) {
				t.Fatalf("%s@%s: %+v, %v", name, d, e, err)
			}
			if repository, found, err := x.UUID(ctx, e.UUID()); err != nil || repository != name || found != d {
				t.Fatalf("uuid of %s@%s: %s@%s, %v", name, d, repository, found, err)
			}
			all, err := x.ByDigest(ctx, d, nil, "", 100)
			if err != nil || !slices.ContainsFunc(all, func(o catalog.Entry) bool { return o.Repository == name }) {
				t.Fatalf("by digest %s misses %s: %v, %v", d, name, all, err)
			}
		}
		s, err := x.State(ctx, name)
		if err != nil || !maps.Equal(s.Tags, r.tags) || !maps.Equal(s.Links, r.links) || len(s.Manifests) != len(r.manifests) {
			t.Fatalf("state of %s: %+v, %v", name, s, err)
		}
	}
}

func checkNames(t *testing.T, x *Index, m model) {
	t.Helper()
	for _, ns := range [][]string{nil, {"alice"}, {"alice/app", "official", "zoe"}, {"alice", "alice/app", "official"}} {
		var want, got []string
		for name, r := range m {
			if len(r.manifests) > 0 && within(ns, name) {
				want = append(want, name)
			}
		}
		slices.Sort(want)
		for {
			after := ""
			if len(got) > 0 {
				after = got[len(got)-1]
			}
			batch, err := x.Repositories(t.Context(), ns, after, 2)
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, batch...); len(batch) < 2 {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("repositories within %v: %v, want %v", ns, got, want)
		}
	}
	for name, r := range m {
		want := slices.Sorted(maps.Keys(r.tags))
		got, err := x.TagNames(t.Context(), name, "", 100)
		if len(r.manifests)+len(r.links) == 0 {
			if !errors.Is(err, catalog.ErrNotFound) {
				t.Fatalf("tags of %s, which is empty: %v, %v", name, got, err)
			}
		} else if err != nil || !slices.Equal(got, want) {
			t.Fatalf("tags of %s: %v, %v; want %v", name, got, err, want)
		}
		if len(want) > 1 {
			if got, err := x.TagNames(t.Context(), name, want[0], 1); err != nil || !slices.Equal(got, want[1:2]) {
				t.Fatalf("tags of %s after %s: %v, %v", name, want[0], got, err)
			}
		}
	}
	blob := dgst("blob1")
	for _, ns := range [][]string{nil, {"bob"}, {"alice/app", "official"}} {
		got, err := x.Holder(t.Context(), blob, ns)
		holds := false
		for name, r := range m {
			if _, ok := r.links[blob]; ok && within(ns, name) {
				holds = true
			}
		}
		if holds != (err == nil) || holds && (!within(ns, got) || m[got].links[blob] == 0) {
			t.Fatalf("holder within %v: %q, %v; want one: %v", ns, got, err, holds)
		}
	}
}

func readAll(t *testing.T, x *Index, q catalog.Query, n int) (all []catalog.Entry) {
	t.Helper()
	for cursor, first := catalog.Cursor(""), true; first || cursor != ""; first = false {
		var batch []catalog.Entry
		var err error
		if batch, cursor, err = x.List(t.Context(), q, cursor, n); err != nil {
			t.Fatal(err)
		}
		all = append(all, batch...)
	}
	return all
}

func compare(t *testing.T, what string, got, want []catalog.Entry) {
	t.Helper()
	brief := func(entries []catalog.Entry) string {
		var b strings.Builder
		for _, e := range entries {
			fmt.Fprintf(&b, "%s@%s %v %d\n", e.Repository, e.Digest[:14], e.Tags, e.Image.Created.Unix())
		}
		return b.String()
	}
	if g, w := brief(got), brief(want); g != w {
		t.Fatalf("%s: got\n%swant\n%s", what, g, w)
	}
}

// dump prints all that does not tell of the past.
func dump(t *testing.T, x *Index) string {
	t.Helper()
	var b strings.Builder
	err := x.db.View(func(tx *bbolt.Tx) error {
		for _, name := range buckets {
			if slices.Contains([]string{"moves", "pending", "touched"}, string(name)) {
				continue
			}
			err := tx.Bucket(name).ForEach(func(k, v []byte) error {
				fmt.Fprintf(&b, "%s %q %q\n", name, k, v)
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestFrom(t *testing.T) {
	x := build(t, empty)
	for i := range 6 {
		d := dgst(fmt.Sprint(i))
		apply(t, x, catalog.Update{Repository: "a/b", Put: []catalog.Description{{Digest: d, Image: image1(at(i / 2))}}})
	}
	for _, c := range []struct {
		second     int
		descending bool
		want       int
	}{{1, false, 4}, {1, true, 4}, {0, true, 2}, {3, false, 0}, {3, true, 6}, {-1, true, 0}} {
		q := catalog.Query{ByTime: true, Descending: c.descending, From: &catalog.Position{Time: at(c.second)}}
		if got := readAll(t, x, q, 2); len(got) != c.want {
			t.Errorf("from %d, descending %v: %d images, want %d", c.second, c.descending, len(got), c.want)
		}
		for _, e := range readAll(t, x, q, 1) {
			q.From = &catalog.Position{Time: e.Image.Created, UUID: e.UUID()}
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
		apply(t, x, catalog.Update{Repository: name, Put: []catalog.Description{{Digest: dgst(fmt.Sprint(i)), Image: image1(at(r.IntN(30)))}}})
	}
	for i := range images {
		set(i)
	}
	for round := range 300 {
		q := catalog.Query{ByTime: round%3 != 0, Descending: round%3 == 1}
		seen := map[string]int{}
		for cursor, first := catalog.Cursor(""), true; first || cursor != ""; first = false {
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
	index, signature := dgst("index"), dgst("signature")
	steps := []catalog.Update{
		{Repository: repo, Put: []catalog.Description{{Digest: short, Image: image1(at(1))}}},
		{Repository: repo, Alias: map[digest.Digest]digest.Digest{long: short}},
		{Repository: repo, Put: []catalog.Description{{Digest: index, Image: image1(at(2)), Children: []digest.Digest{long}}}},
		{Repository: repo, Put: []catalog.Description{{Digest: signature, Subject: long}}},
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
			if parents, _, err := x.Relatives(ctx, repo, d); err != nil || !slices.Equal(parents, []digest.Digest{index}) {
				t.Fatalf("parents by %s: %v, %v", d.Algorithm(), parents, err)
			}
			found, err := x.Referrers(ctx, repo, d, "", 9)
			if err != nil || len(found) != 1 || found[0].Digest != signature {
				t.Fatalf("referrers by %s: %v, %v", d.Algorithm(), found, err)
			}
		}
		if _, children, err := x.Relatives(ctx, repo, index); err != nil || !slices.Equal(children, []digest.Digest{short}) {
			t.Fatalf("children: %v, %v", children, err)
		}
		if got, err := x.Tag(ctx, repo, "v1"); err != nil || got != long {
			t.Fatalf("tag: %s, %v", got, err)
		}
		apply(t, x, catalog.Update{Repository: repo, Untag: []string{"v1"}})
		if got := readAll(t, x, catalog.Query{}, 9); len(got) != 1 || got[0].Digest != index {
			t.Fatalf("an untagged child is listed: %v", got)
		}
		apply(t, x, catalog.Update{Repository: repo, Unalias: []digest.Digest{long}, Delete: []digest.Digest{short}})
		if _, err := x.Canonical(ctx, repo, long); !errors.Is(err, catalog.ErrNotFound) {
			t.Fatalf("the alias outlives the manifest: %v", err)
		}
	}
}
