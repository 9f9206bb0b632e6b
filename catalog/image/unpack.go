package image

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	// maxWindow is the largest window of a zstd frame that is decoded, and
	// most of the memory that it takes. It is what zstd itself uses up to
	// level 19, and what RFC 8878 asks of decoders.
	maxWindow = 8 << 20
	// inputSlack is how many compressed bytes may be read beyond what has
	// come out of them: buffers, and a little overhead for each block.
	// It ends input that is read forever and gives nothing, such as empty
	// gzip members or skippable zstd frames.
	inputSlack = 1 << 20
	// inputBuffer is how much is read from storage at once.
	inputBuffer = 32 << 10
)

// windows has a place for each zstd decoder that may work at the same time in
// the whole process, so that many pushes at once do not each take a window of
// memory. It decides when a description is ready, never what is in it.
var windows = make(chan struct{}, 2)

var errOverLimit = errors.New("over the limit of bytes to read")

// source reads a blob. It keeps apart what is wrong with storage, which it
// holds in err, and what is wrong with the bytes, which readers on top of it
// find.
type source struct {
	ctx  context.Context //nolint:containedctx // io.Reader leaves no other way.
	blob io.ReadSeeker
	size int64
	read int64
	// allow bounds read.
	allow int64
	err   error
}

func (s *source) Read(p []byte) (int, error) {
	if err := s.failed(); err != nil {
		return 0, err
	}
	if s.read >= s.allow {
		return 0, errOverLimit
	}
	n, err := s.blob.Read(p)
	s.read += int64(n)
	if err != nil && err != io.EOF { //nolint:errorlint // io.Reader demands the bare value.
		s.err = err
	}
	return n, err
}

func (s *source) seek(offset int64, whence int) error {
	if s.failed() == nil {
		_, s.err = s.blob.Seek(offset, whence)
	}
	return s.err
}

// failed is the error of storage or of ctx that ended the reading, if any.
func (s *source) failed() error {
	if s.err == nil {
		s.err = s.ctx.Err()
	}
	return s.err
}

// unpacked reads a layer without its compression, up to maxUnpacked bytes.
type unpacked struct {
	src *source
	// r decompresses; nil for a layer that is not compressed.
	r     io.Reader
	close func()
	pos   int64
	read  int64
}

// unpack recognises the compression of a layer by its first bytes. Media types
// are not asked: tools have been seen to recompress and to keep the old one.
func unpack(src *source) (*unpacked, error) {
	src.allow = inputSlack
	magic := make([]byte, 4)
	if _, err := io.ReadFull(src, magic); err != nil {
		return nil, err
	}
	if err := src.seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	u := &unpacked{src: src, close: func() {}}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return u, u.gunzip()
	case isZstd(magic):
		return u, u.unzstd()
	}
	return u, nil
}

// isZstd recognises a frame, and a skippable frame, which parallel compressors
// put first.
func isZstd(magic []byte) bool {
	return bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}) ||
		magic[0]&0xf0 == 0x50 && bytes.Equal(magic[1:], []byte{0x2a, 0x4d, 0x18})
}

func (u *unpacked) gunzip() error {
	zr, err := gzip.NewReader(bufio.NewReaderSize(u.src, inputBuffer))
	u.r = zr
	return err
}

func (u *unpacked) unzstd() error {
	select {
	case windows <- struct{}{}:
	case <-u.src.ctx.Done():
		return u.src.ctx.Err()
	}
	zr, err := zstd.NewReader(bufio.NewReaderSize(u.src, inputBuffer),
		zstd.WithDecoderMaxWindow(maxWindow),
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true))
	if err != nil {
		<-windows
		return err
	}
	u.r = zr
	u.close = func() {
		zr.Close()
		<-windows
	}
	return nil
}

// Close frees what decompression holds; the blob stays open.
func (u *unpacked) Close() { u.close() }

func (u *unpacked) Read(p []byte) (int, error) {
	if u.read >= maxUnpacked {
		return 0, errOverLimit
	}
	p = p[:min(int64(len(p)), maxUnpacked-u.read)]
	r := u.r
	if r == nil {
		r = u.src
	}
	// A few bytes of input may give gigabytes, so input is not the only place
	// to notice that nobody waits any more.
	if err := u.src.failed(); err != nil {
		return 0, err
	}
	u.src.allow = inputSlack + u.read + u.read/8 + int64(len(p))
	n, err := r.Read(p)
	u.read += int64(n)
	u.pos += int64(n)
	return n, err
}

// skip goes n bytes forward. It never goes beyond the end of the blob: a tar
// header may claim any size, and what storage makes of such a place is its own.
func (u *unpacked) skip(n int64) error {
	if u.r != nil || n < minSeek {
		_, err := io.CopyN(io.Discard, u, n)
		return err
	}
	if n > u.src.size-u.pos {
		return io.ErrUnexpectedEOF
	}
	if err := u.src.seek(n, io.SeekCurrent); err != nil {
		return err
	}
	u.pos += n
	return nil
}

// cost is what it took to read this far, in bytes.
func (u *unpacked) cost() int64 { return max(u.read, u.src.read) }
