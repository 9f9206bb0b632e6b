package image_test

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
)

// patched is a tar header for a regular file, with changes and a checksum that
// is right again.
func patched(name string, change func(block []byte)) []byte {
	block := tarOf(file{name: name, kind: tar.TypeReg})[:512]
	change(block)
	copy(block[148:156], "        ")
	sum := 0
	for _, c := range block {
		sum += int(c)
	}
	copy(block[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return block
}

// claims is a header that claims a size.
func claims(name string, size int64) []byte {
	return patched(name, func(block []byte) {
		copy(block[124:], "\x80\x00\x00\x00")
		if size < 0 {
			copy(block[124:], "\xff\xff\xff\xff")
		}
		binary.BigEndian.PutUint64(block[124+4:], uint64(size))
	})
}

// special is a header of a PAX or GNU extension with its data.
func special(kind byte, data []byte) []byte {
	block := patched("unikraft/x", func(block []byte) {
		copy(block[124:136], fmt.Sprintf("%011o\x00", len(data)))
		block[156] = kind
	})
	return append(append(block, data...), make([]byte, -len(data)&511)...)
}

// paxRecords are as many short records as have space in size bytes.
func paxRecords(size int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < size-64; i++ {
		fmt.Fprintf(&b, "10 %05x=\n", i)
	}
	return b.Bytes()
}

// bomb is a first block and then zeros, compressed. Both formats allow what
// is compressed to be continued by appending, which makes ten gigabytes fast.
func bomb(open func(io.Writer) io.WriteCloser, first []byte) []byte {
	compress := func(data []byte, times int) []byte {
		var b bytes.Buffer
		w := open(&b)
		for range times {
			if _, err := w.Write(data); err != nil {
				panic(err)
			}
		}
		if err := w.Close(); err != nil {
			panic(err)
		}
		return b.Bytes()
	}
	return append(compress(first, 1), bytes.Repeat(compress(make([]byte, 1<<20), 8), 1280)...)
}

func gzipWriter(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }

func zstdWriter(w io.Writer) io.WriteCloser {
	zw, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic(err)
	}
	return zw
}

// rleBomb is a zstd frame of blocks that each repeat one byte 128 KiB times,
// which makes ten gigabytes of 320 KB.
func rleBomb(first []byte, window byte) []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, window}
	block := func(kind, size int) {
		n := size<<3 | kind<<1
		b = append(b, byte(n), byte(n>>8), byte(n>>16))
	}
	block(0, len(first))
	b = append(b, first...)
	for range 80_000 {
		block(1, 128<<10)
		b = append(b, 0)
	}
	return b
}

// bombs are layers that hold a kernel first and then something to choke on.
var bombs = sync.OnceValue(func() map[string][]byte {
	kernel := tarOf(reg("unikraft/bin/kernel"))[:1024]
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	emptyGzip, skippable := gzipped(nil), []byte("\x50\x2a\x4d\x18\x00\x00\x00\x00")
	headers := bytes.Repeat(tarOf(file{name: "unikraft/x", kind: tar.TypeReg})[:512], 20_000)
	pax := special(tar.TypeXHeader, paxRecords(1<<20))
	huge := claims("unikraft/big", 1<<40)
	return map[string][]byte{
		"8 EiB":               join(kernel, claims("unikraft/big", 1<<63-1), kernel),
		"just under 8 EiB":    join(kernel, claims("unikraft/big", 1<<63-2000), kernel),
		"negative size":       join(kernel, claims("unikraft/big", -5), kernel),
		"1 TiB":               join(kernel, huge, make([]byte, 1<<20)),
		"8 EiB, gzip":         gzipped(join(kernel, claims("unikraft/big", 1<<63-1), kernel)),
		"gzip bomb":           bomb(gzipWriter, join(kernel, huge)),
		"zstd bomb":           bomb(zstdWriter, join(kernel, huge)),
		"zstd RLE bomb":       rleBomb(join(kernel, huge), 13<<3),
		"headers":             join(kernel, headers),
		"headers, gzip":       gzipped(join(kernel, headers)),
		"PAX":                 join(kernel, pax, kernel),
		"PAX again and again": join(kernel, bytes.Repeat(pax, 4), kernel),
		"PAX, gzip":           gzipped(join(kernel, bytes.Repeat(pax, 4), kernel)),
		"global PAX":          join(kernel, bytes.Repeat(special(tar.TypeXGlobalHeader, paxRecords(120<<10)), 8)),
		"GNU long names":      join(kernel, bytes.Repeat(special(tar.TypeGNULongName, bytes.Repeat([]byte("x"), 1<<20-1)), 8)),
		"PAX of 1 GiB":        join(kernel, paxClaim(), make([]byte, 1<<20)),
		"empty gzip members":  join(gzipped(kernel), bytes.Repeat(emptyGzip, 1_000_000)),
		"empty zstd frames":   join(zstded(kernel), bytes.Repeat(skippable, 2_000_000)),
	}
})

func paxClaim() []byte {
	return patched("unikraft/x", func(block []byte) {
		copy(block[124:136], fmt.Sprintf("%011o\x00", 1<<30))
		block[156] = tar.TypeXHeader
	})
}

func TestBombs(t *testing.T) {
	for name, layer := range bombs() {
		t.Run(name, func(t *testing.T) {
			c := newContent()
			m := c.image(object{}, desc(ociTar, c.blob(layer)))
			inTime(t, within(t, 32<<20, func() {
				if image := describe(t, c, m).Image; image == nil || !image.Kernel {
					t.Error("the kernel before the bomb was not found")
				}
			}), 3*time.Second)
		})
	}
}

// TestManyBombsAtOnce bounds what a process holds when many are pushed.
func TestManyBombsAtOnce(t *testing.T) {
	layers := bombs()
	within(t, 56<<20, func() {
		var wg sync.WaitGroup
		for range 3 {
			for _, name := range []string{"zstd RLE bomb", "smaller PAX", "gzip bomb"} {
				wg.Go(func() {
					c := newContent()
					describe(t, c, c.image(object{}, desc(ociTar, c.blob(layers[name]))))
				})
			}
		}
		wg.Wait()
	})
}

// TestLayersOfBombs stops opening layers when enough has been decompressed,
// and with the same result whether or not they are remembered.
func TestLayersOfBombs(t *testing.T) {
	kernel := claims("unikraft/big", 1<<40)
	c, memory := newContent(), newMemory()
	var layers []object
	for i := range 8 {
		first := append(claims(fmt.Sprint("unikraft/", i), 0), kernel...)
		layers = append(layers, desc(ociTar, c.blob(rleBomb(first, 13<<3))))
	}
	layers = append(layers, desc(ociTar, c.blob(tarOf(reg("unikraft/bin/kernel")))))
	m := c.image(object{}, layers...)
	small := c.image(object{}, layers[len(layers)-1])
	for range 2 {
		for _, m := range []image.Manifest{m, small, m} {
			d, err := whole(t.Context(), m, c, memory)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := d.Image != nil, m.Digest == small.Digest; got != want {
				t.Errorf("image is %v, want %v", got, want)
			}
		}
	}
	for i, layer := range layers {
		want := 0
		if i == 0 || i == len(layers)-1 {
			want = 1
		}
		if n := c.opens[layer["digest"].(digest.Digest)]; n != want {
			t.Errorf("opened layer %d %d times, want %d", i, n, want)
		}
	}
}

// TestZstdWindow reads what zstd makes at its usual levels, and no frame that
// wants more memory.
func TestZstdWindow(t *testing.T) {
	kernel := append(tarOf(reg("unikraft/bin/kernel"))[:1024], make([]byte, 1024)...)
	for window, want := range map[byte]string{0: "k0", 13 << 3: "k0", 14 << 3: "", 21 << 3: ""} {
		c := newContent()
		if got := bootsOf(t, c, desc(ociTar, c.blob(rleBomb(kernel, window)))); got != want && window != 0 {
			t.Errorf("window %d: got %q, want %q", window>>3, got, want)
		}
	}
}
