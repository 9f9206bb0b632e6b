package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

// dockerDaemon is a Docker daemon of the test's own.
type dockerDaemon struct {
	t   *testing.T
	ctx context.Context
	dir string
}

// startDocker starts a daemon that has nothing to do with one that may be
// running already, and stops it when the test ends.
func startDocker(t *testing.T) dockerDaemon {
	t.Helper()
	harness.Require(t, "docker", "dockerd", "tar")
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("skipped: a Docker daemon needs Linux and root")
	}
	// The path of a socket has 108 bytes at most.
	dir, err := os.MkdirTemp("/tmp", "berth-docker-")
	if err != nil {
		t.Fatal(err)
	}
	d := dockerDaemon{t, harness.TestContext(t), dir}
	logPath := filepath.Join(dir, "log")
	log, err := os.Create(logPath)
	if err != nil {
		t.Fatal(err)
	}
	daemon := exec.Command("dockerd", "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
		"-H", d.socket(), "--iptables=false", "--bridge=none", "--storage-driver=vfs",
		"--pidfile", filepath.Join(dir, "pid"), "--config-file", filepath.Join(dir, "none.json"))
	daemon.Stdout, daemon.Stderr = log, log
	daemon.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.Contains(strings.ToLower(v), "_proxy=") })
	daemon.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := os.WriteFile(filepath.Join(dir, "none.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = daemon.Wait()
		close(exited)
	}()
	t.Cleanup(func() {
		_ = daemon.Process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
		case <-time.After(30 * time.Second):
			_ = daemon.Process.Kill()
			<-exited
		}
		_ = log.Close()
		d.clean()
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		if d.command("info").Run() == nil {
			return d
		}
		select {
		case <-exited:
		default:
			if time.Now().Before(deadline) {
				continue
			}
		}
		said, err := os.ReadFile(logPath)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(said)), "\n")
		if harness.Required("docker") {
			t.Fatalf("dockerd does not start:\n%s", said)
		}
		t.Skipf("skipped: dockerd does not start here: %s", lines[len(lines)-1])
	}
}

func (d dockerDaemon) socket() string { return "unix://" + filepath.Join(d.dir, "s") }

// command is a docker that talks to this daemon, and knows no passwords.
func (d dockerDaemon) command(args ...string) *exec.Cmd {
	args = append([]string{"--config", filepath.Join(d.dir, "config"), "-H", d.socket()}, args...)
	cmd := exec.CommandContext(d.ctx, "docker", args...)
	cmd.Dir = d.dir
	return cmd
}

// clean removes what the daemon leaves: mounts of its own folders, and those.
func (d dockerDaemon) clean() {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		d.t.Error(err)
	}
	var points []string
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], d.dir+"/") {
			points = append(points, fields[1])
		}
	}
	slices.Sort(points)
	slices.Reverse(points) // what is mounted inside of another goes first
	for _, point := range points {
		if err := syscall.Unmount(point, syscall.MNT_DETACH); err != nil && !errors.Is(err, syscall.EINVAL) {
			d.t.Errorf("unmount %s: %v", point, err)
		}
	}
	if err := os.RemoveAll(d.dir); err != nil {
		d.t.Error(err)
	}
}

var pushedDigest = regexp.MustCompile(`digest: (sha256:[0-9a-f]{64})`)

// TestDocker pushes a file system with a kernel and an initrd in it, which is
// what docker build makes of two lines of COPY, and pulls it by digest.
func TestDocker(t *testing.T) {
	t.Parallel()
	d := startDocker(t)
	b := harness.Start(t)
	image := b.Host + "/alice/app:v1"

	tree := filepath.Join(t.TempDir(), "unikraft", "bin")
	if err := os.MkdirAll(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int{"kernel": 70000, "initrd": 9000} {
		if err := os.WriteFile(filepath.Join(tree, name), bytes.Repeat([]byte(name), size/len(name)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	archive := harness.RunTool(t, exec.Command("tar", "-C", filepath.Dir(filepath.Dir(tree)), "-c", "."))
	imported := d.command("import", "--change", `CMD ["/server"]`, "-", image)
	imported.Stdin = strings.NewReader(archive)
	id := strings.TrimSpace(harness.RunTool(t, imported))

	said := harness.RunTool(t, d.command("push", image))
	match := pushedDigest.FindStringSubmatch(said)
	if match == nil {
		t.Fatalf("docker push does not say a digest: %s", said)
	}
	want := dockerImage(t, b, match[1])
	harness.WantFixture(t, b, want, "alice/app", "v1")

	name, digest := harness.DigestByTag(t, b, "alice/app:v1")
	harness.RunTool(t, d.command("rmi", image))
	if out, err := d.command("image", "inspect", id).CombinedOutput(); err == nil {
		t.Fatalf("the daemon still has the image: %s", out)
	}
	pulled := b.Host + "/" + name + "@" + digest
	harness.RunTool(t, d.command("pull", pulled))
	if got := strings.TrimSpace(harness.RunTool(t, d.command("image", "inspect", "--format", "{{.Id}}", pulled))); got != id {
		t.Errorf("pulled the image %s, want %s", got, id)
	}
}

// dockerImage is what the API must say of the image that docker pushed: one
// layer, which is both the kernel and the initrd.
func dockerImage(t *testing.T, b *harness.Berth, digest string) harness.Fixture {
	t.Helper()
	var manifest struct {
		Config harness.Descriptor
		Layers []harness.Descriptor
	}
	raw := b.Get(t, "/v2/alice/app/manifests/"+digest, "application/vnd.docker.distribution.manifest.v2+json")
	if err := json.Unmarshal(raw, &manifest); err != nil || len(manifest.Layers) != 1 {
		t.Fatalf("%v, want one layer: %s", err, raw)
	}
	var config struct {
		Created      time.Time
		OS           string
		Architecture string
	}
	if err := json.Unmarshal(b.Get(t, "/v2/alice/app/blobs/"+manifest.Config.Digest, ""), &config); err != nil {
		t.Fatal(err)
	}
	layer := manifest.Layers[0]
	size := int64(len(b.Get(t, "/v2/alice/app/blobs/"+layer.Digest, "")))
	part := &harness.EntryPart{Digest: layer.Digest, Size: size, MediaType: layer.MediaType}
	args := []string{"/server"}
	return harness.Fixture{
		Digest: digest, Created: config.Created.UTC().Format(time.RFC3339Nano), Size: size, Initrd: true,
		Args: args, ArgsV1: "/server",
		Platforms: []harness.EntryPlatform{{
			Digest: digest, OS: config.OS, Architecture: config.Architecture, Size: size,
			Kernel: part, Initrd: part, ROMs: harness.NoROMs, Args: args,
		}},
	}
}
