package access

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/berth-oci/berth/storage/fsync"
)

// lockWait is how long an edit waits for others, which take milliseconds.
const lockWait = 30 * time.Second

// Edit changes the accounts file: it reads what is there, lets change change
// it, and puts the new one in its place, whole or not at all. When it returns
// without an error the change is on disk. Edits of several processes happen one
// after the other; a lock is kept on a file beside it, with .lock at its end.
//
// The error is that of change, or says what is wrong with the file as it was
// or would be; the file is then as before. A path that is a symbolic link
// stays one. Comments in the file are lost.
func Edit(path string, change func(*File) error) (err error) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("accounts file: %w", err)
	}
	unlock, err := lock(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()

	file, err := Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		file, err = &File{New: true}, nil
	}
	if err != nil {
		return err
	}
	if err := change(file); err != nil {
		return err
	}
	text, err := render(file.Accounts)
	if err != nil {
		return fmt.Errorf("accounts file: %w", err)
	}
	// What is written must be what can be read: the checks are in one place.
	if _, err := parse(path, text); err != nil {
		return fmt.Errorf("the accounts file was not changed, for it would be wrong: %w", err)
	}
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
		return nil
	}
	if err := replace(path, text); err != nil {
		return fmt.Errorf("accounts file: %w", err)
	}
	return nil
}

func lock(path string) (unlock func() error, err error) {
	l := flock.New(path + ".lock")
	ctx, cancel := context.WithTimeout(context.Background(), lockWait)
	defer cancel()
	locked, err := l.TryLockContext(ctx, 5*time.Millisecond)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("another process has been changing the accounts for %s (%s is locked)", lockWait, l.Path())
	}
	if err != nil || !locked {
		return nil, fmt.Errorf("accounts file: cannot be locked: %w", err)
	}
	if err := adopt(l.Path(), filepath.Dir(path)); err != nil {
		return nil, errors.Join(fmt.Errorf("accounts file: %w", err), l.Close())
	}
	return l.Close, nil
}

// replace puts a file in the place of the one at path, which need not be
// there, with its mode and owner.
func replace(path string, text []byte) error {
	return fsync.Replace(path, text, func(f *os.File) error {
		info, err := os.Stat(path)
		if err != nil {
			return adopt(f.Name(), filepath.Dir(path))
		}
		return errors.Join(f.Chmod(info.Mode().Perm()), adopt(f.Name(), path))
	})
}
