package clients

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

var (
	console = regexp.MustCompile("(?ms)^```console\n(.*?)^```\n")
	prompt  = regexp.MustCompile(`(?m)^\$ `)
)

// consoleBlock is the block of a document, marked console, that holds a text
// which stands in no other, without its prompts.
func consoleBlock(t *testing.T, document, holds string) (commands string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(harness.Root(), document))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, block := range console.FindAllStringSubmatch(string(text), -1) {
		if strings.Contains(block[1], holds) {
			commands = prompt.ReplaceAllString(block[1], "")
			found++
		}
	}
	if found != 1 {
		t.Fatalf("%d blocks of %s hold %q, want 1", found, document, holds)
	}
	return commands
}

// TestDockerDocuments runs the commands with docker that README and the document
// on accounts print, but for those that build and run berth's own image, for
// which other images have to be fetched. Only the address is another.
func TestDockerDocuments(t *testing.T) {
	t.Parallel()
	push := consoleBlock(t, "README.md", "docker import")
	pull := consoleBlock(t, "README.md", "docker pull")
	login := consoleBlock(t, "registry/access/README.md", "docker login")
	harness.Needs(t, "sh", "tar")
	d := startDocker(t)
	b := harness.Start(t)
	dir := t.TempDir()
	as := func(commands string, env ...string) string {
		t.Helper()
		cmd := exec.CommandContext(d.ctx, "sh", "-e", "-c", strings.ReplaceAll(commands, "127.0.0.1:5000", b.Host))
		cmd.Dir = dir
		cmd.Env = append([]string{
			"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "DOCKER_HOST=" + d.socket(), "DOCKER_CONFIG=" + filepath.Join(d.dir, "config"),
		}, env...)
		return harness.RunTool(t, cmd)
	}

	said := pushedDigest.FindStringSubmatch(as(push))
	name, digest := harness.DigestByTag(t, b, "alice/app:v1")
	if said == nil || name != "alice/app" || digest != said[1] {
		t.Fatalf("docker push said %v, and the API has %s@%s", said, name, digest)
	}
	image := b.Host + "/alice/app:v1"
	harness.RunTool(t, d.command("rmi", image))
	as(pull)
	harness.RunTool(t, d.command("image", "inspect", image))

	alice := harness.AddAccount(t, b, "alice")
	if err := run(d.command("push", image)); err == nil {
		t.Error("docker pushes to a closed registry without a login")
	}
	as(login, "ALICE="+alice.Secret)
	if _, again := harness.DigestAs(t, b, alice, "alice/app:v1"); again != digest {
		t.Errorf("after a push with a login the API has %s, want %s", again, digest)
	}
}
