package test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func accountsProgram(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, name, args...)
}

// accountsRun runs a program; the error holds what it said.
func accountsRun(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// TestAccountsDocker logs in, pushes, pulls and logs out with docker, against
// a closed berth where everyone may pull the official images.
func TestAccountsDocker(t *testing.T) {
	t.Parallel()
	d := startDocker(t)
	b := start(t, withEnv("BERTH_ACCOUNTS_ANONYMOUS_OFFICIAL=true"))
	root, alice, bob := accountsAdd(t, b, "root", "--admin"), accountsAdd(t, b, "alice"), accountsAdd(t, b, "bob")
	login := func(who accountsTenant) error {
		cmd := d.command("login", "-u", who.Name, "--password-stdin", b.Host)
		cmd.Stdin = strings.NewReader(who.Secret)
		return accountsRun(cmd)
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
	id := accountsImport(t, d, private)
	must(accountsRun(d.command("tag", private, official)))

	refused("login with a wrong password", login(alice.wrong()), "unauthorized")
	refused("push without a login", accountsRun(d.command("push", private)), "unauthorized", "authentication required", "no basic auth", "denied")
	must(login(bob))
	refused("push by another account", accountsRun(d.command("push", private)), "denied")
	must(login(alice))
	must(accountsRun(d.command("push", private)))
	refused("publish as a tenant", accountsRun(d.command("push", official)), "denied")
	must(login(root))
	must(accountsRun(d.command("push", official)))
	must(accountsRun(d.command("logout", b.Host)))
	forget := func() {
		t.Helper()
		must(accountsRun(d.command("rmi", "--force", id)))
		if d.command("image", "inspect", id).Run() == nil {
			t.Fatal("the daemon still has the image")
		}
	}

	forget()
	name, digest := accountsDigest(t, b, alice, "alice/app:v1")
	pulled := b.Host + "/" + name + "@" + digest
	refused("pull without a login", accountsRun(d.command("pull", pulled)), "unauthorized", "authentication required", "no basic auth", "denied")
	must(login(bob))
	refused("pull by another account", accountsRun(d.command("pull", pulled)), "not found", "unknown", "does not exist")
	must(accountsRun(d.command("logout", b.Host)))

	// Nobody is logged in: official images are there, by either name.
	must(accountsRun(d.command("pull", b.Host+"/tools:v1")))
	forget()
	must(accountsRun(d.command("pull", official)))
	forget()
	// A login still reaches what is private.
	must(login(alice))
	must(accountsRun(d.command("pull", pulled)))
	must(accountsRun(d.command("pull", b.Host+"/tools:v1")))
	if got := strings.TrimSpace(runTool(t, d.command("image", "inspect", "--format", "{{.Id}}", pulled))); got != id {
		t.Errorf("pulled the image %s, want %s", got, id)
	}
	accountsGreps(t, map[string]string{"the log": b.log.String()}, root, alice, bob)
}

// accountsImport makes an image with a kernel and an initrd.
func accountsImport(t *testing.T, d dockerDaemon, image string) (id string) {
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
	cmd.Stdin = strings.NewReader(runTool(t, exec.Command("tar", "-C", root, "-c", ".")))
	return strings.TrimSpace(runTool(t, cmd))
}
