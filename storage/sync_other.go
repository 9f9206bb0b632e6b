//go:build !linux

package storage

import "os"

// settleTree creates the root directory. Without a call that syncs one file
// system, directories that an earlier process left unsettled stay so until the
// system writes them out by itself.
func settleTree(dir string) error { return os.MkdirAll(dir, 0o700) }
