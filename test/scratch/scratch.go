// Package scratch has the temporary files of a package's tests in memory: what does
// not test a disk need not wait for one.
package scratch

import (
	"fmt"
	"os"
	"testing"
)

// Run runs the tests of a package, for its TestMain, and returns the exit status.
// Temporary files are in memory where there is a file system with room for them, and
// TEST_REQUIRE asks for nothing: what is thorough has them where berth has its own.
// They are gone afterwards; those of a process that was killed go with a later one's.
func Run(m *testing.M) int {
	if os.Getenv("TEST_REQUIRE") != "" {
		return m.Run()
	}
	dir, remove := inMemory(memory)
	defer remove()
	if dir != "" {
		if err := os.Setenv("TMPDIR", dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return m.Run()
}

// TempDir is a folder in memory, where [Run] would have files, for a test of a package
// in which others want a disk; elsewhere it is that of t.
func TempDir(t testing.TB) string {
	t.Helper()
	if os.Getenv("TEST_REQUIRE") != "" {
		return t.TempDir()
	}
	dir, remove := inMemory(memory)
	t.Cleanup(remove)
	if dir == "" {
		return t.TempDir()
	}
	return dir
}
