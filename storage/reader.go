package storage

import (
	"context"
	"errors"
	"fmt"
	"io"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
)

// reader reads a stored file from any offset, up to the size that it had when
// it was opened. It opens the file where reading
// goes on after a seek, so that skipping costs nothing.
type reader struct {
	ctx    context.Context
	driver storagedriver.StorageDriver
	path   string
	size   int64

	offset int64
	open   io.ReadCloser // at offset; nil before the first read and after a seek
}

func (r *reader) Read(p []byte) (int, error) {
	if r.offset >= r.size {
		return 0, io.EOF
	}
	if r.open == nil {
		f, err := r.driver.Reader(r.ctx, r.path, r.offset)
		if err != nil {
			return 0, translate(err)
		}
		r.open = f
	}
	if rest := r.size - r.offset; int64(len(p)) > rest {
		p = p[:rest]
	}
	n, err := r.open.Read(p)
	r.offset += int64(n)
	switch {
	case err == io.EOF && r.offset < r.size:
		err = &Error{Code: Unavailable, Err: fmt.Errorf("%s: %w after %d of %d bytes", r.path, io.ErrUnexpectedEOF, r.offset, r.size)}
	case err != nil && err != io.EOF:
		err = translate(err)
	}
	return n, err
}

func (r *reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.offset
	case io.SeekEnd:
		offset += r.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the start")
	}
	if offset != r.offset {
		if err := r.Close(); err != nil {
			return 0, err
		}
		r.offset = offset
	}
	return offset, nil
}

func (r *reader) Close() error {
	if r.open == nil {
		return nil
	}
	err := r.open.Close()
	r.open = nil
	return err
}
