// Package fsync makes what is changed in a file system survive a power cut.
package fsync

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Dir makes the entries of a directory durable: without it, a file that was
// created, renamed or removed there may be as it was before. The error is that
// of [io/fs.ErrNotExist] if the directory is gone.
func Dir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}

// Replace puts a file with the content in the place of the one at path, which
// need not be there. Whoever reads path finds the old file or the new one,
// whole, also after a power cut; once Replace has returned without an error, it
// is the new one. Only the owner may read it, unless prepare, which may be nil,
// changes that: it gets the file, complete but under another name, and its
// error leaves the old one in place.
func Replace(path string, content []byte, prepare func(*os.File) error) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*") // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil && prepare != nil {
		err = prepare(f)
	}
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return Dir(dir)
}
