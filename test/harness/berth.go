// Package harness runs berth as a user does, as a real process, and asks it:
// what the tests of more than one subject need. Nothing of berth imports it.
package harness

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
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

// Berth is a running berth process.
type Berth struct {
	*Client        // asks it, at http://127.0.0.1:port
	Host    string // 127.0.0.1:port
	Data    string // its data folder

	Env    []string      // what its environment has besides that of the test
	Cmd    *exec.Cmd     // the process, or the last one
	Exited chan struct{} // closed when the process has ended
	Log    *LogBuffer    // of the process

	t    testing.TB
	args []string
	wrap []string // a command that starts berth, with its first arguments
}

// Option changes how a berth is started.
type Option func(*Berth)

// WithArgs adds flags of serve.
func WithArgs(args ...string) Option { return func(b *Berth) { b.args = append(b.args, args...) } }

// WithEnv adds environment variables, as KEY=value.
func WithEnv(env ...string) Option { return func(b *Berth) { b.Env = append(b.Env, env...) } }

// WithData uses a folder that exists already.
func WithData(dir string) Option { return func(b *Berth) { b.Data = dir } }

// WithFiles limits how many files berth may open, with the limit of a shell.
func WithFiles(n int) Option {
	return func(b *Berth) {
		b.wrap = []string{"sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, n)}
	}
}

// Start runs berth on a free port, with a data folder of its own, and stops it
// when the test ends.
func Start(t testing.TB, options ...Option) *Berth {
	t.Helper()
	b := &Berth{t: t}
	for _, o := range options {
		o(b)
	}
	if b.Data == "" {
		b.Data = t.TempDir()
	}
	b.run(FreeAddress(t))
	t.Cleanup(func() {
		b.Stop()
		otherwise.report(t, b.Host)
	})
	return b
}

// Ports that the system gives to no one who asks for any: Linux gives those
// from 32768 on, others higher ones. They are cut into parts, of which each
// process that tests takes one.
const firstPort, portsOfProcess, processes = 20_000, 500, 24

var (
	nextPort atomic.Uint32
	ports    = sync.OnceValue(func() uint32 {
		nextPort.Store(rand.Uint32N(portsOfProcess))
		begin := rand.Uint32N(processes)
		if dir, err := cacheDir(); err == nil {
			// For all modules of a user, which have the same ports.
			for i := range uint32(processes) {
				part := (begin + i) % processes
				if tryLock(filepath.Join(filepath.Dir(dir), fmt.Sprint("ports-", part))) {
					return firstPort + part*portsOfProcess
				}
			}
		}
		return firstPort + begin*portsOfProcess
	})
)

// FreeAddress is an address that stays a berth's own while it is stopped: it is
// given to no other test, and by the system to nobody.
func FreeAddress(t testing.TB) string {
	t.Helper()
	for range portsOfProcess {
		address := fmt.Sprintf("127.0.0.1:%d", ports()+nextPort.Add(1)%portsOfProcess)
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
	command := append(slices.Concat(b.wrap, []string{Binary(b.t)}), args...)
	b.Cmd = exec.Command(command[0], command[1:]...)
	b.Cmd.Env = append(cleanEnv(), b.Env...)
	// A test binary that is killed takes its berth with it.
	b.Cmd.SysProcAttr = endsWithTest()
	b.Log = &LogBuffer{}
	b.Cmd.Stderr = b.Log
	stdout, err := b.Cmd.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.Cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.Exited = make(chan struct{})
	found := make(chan []string, 1)
	go func() {
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if m := greeting.FindStringSubmatch(lines.Text()); m != nil {
				found <- m
			}
		}
		_ = b.Cmd.Wait()
		close(b.Exited)
	}()
	select {
	case m := <-found:
		if url := m[1] + "://" + m[2]; b.Client == nil || b.URL != url {
			b.Client = NewClient(url)
		}
		b.HTTP.CloseIdleConnections() // to the process before
		b.Host = m[2]
	case <-b.Exited:
		b.t.Fatalf("berth ended at once:\n%s", b.Log)
	case <-time.After(time.Minute):
		b.t.Fatalf("berth did not start within a minute:\n%s", b.Log)
	}
}

// Kill ends the process as a crash would, and waits until it is gone.
func (b *Berth) Kill() {
	_ = b.Cmd.Process.Signal(syscall.SIGKILL)
	<-b.Exited
}

// Stop ends the process in an orderly way; it fails the test if that does not
// end well. Stopping what is stopped does nothing.
func (b *Berth) Stop() {
	b.t.Helper()
	select {
	case <-b.Exited:
		return
	default:
	}
	_ = b.Cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-b.Exited:
		if code := b.Cmd.ProcessState.ExitCode(); code != 0 {
			b.t.Errorf("berth stopped with %d:\n%s", code, b.Log)
		}
	case <-time.After(time.Minute):
		b.Kill()
		b.t.Errorf("berth did not stop within a minute:\n%s", b.Log)
	}
}

// Restart starts the process again on the same data and the same address.
func (b *Berth) Restart() {
	b.t.Helper()
	b.run(b.Host)
}

// LogBuffer keeps what a process logs, and can be read while it does.
type LogBuffer struct {
	mu sync.Mutex
	b  strings.Builder // guarded by mu
}

// Write adds to the log.
func (l *LogBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String is all that was logged so far.
func (l *LogBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
