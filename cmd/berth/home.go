package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/berth-oci/berth/config"
)

// home is the folders that a berth keeps everything in. They are opened once: a
// folder that is moved away, unmounted or replaced is another one than that from
// then on, and what is written by its path would go where nobody looks for it.
type home struct {
	folders []*os.File // by the path that they are configured as
}

// enter opens the folders of a configuration, which are there.
func enter(c *config.Config) (*home, error) {
	h := &home{}
	paths := []string{c.Data}
	if root, ok := c.Storage.Parameters["rootdirectory"]; ok && c.Storage.Driver == "filesystem" {
		paths = append(paths, fmt.Sprint(root))
	}
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open the folder: %w", err), h.leave())
		}
		h.folders = append(h.folders, f)
	}
	return h, nil
}

// there returns an error while one of the folders is not where it was.
func (h *home) there() error {
	for _, f := range h.folders {
		now, err := os.Stat(f.Name())
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("the folder %s is gone: it was there at the start; nothing is written until it is back", f.Name())
		}
		if err != nil {
			return fmt.Errorf("the folder %s cannot be looked at: %w", f.Name(), err)
		}
		begin, err := f.Stat()
		if err != nil {
			return fmt.Errorf("the folder %s of the start cannot be looked at: %w", f.Name(), err)
		}
		if !os.SameFile(begin, now) {
			return fmt.Errorf("%s is another folder than at the start: nothing is written until that one is back, or berth is started again", f.Name())
		}
	}
	return nil
}

func (h *home) leave() error {
	var errs []error
	for _, f := range h.folders {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
