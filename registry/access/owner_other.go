//go:build !unix

package access

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	openFlags = 0
	lockFlags = os.O_CREATE | os.O_RDONLY
)

// adoptAccounts is for systems where a new file could belong to someone who is
// not berth.
func adoptAccounts(f *os.File, path, _ string) error {
	if old, err := os.Stat(path); err == nil {
		return f.Chmod(old.Mode().Perm())
	}
	return nil
}

// openOwn opens a file that berth keeps, or makes it for its owner alone.
func openOwn(path string, flags int, _ ...string) (*os.File, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return nil, fmt.Errorf("%s is a symbolic link, and berth follows none there", path)
	}
	return os.OpenFile(path, flags|os.O_CREATE, 0o600)
}

// follow is the file that a path means, through symbolic links.
func follow(path string) (string, error) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		return target, nil
	}
	return path, nil
}
