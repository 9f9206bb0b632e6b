// Package test runs berth as a user does: a real process, real clients, real
// files, real signals. Nothing here is imported by berth.
package test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// binary is the berth that the tests start; TestMain builds it.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "berth-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "berth")
		build := exec.Command("go", "build", "-o", binary, "../cmd/berth")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build berth:", err)
			return 1
		}
		return m.Run()
	}())
}

// Berth is a running berth process.
type Berth struct {
	URL  string // http://127.0.0.1:port
	Host string // 127.0.0.1:port
	Data string // its data folder

	t      testing.TB
	args   []string
	env    []string
	wrap   []string // a command that starts berth
	cmd    *exec.Cmd
	exited chan struct{}
	log    *logBuffer
}

// option changes how a berth is started.
type option func(*Berth)

// withArgs adds flags of serve.
func withArgs(args ...string) option { return func(b *Berth) { b.args = append(b.args, args...) } }

// withEnv adds environment variables, as KEY=value.
func withEnv(env ...string) option { return func(b *Berth) { b.env = append(b.env, env...) } }

// withData uses a folder that exists already.
func withData(dir string) option { return func(b *Berth) { b.Data = dir } }

// start runs berth on a free port, with a data folder of its own, and stops it
// when the test ends.
func start(t testing.TB, options ...option) *Berth {
	t.Helper()
	b := &Berth{t: t}
	for _, o := range options {
		o(b)
	}
	if b.Data == "" {
		b.Data = t.TempDir()
	}
	b.run(freeAddress(t))
	t.Cleanup(b.stop)
	return b
}

// nextPort is where freeAddress looks next.
var nextPort atomic.Uint32

func init() { nextPort.Store(rand.Uint32()) }

// freeAddress is an address that stays a berth's own while it is stopped: below
// the ports that the system gives to whoever asks for any, and given to no other
// test.
func freeAddress(t testing.TB) string {
	t.Helper()
	const first, count = 20_000, 12_000 // Linux gives those from 32768 on, others higher ones
	for range count {
		address := fmt.Sprintf("127.0.0.1:%d", first+nextPort.Add(1)%count)
		if l, err := net.Listen("tcp", address); err == nil {
			_ = l.Close()
			return address
		}
	}
	t.Fatal("no port is free")
	return ""
}

// cleanEnv is the environment without what berth would take for its settings.
func cleanEnv() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "BERTH_") })
}

var greeting = regexp.MustCompile(`serves (https?)://(\S+)`)

func (b *Berth) run(listen string) {
	b.t.Helper()
	args := append([]string{"serve", "--listen", listen, "--data", b.Data}, b.args...)
	b.cmd = wrapped(b.wrap, binary, args...)
	b.cmd.Env = append(cleanEnv(), b.env...)
	// A test binary that is killed takes its berth with it.
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	b.log = &logBuffer{}
	b.cmd.Stderr = b.log
	stdout, err := b.cmd.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.exited = make(chan struct{})
	found := make(chan []string, 1)
	go func() {
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if m := greeting.FindStringSubmatch(lines.Text()); m != nil {
				found <- m
			}
		}
		_ = b.cmd.Wait()
		close(b.exited)
	}()
	select {
	case m := <-found:
		b.URL, b.Host = m[1]+"://"+m[2], m[2]
	case <-b.exited:
		b.t.Fatalf("berth ended at once:\n%s", b.log)
	case <-time.After(time.Minute):
		b.t.Fatalf("berth did not start within a minute:\n%s", b.log)
	}
}

// kill ends the process as a crash would, and waits until it is gone.
func (b *Berth) kill() {
	_ = b.cmd.Process.Signal(syscall.SIGKILL)
	<-b.exited
}

// stop ends the process in an orderly way; it fails the test if that does not
// end well. Stopping what is stopped does nothing.
func (b *Berth) stop() {
	b.t.Helper()
	select {
	case <-b.exited:
		return
	default:
	}
	_ = b.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-b.exited:
		if code := b.cmd.ProcessState.ExitCode(); code != 0 {
			b.t.Errorf("berth stopped with %d:\n%s", code, b.log)
		}
	case <-time.After(time.Minute):
		b.kill()
		b.t.Errorf("berth did not stop within a minute:\n%s", b.log)
	}
}

// restart starts the process again on the same data and the same address.
func (b *Berth) restart() {
	b.t.Helper()
	b.run(b.Host)
}

// rss is the resident memory of the process in bytes.
func (b *Berth) rss() int64 {
	b.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.cmd.Process.Pid))
	if errors.Is(err, os.ErrNotExist) {
		b.t.Skip("skipped: memory of a process is read from /proc, which is not here")
	}
	if err != nil {
		b.t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(status), "\n") {
		var kb int64
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kb); n == 1 {
			return kb << 10
		}
	}
	b.t.Fatal("no VmRSS in the process status")
	return 0
}

// logBuffer keeps what the process logs.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder // guarded by mu
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// needs skips a test, saying so, if a program is not installed.
func needs(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("skipped: needs %s, which is not installed", p)
		}
	}
}

// testContext ends with the test, or after a time that no test should take.
func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// client is for requests that berth must answer soon.
var client = &http.Client{Timeout: 30 * time.Second}
