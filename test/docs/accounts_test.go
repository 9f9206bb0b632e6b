// Package docs runs the commands that are printed in documents.
package docs

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

var (
	chapter    = regexp.MustCompile(`(?ms)^## Accounts\n(.*?)^## `)
	shellBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```\n")
)

// readBlocks are the commands of README's chapter, block by block.
func readBlocks(t *testing.T) (blocks []string) {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join(harness.Root(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	chapter := chapter.FindSubmatch(readme)
	if chapter == nil {
		t.Fatal("README has no chapter Accounts")
	}
	for _, block := range shellBlock.FindAllSubmatch(chapter[1], -1) {
		blocks = append(blocks, string(block[1]))
	}
	return blocks
}

// TestAccountsChapter runs the code blocks of README's chapter as they are
// printed, in their order and in one shell, as somebody does who follows it.
// Only the address is another, which the configuration says too.
func TestAccountsChapter(t *testing.T) {
	harness.Require(t, "skopeo")
	harness.Require(t, "curl")
	harness.Needs(t, "sh", "sed", "od", "base64", "sha256sum")
	t.Parallel()
	// A clone of the repository, in which berth has just been started.
	clone, home := t.TempDir(), t.TempDir()
	if err := os.Symlink(filepath.Join(harness.Root(), "test"), filepath.Join(clone, "test")); err != nil {
		t.Fatal(err)
	}
	b := harness.Start(t, harness.WithData(filepath.Join(clone, "berth-data")))
	policy := filepath.Join(home, ".config", "containers")
	if err := os.MkdirAll(policy, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(policy, "policy.json"), []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}

	// A mark behind each block tells their outputs apart.
	const mark = "\n--- end of block ---\n"
	blocks := readBlocks(t)
	script := "set -e\n"
	for _, block := range blocks {
		script += strings.ReplaceAll(block, "127.0.0.1:5000", b.Host) + "printf '" + strings.ReplaceAll(mark, "\n", `\n`) + "'\n"
	}
	cmd := exec.CommandContext(harness.TestContext(t), "sh", "-c", script)
	cmd.Dir = clone
	cmd.Env = []string{
		"PATH=" + filepath.Dir(harness.Binary(t)) + ":" + os.Getenv("PATH"), "HOME=" + home, "XDG_RUNTIME_DIR=" + home,
		"REGISTRY_AUTH_FILE=" + filepath.Join(home, "auth.json"), "no_proxy=127.0.0.1",
		"BERTH_HTTP_LISTEN=" + b.Host,
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	outputs := strings.Split(stdout.String(), mark)
	if err != nil {
		t.Fatalf("block %d: %v\n%s\n%s\nlog:\n%s", len(outputs), err, outputs[len(outputs)-1], &stderr, b.Log)
	}
	wantShown(t, blocks, outputs[:len(outputs)-1])
	for _, layout := range []string{"from-alice", "python"} {
		if blobs := harness.BlobsOf(t, filepath.Join(clone, layout)); len(blobs) != 5 {
			t.Errorf("of %s, bob pulled %d blobs", layout, len(blobs))
		}
	}
	file, err := os.ReadFile(filepath.Join(b.Data, "accounts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for where, text := range map[string]string{"the accounts file": string(file), "the log": b.Log.String()} {
		if strings.Contains(text, "berth_") {
			t.Errorf("%s holds a secret:\n%s", where, text)
		}
	}
}

// wantShown wants each block to have shown what the text around it
// says. A block is known by something that stands in no other.
func wantShown(t *testing.T, blocks, outputs []string) {
	t.Helper()
	// skopeo compresses what it copies, so the digest is not the fixture's.
	const hello, empty = "/alice/hello@sha256:", `"images":[]`
	expected := []struct {
		block     string
		says, not []string
	}{
		{"secret() {", nil, []string{"berth_"}},
		{`curl -u "root:$ROOT"`, []string{"401\n", `"status":"success"`, empty}, nil},
		{"ALICE=$(berth account add", nil, []string{"berth_"}},
		{"skopeo login", []string{"Login Succeeded!", hello}, []string{`"owner"`}},
		{`curl -u "bob:$BOB"`, []string{empty, "404\n"}, []string{"alice"}},
		{"grant bob write team", []string{"bob may now write team.", "bob may no longer read alice/hello."}, nil},
		{"CONTROLLER=$(", []string{"controller may now read alice, bob.", hello}, nil},
		{"BEARER=$(", []string{`"tags":["alice/hello:latest"]`}, nil},
		{"official/python", nil, nil},
		{"/v1/users/quotas\nberth account show", []string{`"hard":{"image_storage_bytes":10737418240}`, `"images":1`, "10GiB", "in 1 image"}, nil},
		{"LAPTOP=$(", []string{`Revoked the token "laptop" of alice.`, "401\n", "ci "}, []string{"laptop  "}},
		{"CAROL=$(", []string{`"image_storage_bytes":1073741824`}, []string{"error"}},
	}
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
