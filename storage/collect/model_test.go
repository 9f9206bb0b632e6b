package collect

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// spin checks the model with definitions, and returns what it says.
func spin(t *testing.T, definitions ...string) string {
	t.Helper()
	dir := t.TempDir()
	model, err := filepath.Abs("protocol.pml")
	if err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = dir
		output, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%.3000s", name, err, output)
		}
		return string(output)
	}
	arguments := []string{"-a", "-DROUNDS=1"}
	for _, d := range definitions {
		arguments = append(arguments, "-D"+d)
	}
	run("spin", append(arguments, model)...)
	run("gcc", "-O1", "-w", "-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=3000", "-o", "pan", "pan.c")
	output := run(filepath.Join(dir, "pan"), "-m1000000")
	for _, incomplete := range []string{"max search depth too small", "out of memory", "Search not completed"} {
		if strings.Contains(output, incomplete) && strings.Contains(output, "errors: 0") {
			t.Fatalf("not everything was looked at: %s", output)
		}
	}
	if strings.Contains(output, "invalid end state (") {
		t.Fatalf("the model stops in the middle: %s", output)
	}
	return output
}

// needsSpin skips the test unless TEST_REQUIRE asks for it: it takes a minute. Then
// spin must be installed.
func needsSpin(t *testing.T) {
	t.Helper()
	if !slices.Contains(strings.Split(os.Getenv("TEST_REQUIRE"), ","), "spin") {
		t.Skip("skipped: takes a minute, and needs spin and gcc: TEST_REQUIRE=spin")
	}
	for _, program := range []string{"spin", "gcc"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%s is not installed", program)
		}
	}
}

// TestProtocol has every interleaving looked at.
func TestProtocol(t *testing.T) {
	needsSpin(t)
	for name, definitions := range map[string][]string{
		"the whole way to quarantine": {"SWEEPS=2"},
		"a crash":                     {"SWEEPS=1", "WITH_CRASH"},
		"an index before its child":   {"SWEEPS=2", "WITH_INDEX"},
		"an emptied quarantine":       {"SWEEPS=2", "WITH_EMPTY"},
		"two sweeps":                  {"SWEEPS=1", "WITH_TWO_SWEEPS"},
	} {
		t.Run(name, func(t *testing.T) {
			if output := spin(t, definitions...); !strings.Contains(output, "errors: 0") {
				t.Errorf("the protocol does not hold: %s", output)
			}
		})
	}
}

// TestProtocolSweeps checks that the model comes to sweep something at all.
func TestProtocolSweeps(t *testing.T) {
	needsSpin(t)
	if output := spin(t, "SWEEPS=2", "REACH_SWEPT"); !strings.Contains(output, "assertion violated") {
		t.Errorf("nothing is ever swept: %s", output)
	}
}

// TestProtocolNeeds switches off each rule, and wants it to be missed.
func TestProtocolNeeds(t *testing.T) {
	needsSpin(t)
	for rule, with := range map[string][]string{
		"GUARD_HEAD": nil, "GUARD_SWEEP": nil, "GUARD_PUT": nil, "LOOK_AGAIN": nil, "RESTORE": nil,
		"RENEW_HEAD": nil, "RENEW_MOUNT": nil, "RENEW_COMMIT": nil, "IDLE_AT_DELETE": nil,
		"GUARD_MOUNT": {"WITH_EMPTY"}, "GUARD_COMMIT": {"WITH_EMPTY"}, "GUARD_EMPTY": {"WITH_EMPTY"},
		"CHILDREN": {"WITH_INDEX"}, "DURABLE_IDLE": {"WITH_CRASH"},
	} {
		t.Run(rule, func(t *testing.T) {
			output := spin(t, append([]string{"SWEEPS=3", "NO_" + rule}, with...)...)
			if !strings.Contains(output, "errors: 1") || !strings.Contains(output, "assertion violated") {
				t.Errorf("nobody misses it: %s", output)
			}
		})
	}
}
