package harness

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// Needs skips a test, saying so, if a program is not installed.
func Needs(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("skipped: needs %s, which is not installed: this runs where it is", p)
		}
	}
}

// TestContext ends with the test, or after a time that no test should take.
func TestContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// CommandLine runs berth to its end, with nothing of the test's environment
// but what is given, and returns what it prints and its exit status.
func CommandLine(t testing.TB, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.CommandContext(TestContext(t), Binary(t), args...)
	cmd.Env = append([]string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}, env...)
	cmd.Dir = t.TempDir()
	cmd.WaitDelay = time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("berth %s: %v", strings.Join(args, " "), err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// Eventually waits until something holds, for as long as that may take.
func Eventually(t testing.TB, otherwise string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(otherwise)
		}
	}
}

// Require is Needs for tools that CI must have: it names them in TEST_REQUIRE,
// separated by commas, and then a tool that is not there fails the test.
func Require(t testing.TB, tool string, programs ...string) {
	t.Helper()
	for _, program := range append(programs, tool) {
		if _, err := exec.LookPath(program); err == nil {
			continue
		}
		if Required(tool) {
			t.Fatalf("needs %s, which is not installed, and TEST_REQUIRE holds %s", program, tool)
		}
		t.Skipf("skipped: needs %s, which is not installed: this runs where it is, and fails without it for TEST_REQUIRE=%s", program, tool)
	}
}

// Required reports whether TEST_REQUIRE has a name in it: that of a tool which
// must be there, or of tests which take long and are asked for.
func Required(name string) bool {
	return slices.Contains(strings.Split(os.Getenv("TEST_REQUIRE"), ","), name)
}

// Long skips a test that takes long, unless it is asked for by name: a plain go
// test is to end soon. why says what takes long.
func Long(t testing.TB, name, why string) {
	t.Helper()
	if !Required(name) {
		t.Skipf("skipped: %s; TEST_REQUIRE=%s runs it", why, name)
	}
}

// Rounds is how often something is repeated: so often in a plain go test, more
// often where TEST_REQUIRE has the name, and ten times that where it also has
// soak.
func Rounds(name string, plain, required int) int {
	switch {
	case Required(name) && Required("soak"):
		return 10 * required
	case Required(name):
		return required
	default:
		return plain
	}
}

// RunTool runs a program that must succeed, and returns what it prints.
func RunTool(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(cmd.Args, " "), err, &stdout, &stderr)
	}
	return stdout.String()
}

// Skopeo copies with all that a test wants of it: no policy, and plain HTTP.
func Skopeo(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "skopeo", append([]string{"--insecure-policy", "copy", "--all"}, args...)...)
}

// CommandKilled runs berth, and kills it when something has happened.
func CommandKilled(t testing.TB, env []string, happened <-chan struct{}, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(TestContext(t), Binary(t), args...)
	cmd.Env = append([]string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}, env...)
	cmd.Dir = t.TempDir()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-happened:
		_ = cmd.Process.Kill()
		<-ended
	case err := <-ended:
		t.Fatalf("berth %s ended before: %v", strings.Join(args, " "), err)
	}
}
