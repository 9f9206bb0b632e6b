package clients

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

func program(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, name, args...)
}

// run runs a program; the error holds what it said.
func run(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// TestDockerWithAccounts logs in, pushes, pulls and logs out with docker, against
// a closed berth where everyone may pull the official images.
func TestDockerWithAccounts(t *testing.T) {
	t.Parallel()
	d := startDocker(t)
	b := harness.Start(t, harness.WithEnv("BERTH_ACCOUNTS_ANONYMOUS_OFFICIAL=true"))
	root, alice, bob := harness.AddAccount(t, b, "root", "--admin"), harness.AddAccount(t, b, "alice"), harness.AddAccount(t, b, "bob")
	login := func(who harness.Account) error {
		cmd := d.command("login", "-u", who.Name, "--password-stdin", b.Host)
		cmd.Stdin = strings.NewReader(who.Secret)
		return run(cmd)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	refused := func(what string, err error, says ...string) {
		t.Helper()
		for _, s := range says {
			if err != nil && strings.Contains(strings.ToLower(err.Error()), s) {
				return
			}
		}
		t.Errorf("%s: %v", what, err)
	}
	private, official := b.Host+"/alice/app:v1", b.Host+"/official/tools:v1"
	id := importImage(t, d, private)
	must(run(d.command("tag", private, official)))

	refused("login with a wrong password", login(alice.Wrong()), "unauthorized")
	refused("push without a login", run(d.command("push", private)), "unauthorized", "authentication required", "no basic auth", "denied")
	must(login(bob))
	refused("push by another account", run(d.command("push", private)), "denied")
	must(login(alice))
	must(run(d.command("push", private)))
	refused("publish as a tenant", run(d.command("push", official)), "denied")
	must(login(root))
	must(run(d.command("push", official)))
	must(run(d.command("logout", b.Host)))
	forget := func() {
		t.Helper()
		must(run(d.command("rmi", "--force", id)))
		if d.command("image", "inspect", id).Run() == nil {
			t.Fatal("the daemon still has the image")
		}
	}

	forget()
	name, digest := harness.DigestAs(t, b, alice, "alice/app:v1")
	pulled := b.Host + "/" + name + "@" + digest
	refused("pull without a login", run(d.command("pull", pulled)), "unauthorized", "authentication required", "no basic auth", "denied")
	must(login(bob))
	refused("pull by another account", run(d.command("pull", pulled)), "not found", "unknown", "does not exist")
	must(run(d.command("logout", b.Host)))

	// Nobody is logged in: official images are there, by either name.
	must(run(d.command("pull", b.Host+"/tools:v1")))
	forget()
	must(run(d.command("pull", official)))
	forget()
	// A login still reaches what is private.
	must(login(alice))
	must(run(d.command("pull", pulled)))
	must(run(d.command("pull", b.Host+"/tools:v1")))
	if got := strings.TrimSpace(harness.RunTool(t, d.command("image", "inspect", "--format", "{{.Id}}", pulled))); got != id {
		t.Errorf("pulled the image %s, want %s", got, id)
	}
	harness.WantNoSecrets(t, map[string]string{"the log": b.Log.String()}, root, alice, bob)
}

// importImage makes an image with a kernel and an initrd.
func importImage(t *testing.T, d dockerDaemon, image string) (id string) {
	t.Helper()
	root := t.TempDir()
	tree := filepath.Join(root, "unikraft", "bin")
	if err := os.MkdirAll(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kernel", "initrd"} {
		if err := os.WriteFile(filepath.Join(tree, name), bytes.Repeat([]byte(name), 1000), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := d.command("import", "--change", `CMD ["/server"]`, "-", image)
	cmd.Stdin = strings.NewReader(harness.RunTool(t, exec.Command("tar", "-C", root, "-c", ".")))
	return strings.TrimSpace(harness.RunTool(t, cmd))
}
