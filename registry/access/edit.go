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
func Edit(path string, change func(*File) error) error { return EditFor(path, "", change) }

// EditFor is [Edit] for a berth with that data folder: what root makes, that
// folder's owner can open.
func EditFor(path, data string, change func(*File) error) (err error) {
	if path, err = follow(path); err != nil {
		return fmt.Errorf("accounts file: %w", err)
	}
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("accounts file: %w", err)
	}
	unlock, err := lock(path, data)
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
	text, err := render(file)
	if err != nil {
		return fmt.Errorf("accounts file: %w", err)
	}
	// What is written must be what can be read: the checks are in one place.
	if _, err := parse(path, text); err != nil {
		return fmt.Errorf("the accounts file was not changed, for it would be wrong: %w", err)
	}
	if old, _, err := readFile(path); err == nil && bytes.Equal(old, text) {
		return nil
	}
	// With the mode and owner of the file that was there, if one was.
	err = fsync.Replace(path, text, func(f *os.File) error { return adoptAccounts(f, path, data) })
	if err != nil {
		return fmt.Errorf("accounts file: %w", err)
	}
	return nil
}

func lock(path, data string) (unlock func() error, err error) {
	// It is made here, for its rightful owner, and only then locked.
	f, err := openOwn(path+".lock", os.O_RDONLY, filepath.Dir(path), data)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("accounts file: cannot be locked: %w", err)
	}
	l := flock.New(path+".lock", flock.SetFlag(lockFlags))
	ctx, cancel := context.WithTimeout(context.Background(), lockWait)
	defer cancel()
	locked, err := l.TryLockContext(ctx, 5*time.Millisecond)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("another process has been changing the accounts for %s (%s is locked)", lockWait, l.Path())
	}
	if err != nil || !locked {
		return nil, fmt.Errorf("accounts file: cannot be locked: %w", err)
	}
	return l.Close, nil
}
