package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/berth-oci/berth/config"
)

// home is the folders that a berth keeps everything in, and the file of the
// index, which may be elsewhere. They are opened once: a
// folder that is moved away, unmounted or replaced is another one than that from
// then on, and what is written by its path would go where nobody looks for it.
type home struct {
	folders []*os.File    // by the path that they are configured as
	begun   []fs.FileInfo // which those are
}

// enter opens the folders of a configuration, which are there.
func enter(c *config.Config) (*home, error) {
	h := &home{}
	paths := []string{c.Data}
	if root := storageRoot(c); root != "" {
		paths = append(paths, root)
	}
	for _, path := range paths {
		if err := h.add(path); err != nil {
			return nil, errors.Join(err, h.leave())
		}
	}
	return h, nil
}

// storageRoot is the folder of the storage, "" if that is not local.
func storageRoot(c *config.Config) string {
	if root, ok := c.Storage.Parameters["rootdirectory"]; ok && c.Storage.Driver == "filesystem" {
		return fmt.Sprint(root)
	}
	return ""
}

// add opens one more folder, or a file in which something is kept.
func (h *home) add(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open the folder: %w", err)
	}
	begun, err := f.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("look at the folder: %w", err), f.Close())
	}
	h.folders, h.begun = append(h.folders, f), append(h.begun, begun)
	return nil
}

// there returns an error while one of the folders is not where it was.
func (h *home) there() error {
	for i, f := range h.folders {
		now, err := os.Stat(f.Name())
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is gone: it was there at the start; nothing is written until it is back", f.Name())
		}
		if err != nil {
			return fmt.Errorf("%s cannot be looked at: %w", f.Name(), err)
		}
		if begin := h.begun[i]; !os.SameFile(begin, now) {
			return fmt.Errorf("%s is another %s than at the start: nothing is written until that one is back, or berth is started again", f.Name(), kindOf(begin))
		}
	}
	return nil
}

func kindOf(info fs.FileInfo) string {
	if info.IsDir() {
		return "folder"
	}
	return "file"
}

func (h *home) leave() error {
	var errs []error
	for _, f := range h.folders {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
