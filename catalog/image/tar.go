package image

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"path"
	"strings"
)

const (
	// maxHeaders is how many entries of a tar archive are looked at.
	maxHeaders = 1000
	// maxHeaderBytes is how many bytes of an archive its headers may take,
	// and maxEntryBytes those of one entry, its PAX and GNU extensions
	// included. archive/tar accepts 1 MiB for each extension and any number
	// of them in front of an entry, and makes a map of every PAX header,
	// which for short records takes ten times their size.
	maxHeaderBytes = 1 << 20
	maxEntryBytes  = 128 << 10
	// minSeek is the least that is skipped by seeking. Over a network a
	// seek is a request of its own, and less than this is read sooner.
	minSeek = 128 << 10
)

// scan looks into a layer. It returns an error only if the blob could not be
// read or ctx has ended; of what is damaged, or not a tar archive at all, it
// finds what stands before the damage.
func scan(ctx context.Context, blob io.ReadSeeker, size int64) (findings, error) {
	src := &source{ctx: ctx, blob: blob, size: size}
	in, err := unpack(src)
	if err != nil {
		return 0, src.failed()
	}
	defer in.Close()
	parts := scanTar(in)
	if err := src.failed(); err != nil {
		return 0, err
	}
	return newFindings(parts, in.cost()), nil
}

// scanTar finds parts by the headers of a tar archive, until one of them shows
// that it is an ordinary container's.
func scanTar(in *unpacked) (found Parts) {
	reader := &headerReader{in: in, left: maxHeaderBytes}
	headers := tar.NewReader(reader)
	for range maxHeaders {
		reader.entry = maxEntryBytes
		header, err := headers.Next()
		// A leading slash makes a path insecure, which matters to those who
		// unpack.
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return found
		}
		found |= partOf(header)
		if found&PartOther != 0 {
			return found
		}
	}
	return found
}

// partOf says which part an entry is. Everything below unikraft, and the way
// there, may stand beside the parts; any other path is an ordinary container's.
func partOf(header *tar.Header) Parts {
	if header.Typeflag == tar.TypeXGlobalHeader {
		return 0 // Not an entry: it holds defaults for those that follow.
	}
	name := path.Clean("/" + header.Name)
	if name != "/" && name != "/unikraft" && !strings.HasPrefix(name, "/unikraft/") {
		return PartOther
	}
	// A hard link is as good as the file that it shares with an earlier entry.
	// A symbolic link is not: nobody boots from a path.
	if header.Typeflag != tar.TypeReg && header.Typeflag != tar.TypeLink {
		return 0
	}
	switch name {
	case "/unikraft/bin/kernel":
		return PartKernel
	case "/unikraft/bin/initrd":
		return PartInitrd
	case "/unikraft/bin/rom":
		return PartROM
	}
	return 0
}

var errTooManyHeaders = errors.New("too many bytes of tar headers")

// headerReader is what archive/tar reads from. It seeks over the content of
// entries, so that all that is read is headers, and can be bounded.
type headerReader struct {
	in *unpacked
	// left is how many bytes may be read in all, entry until the next entry.
	left, entry int64
}

func (h *headerReader) Read(p []byte) (int, error) {
	most := min(h.left, h.entry, int64(len(p)))
	if most <= 0 {
		return 0, errTooManyHeaders
	}
	n, err := h.in.Read(p[:most])
	h.left -= int64(n)
	h.entry -= int64(n)
	return n, err
}

// Seek goes forward from where it is, which is all that archive/tar asks for.
func (h *headerReader) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekCurrent || offset < 0 {
		return 0, errors.ErrUnsupported
	}
	err := h.in.skip(offset)
	return h.in.pos, err
}
