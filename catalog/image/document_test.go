package image_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/manifest/ocischema"
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
)

func TestNotUnderstood(t *testing.T) {
	for _, m := range []string{
		"", " ", "{", "null", "[]", "5", `"x"`, "hello", "\xff\xfe", `[{"layers":[]}]`, `{"layers":[}`,
		strings.Repeat("[", 1<<20), strings.Repeat(`{"layers":`, 1<<18),
	} {
		c := newContent()
		same(t, describe(t, c, c.manifest(m)), image.Description{Size: int64(len(m))})
	}
}

// TestWrongFields loses the wrong field and no other.
func TestWrongFields(t *testing.T) {
	c := newContent()
	rom := c.blob([]byte("rom"))
	layer := string(mustJSON(desc(romType, rom)))
	for _, m := range []string{
		`{"mediaType":"` + ociManifest + `","config":5,"layers":[` + layer + `]}`,
		`{"mediaType":"` + ociManifest + `","annotations":[],"schemaVersion":"x","layers":[` + layer + `]}`,
		`{"mediaType":"` + ociManifest + `","annotations":{"a":{"b":[]},"c":null},"layers":[` + layer + `]}`,
		`{"mediaType":"` + ociManifest + `","layers":[5,null,"x",[],{},{"digest":7,"mediaType":{}},` + layer + `]}`,
		`{"mediaType":null,"manifests":null,"layers":[` + layer + `]}`,
		`{"manifests":{},"layers":[` + layer + `]}`,
		`{"mediaType":7,"layers":[` + layer + `]}`,
		`{"layers":[` + strings.Replace(layer, `"size":32`, `"size":"x","platform":3,"annotations":"y"`, 1) + `]}`,
		" \n\t" + `{"layers":[` + layer + `]}` + "\n",
	} {
		d := describe(t, c, c.manifest(m))
		if d.Image == nil || !d.Image.ROM || d.MediaType != ociManifest {
			t.Errorf("%s: got %+v", m, d)
		}
		same(t, d.Blobs, []image.Blob{{Digest: rom, Size: 3}})
	}
}

func TestKinds(t *testing.T) {
	c := newContent()
	child := unikernel(c, "a", object{})
	config := c.blob([]byte("{}"))
	rom := c.blob([]byte("rom"))
	manifests := object{"manifests": []object{desc(ociManifest, child.Digest), desc(ociManifest, child.Digest)}}
	layers := object{"config": desc(ociConfig, config), "layers": []object{desc(romType, rom), desc(romType, rom)}}
	for _, tt := range []struct {
		name, mediaType       string
		fields                []object
		want                  string
		image, blobs, parents bool
	}{
		{"manifest", ociManifest, []object{layers}, ociManifest, true, true, false},
		{"Docker manifest", dockerManifest, []object{layers}, dockerManifest, true, true, false},
		{"index", ociIndex, []object{manifests}, ociIndex, true, false, true},
		{"Docker list", dockerList, []object{manifests}, dockerList, true, false, true},
		{"manifest without a type", "", []object{layers}, ociManifest, true, true, false},
		{"index without a type", "", []object{manifests}, ociIndex, true, false, true},
		{"both without a type", "", []object{manifests, layers}, "", false, true, true},
		{"both, said to be an index", ociIndex, []object{manifests, layers}, ociIndex, true, false, true},
		{"both, said to be a manifest", ociManifest, []object{manifests, layers}, ociManifest, true, true, false},
		{"another type", "application/vnd.example+json", []object{manifests, layers}, "application/vnd.example+json", false, true, true},
		{"empty index", "", []object{{"manifests": []object{}}}, ociIndex, false, false, false},
		{"nothing", "", nil, ociManifest, false, false, false},
		{"null for an empty array", "", []object{{"manifests": nil}}, ociIndex, false, false, false},
		{"null beside layers", "", []object{{"manifests": nil}, layers}, ociManifest, true, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := object{"schemaVersion": 2}
			if tt.mediaType != "" {
				m["mediaType"] = tt.mediaType
			}
			for _, o := range tt.fields {
				for k, v := range o {
					m[k] = v
				}
			}
			d := describe(t, c, c.manifest(m))
			if d.MediaType != tt.want || (d.Image != nil) != tt.image {
				t.Errorf("got %q, image %v", d.MediaType, d.Image)
			}
			if tt.blobs {
				same(t, d.Blobs, []image.Blob{{Digest: config, Size: 2}, {Digest: rom, Size: 3}})
			} else if d.Blobs != nil {
				t.Errorf("blobs are %v", d.Blobs)
			}
			if tt.parents {
				same(t, d.Children, []digest.Digest{child.Digest})
			} else if d.Children != nil {
				t.Errorf("children are %v", d.Children)
			}
		})
	}
}

// TestReadsAsDistribution compares the blobs with what distribution verifies
// when a manifest with unusual and repeated keys is pushed.
func TestReadsAsDistribution(t *testing.T) {
	a, b, x := digest.FromString("a"), digest.FromString("b"), digest.FromString("x")
	for _, fields := range []string{
		`"layers":[{"digest":"A"}]`,
		`"Layers":[{"digest":"A"}]`,
		`"layers":[{"digest":"A"}],"Layers":[{"digest":"B"}]`,
		`"LAYERS":[{"digest":"A"}],"layers":[{"digest":"B"}]`,
		`"layers":[{"digest":"A"},{"digest":"X"}],"layers":[{"digest":"B"}]`,
		`"layers":[{"digest":"A"}],"layers":[{}]`,
		`"layers":[{"digest":"A"}],"layers":[{},{"digest":"B"}]`,
		`"layers":[{"digest":"A"}],"layers":[]`,
		`"layers":[{"digest":"A"}],"layers":null`,
		`"layers":[{"digest":"A"},{"digest":"X"}],"layers":[{}],"layers":[{},{}]`,
		`"layers":[{"digest":"A"},{"digest":"X"},{"digest":"B"}],"layers":[{}],"layers":[{},{},{},{}]`,
		`"layers":[{"digest":"A"},{"digest":"X"}],"layers":[],"layers":[{},{}]`,
		`"layers":[{"digest":"A"}],"layers":[],"layers":[{}]`,
		`"layers":[{"digest":"A"}],"layers":null,"layers":[{}]`,
		`"layers":[{"digest":"A","Digest":"B"}]`,
		`"layers":[{"DIGEST":"A"}]`,
		`"config":{"digest":"X"},"Config":{"digest":"A"}`,
		`"config":{"digest":"X"},"config":{}`,
		`"config":{"digest":"X"},"config":null`,
		`"layers":[null,{"digest":"A"}]`,
	} {
		m := strings.NewReplacer(`"A"`, `"`+a.String()+`"`, `"B"`, `"`+b.String()+`"`, `"X"`, `"`+x.String()+`"`).
			Replace(`{"schemaVersion":2,"mediaType":"` + ociManifest + `",` + fields + `}`)
		var theirs ocischema.DeserializedManifest
		if err := json.Unmarshal([]byte(m), &theirs); err != nil {
			t.Fatalf("%s: %v", fields, err)
		}
		var want []digest.Digest
		for _, ref := range theirs.References() {
			if ref.Digest != "" {
				want = append(want, ref.Digest)
			}
		}
		c := newContent()
		var got []digest.Digest
		for _, blob := range describe(t, c, c.manifest(m)).Blobs {
			got = append(got, blob.Digest)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %v, distribution reads %v", fields, got, want)
		}
	}
}

func TestTenThousandLayers(t *testing.T) {
	for name, mark := range map[string]object{"marked": kernelMark, "unmarked": {}} {
		t.Run(name, func(t *testing.T) {
			c := newContent()
			var layers []object
			for i := range 10_000 {
				layers = append(layers, desc(ociTar, c.blob(fmt.Append(nil, "layer ", i)), mark))
			}
			m := c.image(object{}, append(layers, layers[:10]...)...)
			start := time.Now()
			d := describe(t, c, m)
			inTime(t, time.Since(start), 3*time.Second)
			if len(d.Blobs) != 10_001 {
				t.Errorf("%d blobs", len(d.Blobs))
			}
			for dgst, n := range c.sizes {
				if n != 1 {
					t.Fatalf("asked the size of %s %d times", dgst, n)
				}
			}
		})
	}
}
