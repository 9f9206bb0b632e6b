package image_test

import (
	"archive/tar"
	"bytes"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
)

// boots says in short what a platform has: k for a kernel, i for an initrd and
// r for each ROM, each followed by the position of its layer.
func boots(p image.Platform, layers []object) string {
	at := func(part image.Part) string {
		return string(rune('0' + slices.IndexFunc(layers, func(o object) bool {
			return o["digest"] == part.Digest && o["mediaType"] == part.MediaType
		})))
	}
	s := ""
	if p.Kernel != nil {
		s += "k" + at(*p.Kernel)
	}
	if p.Initrd != nil {
		s += "i" + at(*p.Initrd)
	}
	for _, rom := range p.ROMs {
		s += "r" + at(rom)
	}
	return s
}

// bootsOf describes an image of the layers; it is empty for no unikernel.
func bootsOf(t *testing.T, c *memContent, layers ...object) string {
	t.Helper()
	d := describe(t, c, c.image(object{}, layers...))
	if d.Image == nil {
		return ""
	}
	got := boots(d.Image.Platforms[0], layers)
	var want string
	for i, has := range []bool{d.Image.Kernel, d.Image.Initrd, d.Image.ROM} {
		if has {
			want += string("kir"[i])
		}
	}
	for _, part := range want {
		if !bytes.ContainsRune([]byte(got), part) {
			t.Errorf("the image has %s, its platform %s", want, got)
		}
	}
	return got
}

func TestMarks(t *testing.T) {
	c := newContent()
	blob := func(s string) digest.Digest { return c.blob([]byte(s)) }
	kernelTar := c.blob(tarOf(reg("unikraft/bin/kernel")))
	both := annotated("org.unikraft.kernel.image", "/unikraft/bin/kernel", "org.unikraft.kernel.initrd", "/unikraft/bin/initrd")
	for _, tt := range []struct {
		name   string
		layers []object
		want   string
	}{
		{"annotations", []object{desc(ociTar, blob("k"), kernelMark), desc(ociTar, blob("i"), initrdMark)}, "k0i1"},
		{"annotation on gzip", []object{desc(ociTar+"+gzip", blob("k"), kernelMark)}, "k0"},
		{"annotation on Docker's type", []object{desc(dockerTar, blob("k"), kernelMark)}, "k0"},
		{"annotation with another path", []object{desc(ociTar, blob("k"), annotated("org.unikraft.kernel.image", "/boot/vmlinux"))}, "k0"},
		{"annotation that is no string", []object{desc(ociTar, blob("k"), object{"annotations": object{"org.unikraft.kernel.image": 1}})}, ""},
		{"annotation in capitals", []object{desc(ociTar, blob("k"), annotated("ORG.UNIKRAFT.KERNEL.IMAGE", "x"))}, ""},
		{"both on one layer", []object{desc(ociTar, blob("k"), both)}, "k0i0"},
		{"the first of two kernels", []object{desc(ociTar, blob("k"), kernelMark), desc(ociTar, blob("l"), kernelMark)}, "k0"},
		{"debug kernel", []object{desc(ociTar, blob("d"), debugMark), desc(ociTar, blob("k"), kernelMark)}, "k1"},
		{"debug kernel marked as kernel too", []object{desc(ociTar, blob("d"), annotated("org.unikraft.kernel.imagedbg", "", "org.unikraft.kernel.image", ""))}, ""},
		{"a mark ends the looking", []object{desc(ociTar, kernelTar), desc(ociTar, blob("d"), debugMark)}, ""},
		{"kernel type", []object{desc("application/vnd.unikraft.kernel.v1", blob("k"))}, "k0"},
		{"kernel type, gzip", []object{desc("application/vnd.unikraft.kernel.v1+gzip", blob("k"))}, "k0"},
		{"older kernel type", []object{desc("application/vnd.unikraft.image.v1", blob("k"))}, "k0"},
		{"initrd type", []object{desc("application/vnd.unikraft.initrd.v1", blob("i"))}, "i0"},
		{"initrd type, zstd", []object{desc("application/vnd.unikraft.initrd.v1+zstd", blob("i"))}, "i0"},
		{"roms", []object{desc(romType, blob("1")), desc(ociTar, blob("i"), initrdMark), desc(romType+"+gzip", blob("2"))}, "i1r0r2"},
		{"unknown type", []object{desc("application/vnd.unikraft.kernel.v2", blob("k"))}, ""},
		{"a blob that is not stored", []object{desc(ociTar, digest.FromString("gone"), kernelMark)}, "k0"},
		{"no digest", []object{desc(ociTar, "", kernelMark), desc(ociTar, "sha256:xyz", kernelMark)}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clear(c.opens)
			if got := bootsOf(t, c, tt.layers...); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestUnmarkedLayers(t *testing.T) {
	type layer = []file
	link := file{name: "unikraft/bin/kernel", kind: tar.TypeLink}
	symlink := file{name: "unikraft/bin/kernel", kind: tar.TypeSymlink}
	pax := file{kind: tar.TypeXGlobalHeader}
	long := "unikraft/" + string(bytes.Repeat([]byte("x/"), 200)) + "x"
	for _, tt := range []struct {
		name   string
		layers []layer
		want   string
	}{
		{"plain paths", []layer{{reg("unikraft/bin/kernel")}, {reg("unikraft/bin/initrd")}, {reg("unikraft/bin/rom")}}, "k0i1r2"},
		{"leading slash", []layer{{reg("/unikraft/bin/kernel")}, {reg("/unikraft/bin/initrd")}}, "k0i1"},
		{"leading dot", []layer{{dir("./"), dir("./unikraft/"), dir("./unikraft/bin/"), reg("./unikraft/bin/kernel")}}, "k0"},
		{"directories", []layer{{dir("unikraft/"), dir("unikraft/bin/"), reg("unikraft/bin/initrd")}}, "i0"},
		{"one layer holds both", []layer{{reg("unikraft/bin/initrd"), reg("unikraft/bin/kernel")}}, "k0i0"},
		{"all three", []layer{{reg("unikraft/bin/initrd"), reg("unikraft/bin/rom"), reg("unikraft/bin/kernel")}}, "k0i0r0"},
		{"debug kernel", []layer{{reg("unikraft/bin/kernel.dbg")}, {reg("unikraft/bin/kernel")}}, "k1"},
		{"only a debug kernel", []layer{{reg("unikraft/bin/kernel.dbg")}}, ""},
		{"others below unikraft", []layer{{reg("unikraft/notes"), reg("unikraft/bin/.wh.kernel"), reg(long), reg("unikraft/bin/kernel")}}, "k0"},
		{"pax header", []layer{{pax, reg("unikraft/bin/kernel")}}, "k0"},
		{"hard link", []layer{{reg("unikraft/bin/other"), link}}, "k0"},
		{"symbolic link", []layer{{symlink}}, ""},
		{"directory named kernel", []layer{{dir("unikraft/bin/kernel/")}}, ""},
		{"ordinary container", []layer{{dir("bin/"), reg("bin/sh")}, {reg("unikraft/bin/kernel")}}, ""},
		{"ordinary after a kernel", []layer{{reg("unikraft/bin/kernel")}, {reg("etc/passwd")}, {reg("unikraft/bin/initrd")}}, "k0"},
		{"ordinary in the layer of the kernel", []layer{{reg("unikraft/bin/kernel"), reg("etc/passwd"), reg("unikraft/bin/initrd")}}, "k0"},
		{"climbing out", []layer{{reg("unikraft/../etc/passwd"), reg("unikraft/bin/kernel")}}, ""},
		{"similar name", []layer{{reg("unikraft2/bin/kernel")}, {reg("unikraft/bin/kernel")}}, ""},
		{"empty archive", []layer{{}, {reg("unikraft/bin/kernel")}}, "k1"},
	} {
		for _, compression := range []struct {
			name string
			do   func([]byte) []byte
		}{
			{"plain", func(b []byte) []byte { return b }},
			{"gzip", gzipped},
			{"zstd", zstded},
			{"skippable zstd", func(b []byte) []byte {
				return append([]byte("\x5a\x2a\x4d\x18\x03\x00\x00\x00abc"), zstded(b)...)
			}},
			{"gzip in members", func(b []byte) []byte { return append(gzipped(b[:700]), gzipped(b[700:])...) }},
		} {
			t.Run(tt.name+"/"+compression.name, func(t *testing.T) {
				c := newContent()
				var layers []object
				for _, files := range tt.layers {
					// The media type names a compression that it is not.
					layers = append(layers, desc(dockerTar, c.blob(compression.do(tarOf(files...)))))
				}
				if got := bootsOf(t, c, layers...); got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			})
		}
	}
}

// TestTarTypes looks into layers of every type that is a tar archive, and of
// no other.
func TestTarTypes(t *testing.T) {
	for mediaType, want := range map[string]string{
		ociTar:           "k0",
		ociTar + "+gzip": "k0",
		ociTar + "+zstd": "k0",
		"application/vnd.oci.image.layer.nondistributable.v1.tar":      "k0",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": "k0",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": "k0",
		"application/vnd.docker.image.rootfs.diff.tar":                 "k0",
		"application/vnd.docker.image.rootfs.diff.tar.gzip":            "k0",
		"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip":    "k0",
		"application/vnd.cncf.helm.chart.content.v1.tar+gzip":          "",
		"application/octet-stream":                                     "",
		"":                                                             "",
	} {
		c := newContent()
		dgst := c.blob(tarOf(reg("unikraft/bin/kernel")))
		if got := bootsOf(t, c, desc(mediaType, dgst)); got != want {
			t.Errorf("%s: got %q, want %q", mediaType, got, want)
		}
		if want == "" && c.opens[dgst] != 0 {
			t.Errorf("%s: was opened", mediaType)
		}
	}
}

// TestDamagedLayers finds what stands before the damage, and goes on with the
// next layer.
func TestDamagedLayers(t *testing.T) {
	kernel := tarOf(reg("unikraft/bin/kernel"), reg("unikraft/bin/initrd"))
	flipped := slices.Clone(kernel)
	flipped[1024+100] ^= 0xff
	for _, tt := range []struct {
		name string
		blob []byte
		want string
	}{
		{"empty", nil, "i1"},
		{"three bytes", []byte("abc"), "i1"},
		{"text", bytes.Repeat([]byte("not a tar archive\n"), 1000), "i1"},
		{"zeros", make([]byte, 1<<20), "i1"},
		{"cut in a header", kernel[:600], "k0i1"},
		{"cut in content", kernel[:520], "k0i1"},
		{"cut in the first header", kernel[:300], "i1"},
		{"second header damaged", flipped, "k0i1"},
		{"gzip cut off", gzipped(kernel)[:20], "i1"},
		{"gzip magic only", []byte{0x1f, 0x8b, 8, 0}, "i1"},
		{"zstd magic only", []byte{0x28, 0xb5, 0x2f, 0xfd}, "i1"},
		{"zstd cut off", zstded(kernel)[:20], "i1"},
		{"gzip in gzip", gzipped(gzipped(kernel)), "i1"},
		{"xz", []byte{0xfd, '7', 'z', 'X', 'Z', 0, 1, 2, 3}, "i1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newContent()
			layers := []object{
				desc(ociTar, c.blob(tt.blob)),
				desc(ociTar, c.blob(tarOf(reg("unikraft/bin/initrd"), reg("unikraft/second")))),
			}
			if got := bootsOf(t, c, layers...); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestOrdinaryContainerStopsEarly counts what is read of an image whose first
// header shows that it is no unikernel.
func TestOrdinaryContainerStopsEarly(t *testing.T) {
	big := file{name: "usr/lib/big", kind: tar.TypeReg, data: string(randomBytes(8 << 20))}
	for name, compress := range map[string]func([]byte) []byte{"plain": slices.Clone[[]byte], "gzip": gzipped, "zstd": zstded} {
		t.Run(name, func(t *testing.T) {
			c := newContent()
			first := c.blob(compress(tarOf(big, reg("unikraft/bin/kernel"))))
			second := c.blob(compress(tarOf(reg("unikraft/bin/kernel"))))
			config := object{"config": object{}}
			m := c.image(config, desc(ociTar, first), desc(ociTar, second))
			if d := describe(t, c, m); d.Image != nil {
				t.Errorf("it is an image: %+v", d.Image)
			}
			if c.opens[second] != 0 {
				t.Error("the second layer was opened")
			}
			if c.opens[digest.FromBytes(mustJSON(config))] != 0 {
				t.Error("the config was opened")
			}
			if limit := int64(256 << 10); c.read > limit {
				t.Errorf("read %d bytes, want at most %d", c.read, limit)
			}
		})
	}
}

// TestPlainTarIsSeeked reads headers only.
func TestPlainTarIsSeeked(t *testing.T) {
	c := newContent()
	big := file{name: "unikraft/bin/initrd", kind: tar.TypeReg, data: string(randomBytes(8 << 20))}
	if got := bootsOf(t, c, desc(ociTar, c.blob(tarOf(big, reg("unikraft/bin/kernel"))))); got != "k0i0" {
		t.Errorf("got %q", got)
	}
	if c.read > 16<<10 {
		t.Errorf("read %d bytes", c.read)
	}
}

func TestMemory(t *testing.T) {
	c, memory := newContent(), newMemory()
	both := c.blob(gzipped(tarOf(reg("unikraft/bin/kernel"), reg("unikraft/bin/initrd"))))
	shell := c.blob(gzipped(tarOf(reg("bin/sh"))))
	m := c.image(object{}, desc(ociTar, both), desc(ociTar, shell))
	var first image.Description
	for i := range 3 {
		d, err := whole(t.Context(), m, c, memory)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = d
		}
		same(t, d, first)
	}
	if c.opens[both] != 1 || c.opens[shell] != 1 {
		t.Errorf("opened the layers %d and %d times, want once each", c.opens[both], c.opens[shell])
	}
	if p := memory.parts[both] & 0xf; p != image.PartKernel|image.PartInitrd {
		t.Errorf("remembers %b of the first layer", p)
	}
	if p := memory.parts[shell] & 0xf; p != image.PartOther {
		t.Errorf("remembers %b of the second layer", p)
	}
}

// TestMemoryOfOthers does not tell a repository about a layer that only
// another one holds.
func TestMemoryOfOthers(t *testing.T) {
	c, memory := newContent(), newMemory()
	layer := digest.FromString("in another repository")
	memory.Remember(layer, image.PartKernel)
	d, err := whole(t.Context(), c.image(object{}, desc(ociTar, layer)), c, memory)
	if err != nil || d.Image != nil {
		t.Errorf("got %+v, %v; want no image", d.Image, err)
	}
}

func TestMaxLayersLookedInto(t *testing.T) {
	for n, want := range map[int]bool{63: true, 64: false} {
		c := newContent()
		var layers []object
		for i := range n {
			layers = append(layers, desc(ociTar, c.blob(tarOf(reg("unikraft/"+string(rune('a'+i)))))))
		}
		layers = append(layers, desc(ociTar, c.blob(tarOf(reg("unikraft/bin/kernel")))))
		if got := describe(t, c, c.image(object{}, layers...)).Image != nil; got != want {
			t.Errorf("a kernel behind %d layers: found is %v, want %v", n, got, want)
		}
	}
}
