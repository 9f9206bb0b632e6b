package image_test

import (
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
)

// unikernel is a stored manifest with a kernel of its own, and its config.
func unikernel(c *memContent, name string, config object) image.Manifest {
	return c.image(config, desc(ociTar, c.blob([]byte("kernel of "+name)), kernelMark))
}

func TestPlatformChoice(t *testing.T) {
	for _, tt := range []struct {
		platforms []string
		want      int
	}{
		{[]string{"linux/amd64"}, 0},
		{[]string{"/", "/"}, 0},
		{[]string{"linux/amd64", "xen/x86_64"}, 1},
		{[]string{"xen/x86_64", "qemu/arm64"}, 1},
		{[]string{"qemu/x86_64", "fc/arm64"}, 1},
		{[]string{"fc/x86_64", "kraftcloud/arm64"}, 1},
		{[]string{"kraftcloud/arm64", "kraftcloud/x86_64"}, 1},
		{[]string{"xen/x86_64", "qemu/x86_64", "fc/x86_64", "kraftcloud/arm64", "kraftcloud/x86_64"}, 4},
		{[]string{"qemu/x86_64", "qemu/arm64"}, 0},
		{[]string{"qemu/arm64", "qemu/x86_64"}, 0},
		{[]string{"fc/arm64", "qemu/x86_64", "fc/x86_64"}, 0},
	} {
		c := newContent()
		var children []object
		var wantPlatforms []string
		for i, p := range tt.platforms {
			var os, arch string
			for j := range p {
				if p[j] == '/' {
					os, arch = p[:j], p[j+1:]
				}
			}
			cmd := object{"config": object{"Cmd": []string{fmt.Sprint(i)}}}
			// Every second is named by its config.
			more := on(os, arch)
			if i%2 == 1 {
				more = object{}
				cmd["os"], cmd["architecture"] = os, arch
			}
			m := unikernel(c, fmt.Sprint(i), cmd)
			children = append(children, desc(ociManifest, m.Digest, more))
			wantPlatforms = append(wantPlatforms, p)
		}
		image := mustImage(t, c, c.index(children...))
		if len(image.Args) != 1 || image.Args[0] != fmt.Sprint(tt.want) {
			t.Errorf("%v: chose %v, want %d", tt.platforms, image.Args, tt.want)
		}
		for i, p := range image.Platforms {
			if got := p.OS + "/" + p.Architecture; got != wantPlatforms[i] {
				t.Errorf("platform %d is %s, want %s", i, got, wantPlatforms[i])
			}
		}
	}
}

// TestChoiceAmongUnikernels passes over a better platform that is none.
func TestChoiceAmongUnikernels(t *testing.T) {
	c := newContent()
	shell := c.image(object{"config": object{"Cmd": []string{"sh"}}}, desc(ociTar, c.blob(tarOf(reg("bin/sh")))))
	kernel := unikernel(c, "a", object{"config": object{"Cmd": []string{"app"}}})
	image := mustImage(t, c, c.index(
		desc(ociManifest, shell.Digest, on("kraftcloud", "x86_64")),
		desc(ociManifest, kernel.Digest, on("linux", "amd64"))))
	if len(image.Platforms) != 2 || image.Args[0] != "app" {
		t.Errorf("got %+v", image)
	}
}

func TestBareManifestPlatform(t *testing.T) {
	c := newContent()
	m := unikernel(c, "a", object{"os": "fc", "architecture": "arm64"})
	image := mustImage(t, c, m)
	if len(image.Platforms) != 1 {
		t.Fatalf("got %d platforms, want 1", len(image.Platforms))
	}
	if p := image.Platforms[0]; p.Digest != m.Digest || p.OS != "fc" || p.Architecture != "arm64" || p.ROMs == nil {
		t.Errorf("got %+v", p)
	}
}

func TestDockerImages(t *testing.T) {
	c := newContent()
	config := c.blob(mustJSON(object{
		"created": "2024-02-03T04:05:06.789+01:00",
		"config":  object{"Env": []string{"A=b"}, "Cmd": []string{"/app"}},
	}))
	layer := c.blob(gzipped(tarOf(dir("unikraft/"), reg("unikraft/bin/kernel"), reg("unikraft/bin/initrd"))))
	m := c.manifest(object{
		"schemaVersion": 2, "mediaType": dockerManifest,
		"config": desc("application/vnd.docker.container.image.v1+json", config),
		"layers": []object{desc(dockerTar, layer)},
	})
	list := c.manifest(object{
		"schemaVersion": 2, "mediaType": dockerList,
		"manifests": []object{desc(dockerManifest, m.Digest, on("linux", "amd64"))},
	})
	for _, m := range []image.Manifest{m, list} {
		d := describe(t, c, m)
		if d.Image == nil {
			t.Fatal("no image")
		}
		p := d.Image.Platforms[0]
		if p.Kernel == nil || p.Initrd == nil || p.Kernel.Digest != layer || p.Initrd.Digest != layer || p.Kernel.MediaType != dockerTar {
			t.Errorf("got kernel %+v and initrd %+v", p.Kernel, p.Initrd)
		}
		size := int64(len(c.blobs[layer]))
		if d.Image.Size != size || p.Size != size || p.Kernel.Size != size {
			t.Errorf("sizes are %d, %d, %d, want %d", d.Image.Size, p.Size, p.Kernel.Size, size)
		}
		if got := d.Image.Created.Format("2006-01-02T15:04:05.999Z07:00"); got != "2024-02-03T03:05:06.789Z" {
			t.Errorf("created %s", got)
		}
	}
	if d := describe(t, c, list); len(d.Blobs) != 0 || len(d.Children) != 1 || d.MediaType != dockerList {
		t.Errorf("the list is %+v", d)
	}
}

func TestNestedIndex(t *testing.T) {
	c := newContent()
	a, b, z := unikernel(c, "a", object{}), unikernel(c, "b", object{}), unikernel(c, "z", object{})
	inner := c.index(desc(ociManifest, b.Digest, on("fc", "x86_64")))
	outer := c.index(
		desc(ociManifest, a.Digest, on("qemu", "x86_64")),
		desc(ociIndex, inner.Digest),
		desc(ociManifest, z.Digest, on("xen", "x86_64")))
	d := describe(t, c, outer)
	var got []string
	for _, p := range d.Image.Platforms {
		got = append(got, p.OS)
	}
	if fmt.Sprint(got) != "[qemu fc xen]" {
		t.Errorf("platforms are %v", got)
	}
	if len(d.Children) != 3 || d.Children[1] != inner.Digest {
		t.Errorf("children are %v", d.Children)
	}
}

func TestNestedTooDeep(t *testing.T) {
	for depth, want := range map[int]bool{1: true, 4: true, 5: false, 9: false} {
		c := newContent()
		m := unikernel(c, "a", object{})
		for range depth {
			m = c.index(desc(ociManifest, m.Digest))
		}
		if got := describe(t, c, m).Image != nil; got != want {
			t.Errorf("below %d indexes: found is %v, want %v", depth, got, want)
		}
	}
}

// TestIndexOfItself cannot exist by its digest, but storage may be damaged.
func TestIndexOfItself(t *testing.T) {
	c := newContent()
	k := unikernel(c, "a", object{})
	dgst := digest.FromString("itself")
	m := image.Manifest{Digest: dgst, Bytes: mustJSON(object{
		"mediaType": ociIndex,
		"manifests": []object{desc(ociIndex, dgst), desc(ociIndex, dgst), desc(ociManifest, k.Digest)},
	})}
	c.manifests[dgst] = m.Bytes
	if n := len(mustImage(t, c, m).Platforms); n == 0 || n > 512 {
		t.Errorf("%d platforms", n)
	}
}

func TestSparseIndex(t *testing.T) {
	c := newContent()
	gone := digest.FromString("gone")
	k := unikernel(c, "a", object{"os": "fc"})
	broken := c.manifest("{")
	d := describe(t, c, c.index(
		desc(ociManifest, gone, on("kraftcloud", "x86_64")),
		desc(ociIndex, digest.FromString("an index, gone")),
		desc(ociManifest, k.Digest),
		desc(ociManifest, broken.Digest, on("qemu", "arm")),
		desc(ociManifest, k.Digest, on("qemu", "x86_64"))))
	if len(d.Children) != 4 {
		t.Errorf("children are %v, want 4", d.Children)
	}
	if d.Image == nil || len(d.Image.Platforms) != 4 {
		t.Fatalf("got %+v, want 4 platforms", d.Image)
	}
	same(t, d.Image.Platforms[0], image.Platform{Digest: gone, OS: "kraftcloud", Architecture: "x86_64", ROMs: []image.Part{}})
	same(t, d.Image.Platforms[2], image.Platform{Digest: broken.Digest, OS: "qemu", Architecture: "arm", ROMs: []image.Part{}})
	if got := d.Image.Platforms[1].OS; got != "fc" {
		t.Errorf("the config's operating system is %q", got)
	}

	d = describe(t, c, c.index(desc(ociManifest, gone, on("kraftcloud", "x86_64"))))
	if d.Image != nil || len(d.Children) != 1 {
		t.Errorf("an index of nothing stored: %+v", d)
	}
}

func TestManyChildren(t *testing.T) {
	c := newContent()
	var children []object
	for i := range 600 {
		children = append(children, desc(ociManifest, unikernel(c, fmt.Sprint(i), object{}).Digest))
	}
	d := describe(t, c, c.index(children...))
	if len(d.Children) != 600 || len(d.Image.Platforms) != 512 {
		t.Errorf("%d children and %d platforms, want 600 and 512", len(d.Children), len(d.Image.Platforms))
	}
}

func TestCreated(t *testing.T) {
	at := func(s string) object {
		return object{"annotations": object{"org.opencontainers.image.created": s}}
	}
	for _, tt := range []struct {
		name            string
		config          any
		manifest, index string
		want            string
	}{
		{"config", "2021-01-01T00:00:00Z", "2022-01-01T00:00:00Z", "2023-01-01T00:00:00Z", "2021-01-01T00:00:00Z"},
		{"config with a zone", "2021-01-01T01:00:00+02:00", "", "", "2020-12-31T23:00:00Z"},
		{"manifest", nil, "2022-01-01T00:00:00Z", "2023-01-01T00:00:00Z", "2022-01-01T00:00:00Z"},
		{"config is not a time", "yesterday", "2022-01-01T00:00:00Z", "", "2022-01-01T00:00:00Z"},
		{"config is not a string", 5, "2022-01-01T00:00:00Z", "", "2022-01-01T00:00:00Z"},
		{"config is the zero time", "0001-01-01T00:00:00Z", "2022-01-01T00:00:00Z", "", "2022-01-01T00:00:00Z"},
		{"config leaves four digits", "9999-12-31T23:59:59-10:00", "2022-01-01T00:00:00Z", "", "2022-01-01T00:00:00Z"},
		{"index", nil, "", "2023-01-01T00:00:00Z", "2023-01-01T00:00:00Z"},
		{"manifest is not a time", nil, "x", "2023-01-01T00:00:00Z", "2023-01-01T00:00:00Z"},
		{"none", nil, "", "", "2025-05-04T01:02:01Z"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newContent()
			config := object{}
			if tt.config != nil {
				config["created"] = tt.config
			}
			manifest := at(tt.manifest)
			manifest["mediaType"] = ociManifest
			manifest["config"] = desc(ociConfig, c.blob(mustJSON(config)))
			manifest["layers"] = []object{desc(romType, c.blob([]byte("rom")))}
			index := at(tt.index)
			index["mediaType"] = ociIndex
			index["manifests"] = []object{desc(ociManifest, c.manifest(manifest).Digest)}
			got := mustImage(t, c, c.manifest(index)).Created
			if got.Format("2006-01-02T15:04:05Z07:00") != tt.want || got.Location().String() != "UTC" {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
