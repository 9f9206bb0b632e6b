package harness

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestKeep builds anew while a test still runs what was built before.
func TestKeep(t *testing.T) {
	dir := t.TempDir()
	made := filepath.Join(dir, "program")
	build := func(content string) string {
		t.Helper()
		if err := os.RemoveAll(made); err != nil { // as go build does
			t.Fatal(err)
		}
		if err := os.WriteFile(made, []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
		kept, err := keep(dir, made)
		if err != nil {
			t.Fatal(err)
		}
		return kept
	}
	holds := func(file, want string) {
		t.Helper()
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("%s holds %q (%v), want %q", file, got, err, want)
		}
	}
	first := build("first")
	second := build("second")
	holds(first, "first")
	holds(second, "second")
	if again := build("first"); again != first {
		t.Errorf("the same program is %s and %s", first, again)
	}
	old := time.Now().Add(-25 * time.Hour)
	if err := os.Chtimes(filepath.Dir(second), old, old); err != nil {
		t.Fatal(err)
	}
	build("first")
	holds(first, "first")
	if _, err := os.Stat(second); err == nil {
		t.Error("what nobody has used for a day is still there")
	}
}

// TestLocks wants a lock that is held to be given to nobody else.
func TestLocks(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(file)
	if err != nil {
		t.Fatal(err)
	}
	if tryLock(file) {
		t.Error("two have the same lock")
	}
	unlock()
	if !tryLock(file) {
		t.Error("a lock that was given up is given to nobody")
	}
	if tryLock(file) {
		t.Error("two have the same lock")
	}
}

// TestAskedFor asks for tests by name.
func TestAskedFor(t *testing.T) {
	for _, test := range []struct {
		asked    string
		required bool
		rounds   int
	}{{"", false, 1}, {"crashes,crashing", false, 1}, {"docker,crash", true, 5}, {"soak", false, 1}, {"crash,soak", true, 50}} {
		t.Setenv("TEST_REQUIRE", test.asked)
		if Required("crash") != test.required || Rounds("crash", 1, 5) != test.rounds {
			t.Errorf("%q: required %t, %d rounds", test.asked, Required("crash"), Rounds("crash", 1, 5))
		}
		t.Run("long", func(t *testing.T) {
			t.Cleanup(func() {
				if t.Skipped() == test.required {
					t.Errorf("%q: skipped is %t", test.asked, t.Skipped())
				}
			})
			Long(t, "crash", "it takes long")
		})
	}
}
