package indextest

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// richImage is a manifest whose image has something in every field.
func richImage(name string, n int) image.Description {
	d := image.Description{Digest: dgst(fmt.Sprint(name, n)), MediaType: manifestType, Size: int64(n), Modified: at(n)}
	kernel := image.Part{Digest: dgst("kernel"), Size: 4, MediaType: "application/vnd.unikraft.kernel.v1"}
	initrd := image.Part{Digest: dgst(fmt.Sprint("initrd", n)), Size: int64(n), MediaType: "odd/type"}
	rom := image.Part{Digest: digest.SHA512.FromString("rom"), MediaType: "odd/type"}
	d.Blobs = []image.Blob{{Digest: dgst("config"), Size: 2}, {Digest: kernel.Digest, Size: kernel.Size}, {Digest: initrd.Digest, Size: initrd.Size}}
	p := image.Platform{
		Digest: d.Digest, OS: "qemu", Architecture: "riscv", Size: 9, Kernel: &kernel, Initrd: &initrd, ROMs: []image.Part{rom, rom},
		Args: []string{"/app", fmt.Sprint("--n=", n)}, KernelArgs: []string{"a.b=c"},
	}
	if n%3 == 0 {
		p.Kernel, p.ROMs = nil, []image.Part{}
	}
	d.Image = &image.Image{
		Created: at(n % 7), Size: p.Size, Kernel: p.Kernel != nil, Initrd: true, ROM: len(p.ROMs) > 0, Args: p.Args, KernelArgs: p.KernelArgs,
		Env: map[string]string{"PATH": "/bin", "N": fmt.Sprint(n)}, Labels: map[string]string{"owner": "me"}, Platforms: []image.Platform{p},
	}
	d.Created = d.Image.Created
	return d
}

// testWhole lists repositories small and large, with images that have everything:
// each is as a lookup finds it, in any order and in batches of any size; and a
// brief list is the same but for what it leaves out.
func testWhole(t *testing.T, o Options) {
	x := o.open(t)
	for repo, count := range map[string]int{"alice/one": 1, "alice/some": 20, "bob/many": 140, "official/app": 9, "app": 9} {
		u := index.Update{Tag: map[string]digest.Digest{}}
		for n := range count {
			m := richImage(repo, n)
			d := image.Description{Digest: dgst(fmt.Sprint("index of ", repo, n)), MediaType: indexType, Modified: at(n), Children: []digest.Digest{m.Digest, dgst("gone")}}
			for _, child := range d.Children {
				d.Members = append(d.Members, image.Member{Digest: child, OS: "fc"})
			}
			u.Put = append(u.Put, m)
			tagged := m.Digest
			if n%4 != 0 { // the others stand for themselves
				u.Put, tagged = append(u.Put, d), d.Digest
			}
			for i := range n % 3 {
				u.Tag[fmt.Sprintf("v%d.%d", n, i)] = tagged
			}
		}
		publish(t, x, change{repo, u})
	}
	for _, q := range queries {
		for _, n := range []int{1, 7, 1000} {
			all := readAll(t, x, q, n)
			for _, e := range all {
				want, err := x.Entry(t.Context(), e.Repository, e.Digest)
				if err != nil || !reflect.DeepEqual(e, want) {
					t.Fatalf("%+v, %d at a time: got\n%+v\nwant (%v)\n%+v", q, n, e, err, want)
				}
			}
			q.Brief = true
			for i := range all {
				all[i].Image.Env, all[i].Image.Platforms = nil, nil
			}
			if got := readAll(t, x, q, n); !reflect.DeepEqual(got, all) {
				t.Fatalf("%+v, %d at a time: got\n%+v\nwant\n%+v", q, n, got, all)
			}
			q.Brief = false
		}
	}
}
