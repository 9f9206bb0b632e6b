package test

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
)

// stored wants a manifest taken, shown or not, and given back as it was.
func (h *rawHostile) stored(what, repository string, manifest []byte, listed bool) {
	h.t.Helper()
	a := h.ask("PUT", "/v2/"+repository+"/manifests/hostile", manifest, "Content-Type", rawOCIManifest)
	if a.status != 201 {
		h.t.Errorf("%s: %d %.300s", what, a.status, a.body)
		return
	}
	digest := rawDigest(manifest)
	if a := h.ask("GET", "/v2/"+repository+"/manifests/"+digest, nil, "Accept", rawOCIManifest); !bytes.Equal(a.body, manifest) {
		h.t.Errorf("%s: it comes back as %d, %d bytes", what, a.status, len(a.body))
	}
	list, err := h.listed("?namespace="+repository, "")
	if _, ok := list[repository+"@"+digest]; err != nil || ok != listed {
		h.t.Errorf("%s: listed is %v (%v), want %v", what, ok, err, listed)
	}
}

// layer pushes a layer and returns its descriptor, which says nothing about
// what is in it.
func (h *rawHostile) layer(repository string, content []byte) rawDescriptor {
	h.t.Helper()
	if err := h.pushBlob(repository, content); err != nil {
		h.t.Fatal(err)
	}
	return rawDescribe(rawOCILayer, content)
}

var rawKernelLayer = []byte("kernel")

// kernel is a layer that says it is one, so that the image is listed.
func (h *rawHostile) kernel(repository string) rawDescriptor {
	return h.layer(repository, rawKernelLayer).marked("org.unikraft.kernel.image", "/unikraft/bin/kernel")
}

func TestHostileManifestSizes(t *testing.T) {
	hostile(t, func(h *rawHostile) {
		const most = 4 << 20
		sized := func(n int) []byte {
			config := rawDescribe(rawOCIConfig, []byte("{}"))
			padding := func(n int) []byte {
				return rawManifestOf(config.marked("padding", strings.Repeat("x", n)), h.kernel("bad/sizes"))
			}
			return padding(n - len(padding(0)))
		}
		h.layer("bad/sizes", []byte("{}"))
		h.stored("a manifest of 4 MiB", "bad/sizes", sized(most), true)
		for _, n := range []int{most + 1, 5 << 20} {
			body := sized(n)
			h.refused(h.ask("PUT", "/v2/bad/sizes/manifests/x", body, "Content-Type", rawOCIManifest), fmt.Sprint("a manifest of ", n), 413)
			// In chunks, so that its size is not known before.
			h.refused(h.ask("PUT", "/v2/bad/sizes/manifests/x", io.MultiReader(bytes.NewReader(body)), "Content-Type", rawOCIManifest), fmt.Sprint("a manifest of ", n, " in chunks"), 413)
		}
		if d, err := h.digestOf("bad/sizes", "x"); d != "" || err != nil {
			t.Errorf("a manifest that was refused is there (%v)", err)
		}
	})
}

func TestHostileConfigs(t *testing.T) {
	hostile(t, func(h *rawHostile) {
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
			h.stored("a config of "+what, "bad/config", rawManifestOf(rawDescribe(rawOCIConfig, []byte(config)), kernel), true)
		}
	})
}

func TestHostileManifests(t *testing.T) {
	hostile(t, func(h *rawHostile) {
		kernel, config := h.kernel("bad/layers"), h.layer("bad/layers", []byte("{}"))
		put := func(body []byte) *rawAnswer {
			return h.ask("PUT", "/v2/bad/layers/manifests/x", body, "Content-Type", rawOCIManifest)
		}
		same := make([]rawDescriptor, 10_000)
		missing := make([]rawDescriptor, 10_000)
		for i := range same {
			same[i], missing[i] = kernel, kernel
			missing[i].Digest = fmt.Sprintf("sha256:%064x", i)
		}
		h.stored("ten thousand times the same layer", "bad/layers", rawManifestOf(config, same...), true)
		h.refused(put(rawManifestOf(config, missing...)), "ten thousand layers that are not there", 400, 404)
		var most []string // that fit into 4 MiB
		for i := range 49_000 {
			most = append(most, fmt.Sprintf(`{"digest":"sha256:%064x"}`, i))
		}
		h.refused(put(rawLayersOf(strings.Join(most, ","))), "as many missing layers as fit", 400, 404)
		h.refused(put(rawLayersOf(strings.Repeat("{},", 100_000)+"{}")), "a hundred thousand empty layers", 400)
		h.refused(put(rawLayersOf(strings.Repeat("{},", 1<<20)+"{}")), "a million empty layers", 400)
		h.refused(put([]byte(`{"schemaVersion":2,"mediaType":"`+rawOCIManifest+`","annotations":`+strings.Repeat("[", 1<<20))), "nested arrays", 400)
		h.refused(put([]byte(`{"schemaVersion":2,"mediaType":"`+rawOCIManifest+`","annotations":`+strings.Repeat(`{"a":`, 20_000)+"1"+strings.Repeat("}", 20_001))), "nested objects", 400)

		// A sparse index: manifests that are not there may come later.
		absent := make([]rawDescriptor, 10_000)
		for i := range absent {
			absent[i] = rawDescriptor{MediaType: rawOCIManifest, Digest: fmt.Sprintf("sha256:%064x", i), Size: 1}
		}
		a := h.ask("PUT", "/v2/bad/layers/manifests/x", rawIndexOf(absent...), "Content-Type", rawOCIIndex)
		if a.status != 201 {
			t.Errorf("an index of what is not there: %d, want 201: it may come", a.status)
		}
	})
}

func rawLayersOf(layers string) []byte {
	return []byte(`{"schemaVersion":2,"mediaType":"` + rawOCIManifest + `","layers":[` + layers + "]}")
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

func TestHostileCompression(t *testing.T) {
	hostile(t, func(h *rawHostile) {
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
			h.stored("a layer of "+what, "bad/bombs", rawManifestOf(config, h.layer("bad/bombs", layer)), false)
		}
	})
}

// TestHostileBombsTogether has as many bombs as fit into one image.
func TestHostileBombsTogether(t *testing.T) {
	hostile(t, func(h *rawHostile) {
		config := h.layer("bad/bombs", []byte("{}"))
		var layers, children []rawDescriptor
		for i := range 12 {
			layer := h.layer("bad/bombs", gzipBomb(tarHeader(fmt.Sprint("unikraft/bin/data", i))))
			layers = append(layers, layer)
			manifest := rawManifestOf(config, layer)
			children = append(children, rawDescribe(rawOCIManifest, manifest))
			h.stored("one bomb", "bad/bombs", manifest, false)
		}
		h.stored("twelve bombs", "bad/bombs", rawManifestOf(config, layers...), false)
		a := h.ask("PUT", "/v2/bad/bombs/manifests/x", rawIndexOf(children...), "Content-Type", rawOCIIndex)
		if a.status != 201 {
			t.Errorf("an index of twelve bombs: %d %s", a.status, a.body)
		}
		// Nothing is remembered of layers that were not looked into before.
		layers = nil
		for i := range 6 {
			layers = append(layers, h.layer("bad/bombs", gzipBomb(tarHeader(fmt.Sprint("unikraft/bin/new", i)))))
		}
		h.stored("six new bombs", "bad/bombs", rawManifestOf(config, layers...), false)
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

func TestHostileArchives(t *testing.T) {
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
	hostile(t, func(h *rawHostile) {
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
			h.stored("a tar with "+what, "bad/tar", rawManifestOf(config, h.layer("bad/tar", layer)), false)
			zipped := gzipOf(layer)
			h.stored("a compressed tar with "+what, "bad/tar", rawManifestOf(config, h.layer("bad/tar", zipped)), false)
		}
	})
}
