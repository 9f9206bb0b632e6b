package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"
)

// Content is bytes by their digest, whichever repositories link them.
//
// Every error has a [Code]. [ErrNotFound] is for bytes that are not stored,
// also if the digest is none; [ErrDamaged], which is an ErrNotFound too, for
// something else in their place; any other means that storage failed.
type Content interface {
	// Stat says what is known of the bytes without reading them.
	Stat(ctx context.Context, d digest.Digest) (Info, error)
	// Open opens the bytes, and says what Stat says of them. The caller closes
	// them, and does not read after ctx has ended. Seeking is cheap. Reading
	// ends with io.EOF after Info.Size bytes, and with another error if there
	// are fewer.
	Open(ctx context.Context, d digest.Digest) (io.ReadSeekCloser, Info, error)
}

// Info describes stored bytes.
type Info struct {
	Size     int64     // in bytes
	Modified time.Time // when they were stored, in UTC
}

// Content is what the store holds.
func (s *Store) Content() Content { return s.content }

// driverContent is content in a driver, in distribution's layout.
type driverContent struct {
	driver storagedriver.StorageDriver
	local  bool // see localFiles
}

func (d driverContent) Stat(ctx context.Context, dgst digest.Digest) (Info, error) {
	if dgst.Validate() != nil {
		return Info{}, ErrNotFound
	}
	path := blobPath(dgst)
	found, err := d.driver.Stat(ctx, path)
	if err != nil {
		return Info{}, translate(err)
	}
	if found.IsDir() {
		return Info{}, notAFile(ctx, d.driver, path)
	}
	return Info{Size: found.Size(), Modified: found.ModTime().UTC()}, nil
}

func (d driverContent) Open(ctx context.Context, dgst digest.Digest) (io.ReadSeekCloser, Info, error) {
	if f, info, err := d.openFile(ctx, dgst); f != nil || err != nil {
		return f, info, err
	}
	info, err := d.Stat(ctx, dgst)
	if err != nil {
		return nil, Info{}, err
	}
	return &reader{ctx: ctx, driver: d.driver, path: blobPath(dgst), size: info.Size}, info, nil
}

// localFiles is a driver whose Reader returns *os.File: opening it costs no more
// than asking whether it is there, and the system can send it by itself.
type localFiles interface{ LocalFiles() }

// openFile opens a local file; it returns nil and no error with a driver that has
// none.
func (d driverContent) openFile(ctx context.Context, dgst digest.Digest) (io.ReadSeekCloser, Info, error) {
	if !d.local {
		return nil, Info{}, nil
	}
	if dgst.Validate() != nil {
		return nil, Info{}, ErrNotFound
	}
	opened, err := d.driver.Reader(ctx, blobPath(dgst), 0)
	if err != nil {
		return nil, Info{}, translate(err)
	}
	f, ok := opened.(*os.File)
	if !ok {
		return nil, Info{}, opened.Close()
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		err = translate(err)
	case info.IsDir():
		err = fmt.Errorf("%s is a folder: %w", blobPath(dgst), ErrDamaged)
	default:
		return f, Info{Size: info.Size(), Modified: info.ModTime().UTC()}, nil
	}
	_ = f.Close() // nothing was read
	return nil, Info{}, err
}

// notAFile is the error for a path that a driver's Stat says is a folder. With
// S3, that also comes of a file beside it whose name only begins the same.
func notAFile(ctx context.Context, driver storagedriver.StorageDriver, path string) error {
	_, err := driver.List(ctx, path)
	if err != nil {
		return translate(err)
	}
	return fmt.Errorf("%s is a folder: %w", path, ErrDamaged)
}

// translate gives the error of a driver that was asked for something its code.
func translate(err error) error {
	if notFound(err) {
		return ErrNotFound
	}
	var known *Error
	if errors.As(err, &known) {
		return err
	}
	return &Error{Code: CodeOf(err), Err: err}
}

// notFound reports whether a driver's error means that a path does not exist,
// because it is not there, or because a file is where it has a folder.
func notFound(err error) bool {
	var missing storagedriver.PathNotFoundError
	var driver storagedriver.Error
	if errors.As(err, &driver) && driver.Detail != nil {
		return notFound(driver.Detail) // it hides its cause from errors.Is
	}
	return errors.As(err, &missing) || errors.Is(err, syscall.ENOTDIR)
}
