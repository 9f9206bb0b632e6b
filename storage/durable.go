package storage

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"

	"github.com/berth-oci/berth/storage/fsync"
)

// durable makes what the filesystem driver writes survive a power cut.
//
// The driver syncs what is in a file, but a rename without a sync of its
// directory, and a directory created without a sync of its parent, may both be
// undone. durable syncs every directory that an operation changed before the
// operation returns. Uploads in progress are left as they are: nobody was told
// that they are kept.
type durable struct {
	storagedriver.StorageDriver
	root string

	mu sync.Mutex
	// creating counts the operations that are about to create a directory and
	// have not synced its parent yet. Another operation that finds the
	// directory in place must sync the parent as well before it answers.
	creating map[string]int
}

func newDurable(inner storagedriver.StorageDriver, root string) *durable {
	return &durable{StorageDriver: inner, root: root, creating: make(map[string]int)}
}

func (d *durable) PutContent(ctx context.Context, path string, content []byte) error {
	if transient(path) {
		return d.StorageDriver.PutContent(ctx, path, content)
	}
	return d.settle(path, func() error { return d.StorageDriver.PutContent(ctx, path, content) })
}

func (d *durable) Move(ctx context.Context, from, to string) error {
	return d.settle(to, func() error { return d.StorageDriver.Move(ctx, from, to) })
}

func (d *durable) Delete(ctx context.Context, path string) error {
	err := d.StorageDriver.Delete(ctx, path)
	if err != nil || transient(path) {
		return err
	}
	return syncDir(filepath.Dir(d.full(path)))
}

// settle runs an operation that writes path and syncs the file's directory and
// the parent of every directory that is new.
func (d *durable) settle(path string, op func() error) error {
	dir := filepath.Dir(d.full(path))
	fresh := d.enter(dir)
	defer d.leave(fresh)
	if err := op(); err != nil {
		return err
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	for _, f := range fresh {
		if err := syncDir(filepath.Dir(f)); err != nil {
			return err
		}
	}
	return nil
}

// enter notes which directories on the way to dir are new, or not yet settled
// by another operation, deepest first.
func (d *durable) enter(dir string) (fresh []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for dir != d.root && len(dir) > len(d.root) {
		_, err := os.Stat(dir)
		if err == nil && d.creating[dir] == 0 {
			break
		}
		d.creating[dir]++
		fresh = append(fresh, dir)
		dir = filepath.Dir(dir)
	}
	return fresh
}

func (d *durable) leave(fresh []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, dir := range fresh {
		if d.creating[dir]--; d.creating[dir] == 0 {
			delete(d.creating, dir)
		}
	}
}

func (d *durable) full(path string) string { return filepath.Join(d.root, path) }

// syncDir makes the entries of a directory durable. A directory that is gone
// has nothing to sync.
func syncDir(dir string) error {
	if err := fsync.Dir(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
