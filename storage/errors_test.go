package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
)

// TestCodeOf: the code is that of the cause, in whatever a driver wraps it. A
// write that fails removes what it has begun, and says that too: that a file is
// not there to be removed is not why the write failed.
func TestCodeOf(t *testing.T) {
	full := &fs.PathError{Op: "write", Path: "/a", Err: syscall.ENOSPC}
	missing := storagedriver.PathNotFoundError{Path: "/a"}
	for _, test := range []struct {
		err  error
		want Code
	}{
		{full, Full},
		{&fs.PathError{Op: "write", Path: "/a", Err: syscall.EDQUOT}, Full},
		{storagedriver.Error{DriverName: "filesystem", Detail: full}, Full},
		{errors.Join(full, missing), Full},
		{storagedriver.Error{Detail: errors.Join(full, missing)}, Full},
		{fmt.Errorf("tag: %w", storagedriver.Error{Detail: errors.Join(missing, storagedriver.Error{Detail: full})}), Full},
		{missing, NotFound},
		{fmt.Errorf("read: %w", storagedriver.Error{Detail: missing}), NotFound},
		{storagedriver.Error{Detail: errors.New("a cable is out")}, Unavailable},
		{&fs.PathError{Op: "write", Path: "/a", Err: syscall.EIO}, Unavailable},
		{fmt.Errorf("blob: %w", &Error{Code: Quota, Err: full}), Quota},
	} {
		if got := CodeOf(test.err); got != test.want {
			t.Errorf("%v: got %v, want %v", test.err, got, test.want)
		}
	}
}
