package image_test

import (
	"archive/tar"
	"bytes"
	"math/rand/v2"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// file is an entry of a tar archive.
type file struct {
	name string
	kind byte
	data string
}

func tarOf(files ...file) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		header := &tar.Header{Name: f.name, Typeflag: f.kind, Mode: 0o644, Size: int64(len(f.data))}
		if f.kind == tar.TypeSymlink || f.kind == tar.TypeLink {
			header.Linkname, header.Size = "unikraft/bin/other", 0
		}
		if f.kind == tar.TypeXGlobalHeader {
			*header = tar.Header{Typeflag: f.kind, PAXRecords: map[string]string{"comment": "x"}}
		}
		if err := w.WriteHeader(header); err != nil {
			panic(err)
		}
		if _, err := w.Write([]byte(f.data)); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func reg(name string) file { return file{name: name, kind: tar.TypeReg, data: "content of " + name} }
func dir(name string) file { return file{name: name, kind: tar.TypeDir} }

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

func zstded(b []byte) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return w.EncodeAll(b, nil)
}

// randomBytes do not compress.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}
