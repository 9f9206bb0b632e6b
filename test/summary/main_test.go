package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// run has go test run files of one package and returns the summary of it.
func run(t *testing.T, files map[string]string) (text string, ok bool) {
	t.Helper()
	dir := t.TempDir()
	files["go.mod"] = "module example.com/m\n\ngo 1.26\n"
	for name, content := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "test", "-json", "./...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		t.Fatal(err)
	}
	var b strings.Builder
	ok, errRead := summarize(strings.NewReader(string(out)+said.String()), &b)
	if errRead != nil {
		t.Fatal(errRead)
	}
	if ok != (err == nil) {
		t.Errorf("go test ended with %v, and the summary says %v", err, ok)
	}
	return b.String(), ok
}

func wantParts(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in\n%s", part, text)
		}
	}
}

func wantEnd(t *testing.T, text, end string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if last := lines[len(lines)-1]; last != end {
		t.Errorf("the last line is %q, want %q in\n%s", last, end, text)
	}
}

const header = "import \"testing\"\n\n"

func TestPassedAndSkipped(t *testing.T) {
	t.Parallel()
	text, ok := run(t, map[string]string{
		"a/a_test.go": "package a\n" + header + `
func TestGood(t *testing.T) { t.Log("says nothing") }
func TestParts(t *testing.T) { for _, n := range []string{"x", "y/z/y"} { t.Run(n, func(t *testing.T) {}) } }
func TestNot(t *testing.T) { t.Log("before"); t.Skip("skipped: needs a ship") }
func TestNeither(t *testing.T) { t.Skipf("skipped: needs a %s", "ship") }
func TestMute(t *testing.T) { t.SkipNow() }
`,
		"b/b.go": "package b\n",
	})
	if !ok {
		t.Error("not ok")
	}
	wantEnd(t, text, "3 passed, 0 failed, 3 skipped")
	wantParts(t, text, "\nslowest tests:\n", "s  example.com/m/a TestGood\n", "\nskipped:\n  needs a ship\n    example.com/m/a TestNot\n    example.com/m/a TestNeither\n",
		"no reason given\n    example.com/m/a TestMute\n")
	if !regexp.MustCompile(`(?m)^ok\s+example.com/m/a\s`).MatchString(text) {
		t.Errorf("the package has no line in\n%s", text)
	}
	if strings.Contains(text, "says nothing") || strings.Contains(text, "\nfailed:") {
		t.Errorf("too much is in\n%s", text)
	}
}

func TestFailed(t *testing.T) {
	t.Parallel()
	text, ok := run(t, map[string]string{
		"a/a_test.go": "package a\n" + header + `
func TestGood(t *testing.T) { t.Log("says nothing") }
func TestBad(t *testing.T) { t.Error("this is wrong") }
func TestParts(t *testing.T) {
	t.Run("good", func(t *testing.T) {})
	t.Run("as/bad", func(t *testing.T) { t.Error("that is wrong") })
}
func TestAfter(t *testing.T) { t.Run("good", func(t *testing.T) {}); t.Error("wrong itself") }
`,
	})
	if ok {
		t.Error("ok")
	}
	wantEnd(t, text, "3 passed, 3 failed, 0 skipped")
	wantParts(t, text, "this is wrong", "that is wrong", "wrong itself", "\nfailed:\n",
		"  example.com/m/a TestBad failed\n", "  example.com/m/a TestParts/as/bad failed\n", "  example.com/m/a TestAfter failed\n")
	if strings.Contains(text, "says nothing") || strings.Contains(text, "TestParts failed") {
		t.Errorf("too much is in\n%s", text)
	}
}

// TestFailedPackages has packages that come to no result: each is a failure.
func TestFailedPackages(t *testing.T) {
	t.Parallel()
	text, ok := run(t, map[string]string{
		"broken/a_test.go":  "package broken\n" + header + "func TestBroken(t *testing.T) { nothing() }\n",
		"exits/a_test.go":   "package exits\nimport (\"os\"; \"testing\")\nfunc TestMain(m *testing.M) { println(\"no way\"); os.Exit(3) }\n",
		"panics/a_test.go":  "package panics\n" + header + "func TestPanic(t *testing.T) { t.Log(\"about to\"); go panic(\"aaah\"); select {} }\n",
		"good/good_test.go": "package good\n" + header + "func TestGood(t *testing.T) {}\n",
	})
	if ok {
		t.Error("ok")
	}
	wantEnd(t, text, "1 passed, 3 failed, 0 skipped")
	wantParts(t, text, "undefined: nothing", "no way", "aaah", "example.com/m/broken failed to build", "example.com/m/exits failed outside of its tests",
		"example.com/m/panics TestPanic failed")
}

func TestNothingTested(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	ok, err := summarize(strings.NewReader("go: no such thing\n"), &b)
	if ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
	wantParts(t, b.String(), "go: no such thing\n")
	wantEnd(t, b.String(), "0 passed, 0 failed, 0 skipped")
}
