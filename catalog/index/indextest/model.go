package indextest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

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

// apply does a change, if it is one that an index takes.
func (m model) apply(u change) error {
	r := m.repo(u.repository)
	for _, p := range u.Put {
		for _, blob := range p.Blobs {
			if blob.Size == 0 && r.links[blob.Digest] > 0 && !slices.Contains(u.Unlink, blob.Digest) {
				return index.ErrLinked
			}
		}
	}
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
	return nil
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

func randomChange(r *rand.Rand) change {
	some := func(n int) digest.Digest { return dgst(fmt.Sprint("m", r.IntN(n))) }
	u := change{names[r.IntN(len(names))], index.Update{Done: r.IntN(2) == 0, Tag: map[string]digest.Digest{}}}
	for range r.IntN(3) {
		p := image.Description{Digest: some(8), Size: 3}
		switch r.IntN(4) {
		case 0:
			p.Children = []digest.Digest{some(8), dgst("elsewhere")}
			fallthrough
		case 1, 2:
			p.Image = imageAt(at(r.IntN(5)))
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

// testModel does random updates and compares every kind of answer with the
// model, and at last the whole file with one that got the same in another
// order: an index does not depend on how it came to be.
func testModel(t *testing.T, o Options) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		x, m := o.open(t), model{}
		for range 150 {
			u := randomChange(r)
			want := m.apply(u)
			if _, err := tryPublish(x, u); !errors.Is(err, want) {
				t.Fatalf("seed %d: %+v: %v, want %v", seed, u, err, want)
			}
		}
		for _, q := range queries {
			got := readAll(t, x, q, 1+r.IntN(5))
			compare(t, fmt.Sprintf("seed %d, %+v", seed, q), got, m.entries(q))
		}
		checkLookups(t, x, m)
		if o.Dump == nil {
			continue
		}
		fresh := o.open(t)
		for _, u := range oneByOne(r, m) {
			publish(t, fresh, u)
		}
		if a, b := o.Dump(t, x), o.Dump(t, fresh); a != b {
			t.Fatalf("seed %d: the index depends on the order of arrival:\n%s\n---\n%s", seed, a, b)
		}
	}
}

// oneByOne brings a model about by single updates in random order. Links come
// last: what says of a linked blob that it is missing is refused.
func oneByOne(r *rand.Rand, m model) []change {
	var out, links []change
	for name, repo := range m {
		for _, p := range repo.manifests {
			out = append(out, change{name, index.Update{Put: []image.Description{p}}})
		}
		for tag, d := range repo.tags {
			out = append(out, change{name, index.Update{Tag: map[string]digest.Digest{tag: d}}})
		}
		for d, size := range repo.links {
			links = append(links, change{name, index.Update{Link: map[digest.Digest]int64{d: size}}})
		}
	}
	slices.SortFunc(out, func(a, b change) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return append(out, links...)
}
