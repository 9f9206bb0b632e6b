package indextest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	indexType    = "application/vnd.oci.image.index.v1+json"
)

// randomMember is a manifest or an index among a few that refer to each other.
// Their contents are as different as those of one digest never are; that is how
// a blob that comes late looks to an index.
func randomMember(r *rand.Rand, n int) image.Description {
	d := image.Description{Digest: dgst(fmt.Sprint("m", n)), Size: int64(n), MediaType: manifestType, Modified: at(100 + n)}
	if n < 5 {
		if d.LayerBytes = int64(r.IntN(3)); r.IntN(3) == 0 {
			return d
		}
		created := at(r.IntN(4))
		platform := image.Platform{
			Digest: d.Digest, OS: []string{"", "qemu", "fc", "kraftcloud"}[r.IntN(4)], Size: d.LayerBytes,
			ROMs: []image.Part{}, Args: []string{fmt.Sprint("arg", n)},
		}
		d.Image = &image.Image{Created: d.Modified, Size: d.LayerBytes, Args: platform.Args, Platforms: []image.Platform{platform}}
		d.Image.Kernel, d.Image.ROM = r.IntN(2) == 0, r.IntN(2) == 0
		if r.IntN(2) == 0 {
			d.Created, d.Image.Created = created, created
		}
		return d
	}
	d.MediaType = indexType
	if r.IntN(2) == 0 {
		d.Created = at(50 + r.IntN(4))
	}
	for range r.IntN(5) {
		// Those of higher numbers are indexes; one may list itself.
		m := image.Member{Digest: dgst(fmt.Sprint("m", r.IntN(10))), OS: []string{"", "", "xen", "fc"}[r.IntN(4)], Index: r.IntN(8) == 0}
		if r.IntN(6) == 0 {
			m.Digest = aliasOf(r.IntN(10))
		}
		d.Members = append(d.Members, m)
		if !slices.Contains(d.Children, m.Digest) {
			d.Children = append(d.Children, m.Digest)
		}
	}
	return d
}

func aliasOf(n int) digest.Digest { return digest.SHA512.FromString(fmt.Sprint("m", n)) }

// testComposed lets manifests and indexes come, go and change in every order: at
// any time each index is what the manifests that are there make of it, and stands
// in the lists where it has to.
func testComposed(t *testing.T, o Options) {
	const repo = "alice/app"
	for seed := range uint64(25) {
		r := rand.New(rand.NewPCG(seed, 9))
		x := o.open(t)
		there, aliases := map[digest.Digest]image.Description{}, map[digest.Digest]digest.Digest{}
		for range 60 {
			u := index.Update{}
			switch n := r.IntN(10); r.IntN(6) {
			case 0:
				u.Delete = []digest.Digest{dgst(fmt.Sprint("m", n))}
				delete(there, u.Delete[0])
			case 1:
				if alias := aliasOf(n); aliases[alias] == "" {
					u.Alias = map[digest.Digest]digest.Digest{alias: dgst(fmt.Sprint("m", n))}
					aliases[alias] = u.Alias[alias]
				} else {
					u.Unalias = []digest.Digest{alias}
					delete(aliases, alias)
				}
			default:
				d := randomMember(r, n)
				if old, again := there[d.Digest]; again {
					d.Children, d.Members = old.Children, old.Members
				}
				u.Put = []image.Description{d}
				there[d.Digest] = d
			}
			publish(t, x, change{repo, u})
			checkComposed(t, x, repo, there, aliases)
		}
		if o.Dump == nil {
			continue
		}
		fresh := o.open(t)
		var all []change
		for _, d := range there {
			all = append(all, change{repo, index.Update{Put: []image.Description{d}}})
		}
		for alias, d := range aliases {
			all = append(all, change{repo, index.Update{Alias: map[digest.Digest]digest.Digest{alias: d}}})
		}
		for _, i := range r.Perm(len(all)) {
			publish(t, fresh, all[i])
		}
		if a, b := o.Dump(t, x), o.Dump(t, fresh); a != b {
			t.Fatalf("seed %d: the index depends on the order of arrival:\n%s\n---\n%s", seed, a, b)
		}
	}
}

func checkComposed(t *testing.T, x index.Index, repo string, there map[digest.Digest]image.Description, aliases map[digest.Digest]digest.Digest) {
	t.Helper()
	find := func(d digest.Digest) (*image.Description, error) {
		if target := aliases[d]; target != "" {
			d = target
		}
		if found, ok := there[d]; ok {
			return &found, nil
		}
		return nil, nil
	}
	children := map[digest.Digest]bool{}
	for _, d := range there {
		for _, child := range d.Children {
			if target := aliases[child]; target != "" {
				child = target
			}
			children[child] = true
		}
	}
	listed := map[digest.Digest]time.Time{}
	for dgst, d := range there {
		want := d.Image
		if want == nil {
			var err error
			if want, err = image.Compose(&d, find); err != nil {
				t.Fatal(err)
			}
		}
		e, err := x.Entry(t.Context(), repo, dgst)
		if want == nil {
			if !errors.Is(err, index.ErrNotFound) {
				t.Fatalf("%s is no image: %+v, %v", dgst, e, err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(e.Image, *want) {
			t.Fatalf("%s is\n%+v, %v; want\n%+v", dgst, e.Image, err, *want)
		}
		if !children[dgst] {
			listed[dgst] = want.Created
		}
	}
	for _, e := range readAll(t, x, index.Query{ByTime: true}, 3) {
		if created, ok := listed[e.Digest]; !ok || !created.Equal(e.Image.Created) {
			t.Fatalf("%s is listed, created %v; want %v, %v", e.Digest, e.Image.Created, created, ok)
		}
		delete(listed, e.Digest)
	}
	if len(listed) > 0 {
		t.Fatalf("not listed: %v", listed)
	}
}
