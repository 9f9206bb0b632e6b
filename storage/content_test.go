package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"
)

// broken is a driver whose calls fail, if they are to.
type broken struct {
	storagedriver.StorageDriver
	stat, reader, read error
	short              bool // files end before their size says
}

func (b *broken) Stat(ctx context.Context, path string) (storagedriver.FileInfo, error) {
	if b.stat != nil {
		return nil, b.stat
	}
	return b.StorageDriver.Stat(ctx, path)
}

func (b *broken) Reader(ctx context.Context, path string, offset int64) (io.ReadCloser, error) {
	if b.reader != nil {
		return nil, b.reader
	}
	f, err := b.StorageDriver.Reader(ctx, path, offset)
	switch {
	case err == nil && b.read != nil:
		return io.NopCloser(io.MultiReader(io.LimitReader(f, 2), failing{b.read})), nil
	case err == nil && b.short:
		return io.NopCloser(io.LimitReader(f, 2)), nil
	}
	return f, err
}

type failing struct{ error }

func (f failing) Read([]byte) (int, error) { return 0, f.error }

// TestContentErrors checks that what fails in a driver comes out with its code,
// wherever it fails, and never as what is not stored.
func TestContentErrors(t *testing.T) {
	s := stores(t)["inmemory"]
	d := putBlob(t, s, "0123456789")
	driver := &broken{StorageDriver: s.Driver()}
	content := driverContent{driver, false}
	wrapped := func(err error) error { return storagedriver.Error{DriverName: "test", Detail: err} }
	atPath := func(err error) error { return &fs.PathError{Op: "read", Path: "/x", Err: err} }
	for _, test := range []struct {
		err  error
		want Code
	}{
		{errors.New("something"), Unavailable},
		{wrapped(errors.New("something")), Unavailable},
		{atPath(syscall.EIO), Unavailable},
		{wrapped(atPath(syscall.ENOSPC)), Full},
		{atPath(syscall.EDQUOT), Full},
		{wrapped(fmt.Errorf("more: %w", atPath(syscall.EDQUOT))), Full},
		{storagedriver.InvalidPathError{Path: "x"}, Unavailable},
		{context.Canceled, Unavailable},
		{storagedriver.PathNotFoundError{Path: "x"}, NotFound},
		{fmt.Errorf("more: %w", storagedriver.PathNotFoundError{Path: "x"}), NotFound},
		{wrapped(atPath(syscall.ENOTDIR)), NotFound},
		{&Error{Code: Damaged, Err: errors.New("something")}, Damaged},
	} {
		check := func(where string, err error) {
			t.Helper()
			var coded *Error
			if !errors.As(err, &coded) || coded.Code != test.want {
				t.Errorf("%s fails with %v: got %v, want %s", where, test.err, err, test.want)
			}
			if errors.Is(err, ErrNotFound) != (test.want == NotFound) {
				t.Errorf("%s fails with %v: %v is as if it was not stored", where, test.err, err)
			}
		}
		*driver = broken{StorageDriver: s.Driver(), stat: test.err}
		_, err := content.Stat(t.Context(), d)
		check("Stat", err)
		_, _, err = content.Open(t.Context(), d)
		check("Open", err)
		for where, b := range map[string]broken{"the first Read": {reader: test.err}, "a later Read": {read: test.err}} {
			b.StorageDriver = s.Driver()
			*driver = b
			f, _, err := content.Open(t.Context(), d)
			if err != nil {
				t.Fatal(err)
			}
			_, err = io.ReadAll(f)
			check(where, err)
		}
	}
	*driver = broken{StorageDriver: s.Driver(), short: true}
	f, _, err := content.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(f); string(got) != "01" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a file that is cut reads as whole: %q, %v", got, err)
	}
}

// TestContentGrows checks that a file is read as it was when it was opened.
func TestContentGrows(t *testing.T) {
	s := stores(t)["filesystem"]
	d := putBlob(t, s, "0123456789")
	f, _, err := s.Content().Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	put(t, s, blobPath(d), strings.Repeat("0123456789", 2))
	if got, err := io.ReadAll(f); string(got) != "0123456789" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestContentDigests checks that what is no digest is not stored, and reaches
// no path.
func TestContentDigests(t *testing.T) {
	for kind, s := range stores(t) {
		for _, d := range []digest.Digest{"", "sha256", "sha256:", "sha256:../../x", "md5:00", "sha256:00"} {
			_, err := s.Content().Stat(t.Context(), d)
			_, _, err2 := s.Content().Open(t.Context(), d)
			if !errors.Is(err, ErrNotFound) || !errors.Is(err2, ErrNotFound) {
				t.Errorf("%s: %q: %v, %v", kind, d, err, err2)
			}
		}
	}
}
