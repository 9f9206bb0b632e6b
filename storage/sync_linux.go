package storage

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// settleTree creates the root directory and writes out what an earlier process,
// killed between a write and its sync, may have left unsettled on that file
// system.
func settleTree(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("sync file system of %s: %w", dir, err)
	}
	return nil
}
