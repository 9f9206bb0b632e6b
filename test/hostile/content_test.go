package hostile

import (
	"archive/tar"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/berth-oci/berth/test/harness"
)

// stored wants a manifest taken, shown or not, and given back as it was.
func (h *target) stored(what, repository string, manifest []byte, listed bool) {
	h.t.Helper()
	a := h.ask("PUT", "/v2/"+repository+"/manifests/hostile", manifest, "Content-Type", harness.OCIManifest)
	if a.Status != 201 {
		h.t.Errorf("%s: %d %.300s", what, a.Status, a.Body)
		return
	}
	digest := harness.Digest(manifest)
	if a := h.ask("GET", "/v2/"+repository+"/manifests/"+digest, nil, "Accept", harness.OCIManifest); !bytes.Equal(a.Body, manifest) {
		h.t.Errorf("%s: it comes back as %d, %d bytes", what, a.Status, len(a.Body))
	}
	list, err := h.Listed("?namespace="+repository, "")
	if _, ok := list[repository+"@"+digest]; err != nil || ok != listed {
		h.t.Errorf("%s: listed is %v (%v), want %v", what, ok, err, listed)
	}
}

// layer pushes a layer and returns its descriptor, which says nothing about
// what is in it.
func (h *target) layer(repository string, content []byte) harness.Descriptor {
	h.t.Helper()
	if err := h.PushBlob(repository, content); err != nil {
		h.t.Fatal(err)
	}
	return harness.Describe(harness.OCILayer, content)
}

var kernelLayer = []byte("kernel")

// kernel is a layer that says it is one, so that the image is listed.
func (h *target) kernel(repository string) harness.Descriptor {
	return h.layer(repository, kernelLayer).Marked("org.unikraft.kernel.image", "/unikraft/bin/kernel")
}

func TestManifestSizes(t *testing.T) {
	against(t, func(h *target) {
		const most = 4 << 20
		sized := func(n int) []byte {
			config := harness.Describe(harness.OCIConfig, []byte("{}"))
			padding := func(n int) []byte {
				return harness.ManifestOf(config.Marked("padding", strings.Repeat("x", n)), h.kernel("bad/sizes"))
			}
			return padding(n - len(padding(0)))
		}
		h.layer("bad/sizes", []byte("{}"))
		h.stored("a manifest of 4 MiB", "bad/sizes", sized(most), true)
		for _, n := range []int{most + 1, 5 << 20} {
			body := sized(n)
			h.refused(h.ask("PUT", "/v2/bad/sizes/manifests/x", body, "Content-Type", harness.OCIManifest), fmt.Sprint("a manifest of ", n), 413)
			// In chunks, so that its size is not known before.
			h.refused(h.ask("PUT", "/v2/bad/sizes/manifests/x", io.MultiReader(bytes.NewReader(body)), "Content-Type", harness.OCIManifest), fmt.Sprint("a manifest of ", n, " in chunks"), 413)
		}
		if d, err := h.DigestOf("bad/sizes", "x"); d != "" || err != nil {
			t.Errorf("a manifest that was refused is there (%v)", err)
		}
	})
}

func TestConfigs(t *testing.T) {
	against(t, func(h *target) {
		kernel := h.kernel("bad/config")
		list := strings.Repeat(`"x",`, 12<<20) // 48 MiB
		for what, config := range map[string]string{
			"50 MiB of a list":       `{"config":{"Cmd":[` + list + `"x"]}}`,
			"50 MiB of blanks":       strings.Repeat(" ", 50<<20),
			"not JSON":               "\x7fELF",
			"nothing":                "",
			"an array":               "[1,2]",
			"nested arrays":          strings.Repeat("[", 1<<20),
			"closed arrays":          strings.Repeat("[", 200_000) + strings.Repeat("]", 200_000),
			"nested objects":         `{"config":` + strings.Repeat(`{"a":`, 9_000) + "1" + strings.Repeat("}", 9_001),
			"wrong types":            `{"created":1,"config":{"Cmd":{},"Env":[1],"Labels":[]}}`,
			"a label that is none":   `{"config":{"Labels":{"a":1}}}`,
			"numbers without an end": `{"config":` + strings.Repeat("9", 1<<20) + `}`,
			"many labels":            `{"config":{"Labels":{` + strings.Repeat(`"a":"b",`, 400_000) + `"c":"d"}}}`,
		} {
			h.layer("bad/config", []byte(config))
			h.stored("a config of "+what, "bad/config", harness.ManifestOf(harness.Describe(harness.OCIConfig, []byte(config)), kernel), true)
		}
	})
}

func TestManifests(t *testing.T) {
	against(t, func(h *target) {
		kernel, config := h.kernel("bad/layers"), h.layer("bad/layers", []byte("{}"))
		put := func(body []byte) *harness.Answer {
			return h.ask("PUT", "/v2/bad/layers/manifests/x", body, "Content-Type", harness.OCIManifest)
		}
		same := make([]harness.Descriptor, 10_000)
		missing := make([]harness.Descriptor, 10_000)
		for i := range same {
			same[i], missing[i] = kernel, kernel
			missing[i].Digest = fmt.Sprintf("sha256:%064x", i)
		}
		h.stored("ten thousand times the same layer", "bad/layers", harness.ManifestOf(config, same...), true)
		h.refused(put(harness.ManifestOf(config, missing...)), "ten thousand layers that are not there", 400, 404)
		var most []string // that fit into 4 MiB
		for i := range 49_000 {
			most = append(most, fmt.Sprintf(`{"digest":"sha256:%064x"}`, i))
		}
		h.refused(put(layersOf(strings.Join(most, ","))), "as many missing layers as fit", 400, 404)
		h.refused(put(layersOf(strings.Repeat("{},", 100_000)+"{}")), "a hundred thousand empty layers", 400)
		h.refused(put(layersOf(strings.Repeat("{},", 1<<20)+"{}")), "a million empty layers", 400)
		h.refused(put([]byte(`{"schemaVersion":2,"mediaType":"`+harness.OCIManifest+`","annotations":`+strings.Repeat("[", 1<<20))), "nested arrays", 400)
		h.refused(put([]byte(`{"schemaVersion":2,"mediaType":"`+harness.OCIManifest+`","annotations":`+strings.Repeat(`{"a":`, 20_000)+"1"+strings.Repeat("}", 20_001))), "nested objects", 400)

		// A sparse index: manifests that are not there may come later.
		absent := make([]harness.Descriptor, 10_000)
		for i := range absent {
			absent[i] = harness.Descriptor{MediaType: harness.OCIManifest, Digest: fmt.Sprintf("sha256:%064x", i), Size: 1}
		}
		a := h.ask("PUT", "/v2/bad/layers/manifests/x", harness.IndexOf(absent...), "Content-Type", harness.OCIIndex)
		if a.Status != 201 {
			t.Errorf("an index of what is not there: %d, want 201: it may come", a.Status)
		}
	})
}

func layersOf(layers string) []byte {
	return []byte(`{"schemaVersion":2,"mediaType":"` + harness.OCIManifest + `","layers":[` + layers + "]}")
}

// gzipBomb is first and then 10 GiB of zeros, in 10 MB.
func gzipBomb(first []byte) []byte {
	var head bytes.Buffer
	zw := gzip.NewWriter(&head)
	_, _ = zw.Write(first)
	_ = zw.Flush() // a block ends here, and any other may follow
	return append(head.Bytes(), bytes.Repeat(deflatedZeros(), 640)...)
}

// deflatedZeros are blocks of 16 MiB of zeros, none of them the last.
var deflatedZeros = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	fw, _ := flate.NewWriter(&b, flate.BestCompression)
	_, _ = fw.Write(make([]byte, 16<<20))
	_ = fw.Flush()
	return b.Bytes()
})

// zstdBomb is the same in frames, which may follow each other: 160 GiB.
func zstdBomb(first []byte) []byte {
	zw, _ := zstd.NewWriter(nil)
	frame := zw.EncodeAll(make([]byte, 16<<20), nil)
	return append(zw.EncodeAll(first, nil), bytes.Repeat(frame, 10_000)...)
}

// tarHeader is the header of an entry that goes on for 1 TiB.
func tarHeader(name string) []byte {
	var b bytes.Buffer
	_ = tar.NewWriter(&b).WriteHeader(&tar.Header{Name: name, Size: 1 << 40, Mode: 0o644, Format: tar.FormatGNU})
	return b.Bytes()
}

func TestCompression(t *testing.T) {
	against(t, func(h *target) {
		config := h.layer("bad/bombs", []byte("{}"))
		for what, layer := range map[string][]byte{
			"gzip":             gzipBomb(tarHeader("unikraft/bin/data")),
			"gzip of zeros":    gzipBomb(nil),
			"zstd":             zstdBomb(tarHeader("unikraft/bin/data")),
			"zstd of zeros":    zstdBomb(nil),
			"gzip of nothings": bytes.Repeat(gzipOf(nil), 400_000),
			"broken gzip":      append(gzipOf([]byte("x"))[:12], bytes.Repeat([]byte{0xff}, 1<<20)...),
			"a zstd window":    {0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, 0x01, 0x00, 0x00},
		} {
			h.stored("a layer of "+what, "bad/bombs", harness.ManifestOf(config, h.layer("bad/bombs", layer)), false)
		}
	})
}

// TestBombsTogether has as many bombs as fit into one image.
func TestBombsTogether(t *testing.T) {
	against(t, func(h *target) {
		config := h.layer("bad/bombs", []byte("{}"))
		var layers, children []harness.Descriptor
		for i := range 12 {
			layer := h.layer("bad/bombs", gzipBomb(tarHeader(fmt.Sprint("unikraft/bin/data", i))))
			layers = append(layers, layer)
			manifest := harness.ManifestOf(config, layer)
			children = append(children, harness.Describe(harness.OCIManifest, manifest))
			h.stored("one bomb", "bad/bombs", manifest, false)
		}
		h.stored("twelve bombs", "bad/bombs", harness.ManifestOf(config, layers...), false)
		a := h.ask("PUT", "/v2/bad/bombs/manifests/x", harness.IndexOf(children...), "Content-Type", harness.OCIIndex)
		if a.Status != 201 {
			t.Errorf("an index of twelve bombs: %d %s", a.Status, a.Body)
		}
		// Nothing is remembered of layers that were not looked into before.
		layers = nil
		for i := range 6 {
			layers = append(layers, h.layer("bad/bombs", gzipBomb(tarHeader(fmt.Sprint("unikraft/bin/new", i)))))
		}
		h.stored("six new bombs", "bad/bombs", harness.ManifestOf(config, layers...), false)
	})
}

func gzipOf(content []byte) []byte {
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	_, _ = zw.Write(content)
	_ = zw.Close()
	return b.Bytes()
}

// liar is a tar header with a size field of the caller's.
func liar(name string, size [12]byte) []byte {
	header := make([]byte, 512)
	copy(header, name)
	copy(header[100:], "0000644\x000000000\x000000000\x00")
	copy(header[124:], size[:])
	copy(header[136:], "00000000000\x00        0")
	copy(header[257:], "ustar\x0000")
	sum := 0
	for _, c := range header {
		sum += int(c)
	}
	copy(header[148:], fmt.Sprintf("%06o\x00 ", sum))
	return header
}

func TestArchives(t *testing.T) {
	binarySize := func(n uint64, fill byte) (size [12]byte) {
		for i := range 4 {
			size[i] = fill
		}
		size[0] |= 0x80
		for i := range 8 {
			size[4+i] = byte(n >> (56 - 8*i))
		}
		return size
	}
	octal := func(s string) (size [12]byte) { copy(size[:], s); return size }
	pax := func(records string) []byte {
		header := liar("pax", octal(fmt.Sprintf("%011o", len(records))))
		header[156] = 'x'
		copy(header[148:], "        ")
		sum := 0
		for _, c := range header {
			sum += int(c)
		}
		copy(header[148:], fmt.Sprintf("%06o\x00 ", sum))
		return append(append(header, records...), make([]byte, (512-len(records)%512)%512)...)
	}
	data := "unikraft/bin/data"
	against(t, func(h *target) {
		config := h.layer("bad/tar", []byte("{}"))
		after := liar("unikraft/bin/kernel", octal("00000000000"))
		for what, layer := range map[string][]byte{
			"8 EiB":                    append(liar(data, binarySize(1<<63-1, 0)), after...),
			"a negative size":          append(liar(data, binarySize(1<<64-1, 0xff)), after...),
			"a size that wraps around": append(liar(data, binarySize(1<<63-513, 0)), after...),
			"more than there is":       append(liar(data, octal("77777777777")), after...),
			"a size that is no number": append(liar(data, octal("99999999999")), after...),
			"a cut header":             liar(data, octal("00000000001"))[:300],
			"a PAX size":               append(pax("31 size=9223372036854775000000\n"), after...),
			"a negative PAX size":      append(pax("11 size=-9\n"), after...),
			"a huge PAX record":        append(pax("8000014 path="+strings.Repeat("x", 8_000_000)+"\n"), after...),
			"many PAX records":         append(pax(strings.Repeat("6 a=b\n", 1_000_000)), after...),
			"many PAX headers":         append(bytes.Repeat(pax("9 a=bcde\n"), 20_000), after...),
			"many entries":             append(bytes.Repeat(liar(data, octal("0")), 20_000), after...),
		} {
			h.stored("a tar with "+what, "bad/tar", harness.ManifestOf(config, h.layer("bad/tar", layer)), false)
			zipped := gzipOf(layer)
			h.stored("a compressed tar with "+what, "bad/tar", harness.ManifestOf(config, h.layer("bad/tar", zipped)), false)
		}
	})
}
