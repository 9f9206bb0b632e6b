package image_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/berth-oci/berth/catalog/image"
)

// FuzzLayer looks into any layer, of each form that there is: what it holds, it
// holds under every name of the form.
func FuzzLayer(f *testing.F) {
	plain := tarOf(dir("unikraft/"), reg("unikraft/bin/kernel"), reg("/unikraft/bin/initrd"))
	for _, layer := range [][]byte{
		plain, tarOf(reg("./unikraft/bin/kernel")), tarOf(reg("bin/sh")), plain[:600], append(plain[:512:512], plain...), nil, make([]byte, 2048),
		[]byte("070701" + strings.Repeat("0", 104) + "kernel\x00"), {0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, 0x01, 0x00, 0x00}, {0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0, 0xff, 0xff},
	} {
		f.Add(layer)
		f.Add(gzipped(layer))
		f.Add(zstded(layer))
		f.Add(append(gzipped(layer), gzipped(plain)...))
	}
	f.Fuzz(func(t *testing.T, layer []byte) {
		c := newContent()
		config := c.blob([]byte("{}"))
		d := c.blob(layer)
		var found []string
		for _, mediaType := range []string{ociTar, ociTar + "+gzip", ociTar + "+zstd", "application/octet-stream"} {
			m := c.manifest([]byte(`{"schemaVersion":2,"mediaType":"` + ociManifest + `","config":{"digest":"` + config.String() +
				`"},"layers":[{"mediaType":"` + mediaType + `","digest":"` + d.String() + `"}]}`))
			start := time.Now()
			described := describe(t, c, m)
			inTime(t, time.Since(start), 5*time.Second)
			if described.Image == nil {
				continue
			}
			p := described.Image.Platforms[0]
			found = append(found, strings.Join([]string{boolean(p.Kernel != nil), boolean(p.Initrd != nil)}, " "))
			if p.Kernel != nil && (p.Kernel.Digest != d || p.Kernel.Size != int64(len(layer))) {
				t.Errorf("the kernel is %+v", p.Kernel)
			}
		}
		for _, one := range found {
			if one != found[0] {
				t.Errorf("it holds %q", found)
			}
		}
	})
}

func boolean(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// FuzzConfig reads any config of an image: what is kept of it can be written,
// and is not larger than it may be.
func FuzzConfig(f *testing.F) {
	for _, config := range []string{
		`{"created":"2026-07-01T12:00:00Z","os":"fc","architecture":"x86_64","config":{"Env":["A=1","B","=","A=2"],"Cmd":["a.b=[","]","--","x y"],"Labels":{"a":"b"}}}`,
		`{"created":"0000-00-00","config":{"Entrypoint":["/a"],"Cmd":["--"],"Env":null,"Labels":[]}}`, `{"config":{"Cmd":"sh","Entrypoint":[1]}}`,
		`{"config":[],"os":7}`, "null", "{", `{"os":"` + strings.Repeat("x", 200) + `"}`, "\xff", `{"config":{"Labels":{"a":1}}}`, `{"CONFIG":{"cmd":["a"]},"config":{"Cmd":["b"]}}`,
	} {
		f.Add([]byte(config))
	}
	f.Fuzz(func(t *testing.T, config []byte) {
		c := newContent()
		kernel := c.blob([]byte("kernel"))
		m := c.manifest([]byte(`{"schemaVersion":2,"mediaType":"` + ociManifest + `","config":{"digest":"` + c.blob(config).String() +
			`"},"layers":[{"digest":"` + kernel.String() + `","annotations":{"org.unikraft.kernel.image":"x"}}]}`))
		d := describe(t, c, m)
		if d.Image == nil || !d.Image.Kernel {
			t.Fatalf("a config hides the kernel: %+v", d)
		}
		if text, err := json.Marshal(d); err != nil || len(text) > 10*len(config)+4096 {
			t.Errorf("a config of %d bytes becomes %d, %v", len(config), len(text), err)
		}
	})
}

// FuzzReferrer reads any manifest as one that refers to another, and as an index
// of such: what a list shows of it is bounded, and can be written.
func FuzzReferrer(f *testing.F) {
	subject := `"subject":{"digest":"` + sha + `22d20782da8fc660522f61fd6d05deb645f606f9aa6cd18023118cb942783ed2"}`
	for _, body := range []string{
		`{"schemaVersion":2,"artifactType":"a/b",` + subject + `,"annotations":{"a":"b","c":"d"}}`, `{` + subject + `,"annotations":{"a":1}}`,
		`{"config":{"mediaType":"a/b"},` + subject + `,"annotations":[]}`, `{` + subject + `,"annotations":{` + strings.Repeat(`"a":"b",`, 2000) + `"c":"d"}}`,
		`{"manifests":[{"digest":"` + sha + `22d20782da8fc660522f61fd6d05deb645f606f9aa6cd18023118cb942783ed2","artifactType":"a/b","annotations":{"a":"b"}},null,{"digest":7}]}`, "[]",
		`{"config":{"mediaType":"a/` + strings.Repeat("\xa9", 60) + `"}}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		artifactType, annotations := image.Read(body).Referrer()
		const replaced = 3 // bytes that stand for one that is no UTF-8
		if size := len(artifactType); size > replaced*len(body) {
			t.Errorf("an artifact type of %d bytes", size)
		}
		if _, err := json.Marshal(annotations); err != nil {
			t.Error(err)
		}
		for _, d := range image.Descriptors(body) {
			if _, err := json.Marshal(d); err != nil {
				t.Error(err)
			}
		}
	})
}
