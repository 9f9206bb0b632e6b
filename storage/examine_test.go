package storage

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
)

// TestExamineErrors checks what a failure to read says about the bytes: a disk
// that has lost them does, anything else does not.
func TestExamineErrors(t *testing.T) {
	for _, test := range []struct {
		err     error
		damaged bool
	}{
		{&fs.PathError{Op: "read", Path: "/x", Err: syscall.EIO}, true},
		{storagedriver.Error{Detail: &fs.PathError{Op: "read", Path: "/x", Err: syscall.EIO}}, true},
		{errors.New("connection reset"), false},
		{&fs.PathError{Op: "read", Path: "/x", Err: syscall.EACCES}, false},
		{context.DeadlineExceeded, false},
		{storagedriver.Error{Detail: errors.New("503 slow down")}, false},
	} {
		for _, where := range []string{"open", "read"} {
			s := stores(t)["inmemory"]
			d := putBlob(t, s, "0123456789")
			driver := &broken{StorageDriver: s.driver, reader: test.err}
			if where == "read" {
				driver = &broken{StorageDriver: s.driver, read: test.err}
			}
			s.content = driverContent{driver, false}
			_, err := s.Examine(t.Context(), d, ByScrub)
			if err == nil || errors.Is(err, ErrDamaged) != test.damaged || s.Quarantined(d) != test.damaged {
				t.Errorf("%s fails with %v: %v, in quarantine: %v", where, test.err, err, s.Quarantined(d))
			}
			if there, err := s.isFile(t.Context(), blobPath(d)); err != nil || there == test.damaged {
				t.Errorf("%s fails with %v: stored: %v, %v", where, test.err, there, err)
			}
		}
	}
	// A short answer of a network is not damage either.
	s := stores(t)["inmemory"]
	d := putBlob(t, s, "0123456789")
	s.content = driverContent{&broken{StorageDriver: s.driver, short: true}, false}
	if _, err := s.Examine(t.Context(), d, ByScrub); err == nil || errors.Is(err, ErrDamaged) {
		t.Errorf("a short answer: %v", err)
	}
}

// counting counts how often bytes are read.
type counting struct {
	storagedriver.StorageDriver
	read atomic.Int64
}

func (c *counting) Reader(ctx context.Context, path string, offset int64) (io.ReadCloser, error) {
	f, err := c.StorageDriver.Reader(ctx, path, offset)
	return &countingReader{f, &c.read}, err
}

type countingReader struct {
	io.ReadCloser
	n *atomic.Int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// TestExaminePushCost checks that a push of what is there reads it once, and not
// again until somebody has touched it.
func TestExaminePushCost(t *testing.T) {
	for kind, s := range stores(t) {
		d := putBlob(t, s, "0123456789")
		driver := &counting{StorageDriver: s.driver}
		s.content = driverContent{driver, false}
		ctx, push := s.BeginPush(t.Context(), GuardPut)
		defer push.End()
		stat := func(want int64) {
			t.Helper()
			before := driver.read.Load()
			if _, err := (pushDriver{s.driver, s}).Stat(ctx, blobPath(d)); err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			if got := driver.read.Load() - before; got != want {
				t.Errorf("%s: read %d bytes, want %d", kind, got, want)
			}
		}
		stat(10)
		stat(0)
		if _, err := s.Examine(ctx, d, ByScrub); err != nil || driver.read.Load() != 20 {
			t.Errorf("%s: a scrub believes what it has not read: %v", kind, err)
		}
		stat(0)
	}
}

// TestExamineTouched checks that a file is read again that was written by
// somebody else, with the same size and time.
func TestExamineTouched(t *testing.T) {
	root := t.TempDir()
	s, err := Open(t.Context(), "filesystem", map[string]any{"rootdirectory": root})
	if err != nil {
		t.Fatal(err)
	}
	d := putBlob(t, s, "0123456789")
	s.arrived(t.Context(), d)
	file := filepath.Join(root, blobPath(d))
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(file, []byte("0123456780"), 0o600), os.Chtimes(file, info.ModTime(), info.ModTime())); err != nil {
		t.Fatal(err)
	}
	if print, err := s.printOf(t.Context(), d); err != nil || print.file == (fileID{}) {
		t.Skip("skipped: the system does not tell such files apart")
	}
	ctx, push := s.BeginPush(t.Context(), GuardPut)
	defer push.End()
	if _, err := (pushDriver{s.driver, s}).Stat(ctx, blobPath(d)); CodeOf(err) != NotFound || !s.Quarantined(d) {
		t.Errorf("a push believes a file that was written behind its back: %v", err)
	}
}
