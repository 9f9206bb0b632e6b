package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	bbolt "go.etcd.io/bbolt"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// model is what the index should know, kept in the plainest way.
type model map[string]*repo

type repo struct {
	manifests map[digest.Digest]image.Description
	tags      map[string]digest.Digest
	links     map[digest.Digest]int64
}

func (m model) repo(name string) *repo {
	if m[name] == nil {
		m[name] = &repo{map[digest.Digest]image.Description{}, map[string]digest.Digest{}, map[digest.Digest]int64{}}
	}
	return m[name]
}

func (m model) apply(u index.Update) {
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
func (m model) entries(q index.Query) []index.Entry {
	var out []index.Entry
	for name, r := range m {
		for d, p := range r.manifests {
			tags := r.tagsOf(d)
			held := slices.ContainsFunc(slices.Collect(maps.Values(r.manifests)), func(o image.Description) bool { return slices.Contains(o.Children, d) })
			if p.Image == nil || held && len(tags) == 0 || q.Tagged && len(tags) == 0 || !index.Within(q.Within, name) {
				continue
			}
			out = append(out, index.Entry{Repository: name, Digest: d, Tags: tags, Image: *p.Image})
		}
	}
	slices.SortFunc(out, func(a, b index.Entry) int {
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

func randomUpdate(r *rand.Rand) index.Update {
	some := func(n int) digest.Digest { return dgst(fmt.Sprint("m", r.IntN(n))) }
	u := index.Update{Repository: names[r.IntN(len(names))], Done: r.IntN(2) == 0, Tag: map[string]digest.Digest{}}
	for range r.IntN(3) {
		p := image.Description{Digest: some(8), Size: 3}
		switch r.IntN(4) {
		case 0:
			p.Children = []digest.Digest{some(8), dgst("elsewhere")}
			fallthrough
		case 1, 2:
			p.Image = image1(at(r.IntN(5)))
			p.Image.Kernel, p.Image.Initrd, p.Image.ROM = r.IntN(2) == 0, r.IntN(2) == 0, r.IntN(2) == 0
		}
		for i := range r.IntN(3) {
			blob := image.Blob{Digest: dgst(fmt.Sprint("blob", i)), Size: int64(100 + i)}
			if r.IntN(4) == 0 {
				blob.Size = 0
			}
			p.Blobs = append(p.Blobs, blob)
		}
		if !slices.ContainsFunc(u.Put, func(o image.Description) bool { return o.Digest == p.Digest }) {
			u.Put = append(u.Put, p)
		}
	}
	if r.IntN(3) == 0 {
		u.Delete = append(u.Delete, some(8))
		u.Put = slices.DeleteFunc(u.Put, func(p image.Description) bool { return p.Digest == u.Delete[0] })
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

var queries = []index.Query{
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
func oneByOne(r *rand.Rand, m model) []index.Update {
	var out []index.Update
	for name, repo := range m {
		for _, p := range repo.manifests {
			out = append(out, index.Update{Repository: name, Put: []image.Description{p}})
		}
		for tag, d := range repo.tags {
			out = append(out, index.Update{Repository: name, Tag: map[string]digest.Digest{tag: d}})
		}
		for d, size := range repo.links {
			out = append(out, index.Update{Repository: name, Link: map[digest.Digest]int64{d: size}})
		}
	}
	slices.SortFunc(out, func(a, b index.Update) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
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
				if !errors.Is(err, index.ErrNotFound) {
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
			if err != nil || !slices.ContainsFunc(all, func(o index.Entry) bool { return o.Repository == name }) {
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
			if len(r.manifests) > 0 && index.Within(ns, name) {
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
			if !errors.Is(err, index.ErrNotFound) {
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
			if _, ok := r.links[blob]; ok && index.Within(ns, name) {
				holds = true
			}
		}
		if holds != (err == nil) || holds && (!index.Within(ns, got) || m[got].links[blob] == 0) {
			t.Fatalf("holder within %v: %q, %v; want one: %v", ns, got, err, holds)
		}
	}
}

func readAll(t *testing.T, x *Index, q index.Query, n int) (all []index.Entry) {
	t.Helper()
	for cursor, first := index.Cursor(""), true; first || cursor != ""; first = false {
		var batch []index.Entry
		var err error
		if batch, cursor, err = x.List(t.Context(), q, cursor, n); err != nil {
			t.Fatal(err)
		}
		all = append(all, batch...)
	}
	return all
}

func compare(t *testing.T, what string, got, want []index.Entry) {
	t.Helper()
	brief := func(entries []index.Entry) string {
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
