//go:build unix

package operation

import (
	"fmt"
	"io/fs"
	"syscall"
)

// identity is the same for all names of a file.
func identity(info fs.FileInfo) string {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return fmt.Sprint(s.Dev, s.Ino)
	}
	return info.Name()
}
