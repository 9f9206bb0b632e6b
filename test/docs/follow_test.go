//go:build unix

package docs

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

var (
	shellBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```\n")
	// serving is a line that goes on until somebody stops berth.
	serving = regexp.MustCompile(`(?m)^(?:go run \./cmd/|)berth serve\b.*$`)
	// printing is one that goes on too, in a terminal of its own: what it prints goes to
	// a file, and begins with how it is.
	printing = regexp.MustCompile(`(?m)^go run \./(?:cmd/berth images watch|test/receiver\b.*)$`)
)

// guide is a document whose commands are run as they are printed, in their
// order and in one shell, as somebody does who follows it. Only the address is
// another.
type guide struct {
	file string // below the module's root
	dir  string // where the commands are given
	host string // what stands for 127.0.0.1:5000
	// receiver is what stands for 127.0.0.1:8099, "" for that.
	receiver string
	// before is run before the block that holds a text: what the document says
	// in words.
	before map[string]string
	// after is run at the end, as a block of its own.
	after string
}

// shown is what a block must print, and must not. It is known by something that
// stands in no other.
type shown struct {
	block     string
	says, not []string
}

// printed is the file for what is printed in a terminal of its own.
const printed = "printed"

// mark stands behind each block's output.
const mark = "--- end of block ---"

// prelude defines what stops berth with the shell, whoever ends first: the test
// holds the other end of descriptor 3.
const prelude = `set -e
(cat <&3 >/dev/null; kill -TERM 0) >/dev/null 2>&1 &
exec 3<&-
trap 'trap "" TERM; kill -TERM 0; wait' EXIT
ready() {
	until curl -fs -o /dev/null "http://$ADDRESS/readyz"; do
		kill -0 "$SERVER" || exit 1
		sleep 0.1
	done
}
stop() { kill -TERM "$SERVER"; wait "$SERVER"; }
`

// follow runs the document's blocks and wants each to show what is expected of
// it; every block must be expected. It returns what berth logged.
func (g guide) follow(t *testing.T, expected []shown) (log string) {
	t.Helper()
	harness.Require(t, "curl")
	harness.Needs(t, "sh", "cat", "sed")
	text, err := os.ReadFile(filepath.Join(harness.Root(), g.file))
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, block := range shellBlock.FindAllSubmatch(text, -1) {
		blocks = append(blocks, string(block[1]))
	}
	if g.after != "" {
		blocks = append(blocks, g.after)
	}
	script := prelude
	for _, block := range blocks {
		for text, command := range g.before {
			if strings.Contains(block, text) {
				script += "{ " + command + "\n} >&2\n"
			}
		}
		block = printing.ReplaceAllString(block, "$0 >"+printed+" 2>&1 &\nPRINTER=$$!\nuntil grep -qi 'watching\\|listening' "+printed+"; do kill -0 $$PRINTER; sleep 0.1; done\n")
		script += serving.ReplaceAllString(block, "$0 >&2 &\nSERVER=$$!\nready") + "printf '\\n" + mark + "\\n'\n"
	}
	script = strings.ReplaceAll(script, "127.0.0.1:5000", g.host)
	if g.receiver != "" {
		script = strings.ReplaceAll(script, "127.0.0.1:8099", g.receiver)
	}
	stdout, stderr, err := g.shell(t, script)
	outputs := strings.Split(stdout, "\n"+mark+"\n")
	if err != nil {
		t.Fatalf("block %d of %s: %v\n%s\n%s", len(outputs), g.file, err, outputs[len(outputs)-1], stderr)
	}
	wantShown(t, blocks, outputs[:len(outputs)-1], expected)
	return stderr
}

// shell runs a script with nothing of the test's environment but what tools
// need, and waits until all that it has started is gone.
func (g guide) shell(t *testing.T, script string) (stdout, stderr string, err error) {
	t.Helper()
	home := t.TempDir()
	policy := filepath.Join(home, ".config", "containers")
	if err := os.MkdirAll(policy, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(policy, "policy.json"), []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(harness.TestContext(t), "sh", "-c", script)
	cmd.Dir = g.dir
	cmd.Env = append(goEnv(t),
		"PATH="+filepath.Dir(harness.Binary(t))+":"+os.Getenv("PATH"), "HOME="+home, "XDG_RUNTIME_DIR="+home,
		"REGISTRY_AUTH_FILE="+filepath.Join(home, "auth.json"), "no_proxy=127.0.0.1",
		"ADDRESS="+g.host, "BERTH_HTTP_LISTEN="+g.host, "BERTH_HOST="+g.host)
	held, hold, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	defer held.Close()
	cmd.ExtraFiles = []*os.File{held}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// goEnv is where go finds what it has built and fetched, although HOME is
// another.
func goEnv(t *testing.T) (env []string) {
	t.Helper()
	names := []string{"GOCACHE", "GOMODCACHE", "GOPATH", "GOENV"}
	values := strings.Split(harness.RunTool(t, exec.CommandContext(harness.TestContext(t), "go", append([]string{"env"}, names...)...)), "\n")
	for i, name := range names {
		env = append(env, name+"="+values[i])
	}
	return env
}

// wantShown wants each block to have shown what the text around it says.
func wantShown(t *testing.T, blocks, outputs []string, expected []shown) {
	t.Helper()
	if len(blocks) != len(expected) || len(outputs) != len(expected) {
		t.Fatalf("%d blocks, %d outputs, and %d are expected", len(blocks), len(outputs), len(expected))
	}
	for i, want := range expected {
		if !strings.Contains(blocks[i], want.block) {
			t.Errorf("block %d is not the one with %q:\n%s", i+1, want.block, blocks[i])
		}
		for _, part := range want.says {
			if !strings.Contains(outputs[i], part) {
				t.Errorf("block %d\n%s\ndoes not show %q:\n%s", i+1, blocks[i], part, outputs[i])
			}
		}
		for _, part := range want.not {
			if strings.Contains(outputs[i], part) {
				t.Errorf("block %d\n%s\nshows %q:\n%s", i+1, blocks[i], part, outputs[i])
			}
		}
	}
}

// folderWithImages is a folder in which test/testdata is found, as in a clone.
func folderWithImages(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Symlink(filepath.Join(harness.Root(), "test"), filepath.Join(dir, "test")); err != nil {
		t.Fatal(err)
	}
	return dir
}
