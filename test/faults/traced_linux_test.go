package faults

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

// traced runs op while a berth is traced, and returns the trace.
func traced(t *testing.T, b *harness.Berth, calls string, op func()) string {
	t.Helper()
	return attached(t, b, func(to string) *exec.Cmd {
		return exec.Command("strace", "-f", "-y", "-s", "200000", "-o", to, "-e", "trace="+calls, "-p", strconv.Itoa(b.Cmd.Process.Pid))
	}, op)
}

// attached runs op while strace is attached to a berth, by a command that writes
// to a file, and returns what it has written.
func attached(t *testing.T, b *harness.Berth, command func(to string) *exec.Cmd, op func()) string {
	t.Helper()
	harness.Require(t, "strace")
	to := filepath.Join(t.TempDir(), "trace")
	cmd := command(to)
	said, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	first := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(said)
		for begun := true; lines.Scan(); begun = false {
			if begun {
				first <- lines.Text()
			}
		}
		close(first)
	}()
	if line := <-first; !strings.Contains(line, "attached") {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if harness.Required("strace") {
			t.Fatalf("TEST_REQUIRE holds strace: %s", line)
		}
		t.Skipf("skipped: a process cannot be traced here: %s", line)
	}
	op()
	_ = cmd.Process.Signal(os.Interrupt)
	_ = cmd.Wait() // it ends by the signal
	trace, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	return string(trace)
}

// TestTracedDay has several clients push, move and delete, the same blobs at the
// same time among them, and checks with a trace of berth's system calls that no
// answer comes before what it promises is durable.
func TestTracedDay(t *testing.T) {
	t.Parallel()
	harness.Long(t, "strace", "it traces every system call")
	harness.Require(t, "strace")
	b := harness.Start(t)
	root, index := filepath.Join(b.Data, "storage"), filepath.Join(b.Data, "catalog.db")
	const clients, rounds = 4, 5
	trace := traced(t, b, "read,write,writev,sendto,pwrite64,fsync,fdatasync,syncfs,renameat,renameat2,unlinkat,linkat", func() {
		var all sync.WaitGroup
		for i := range clients {
			all.Go(func() {
				c, repository := harness.NewClient(b.URL), fmt.Sprintf("r%d/app", i)
				for n := range rounds {
					image := harness.NewImage("k", fmt.Sprint(i, n))
					digest, err := c.Push(repository, fmt.Sprint("v", n), image)
					if err == nil { // more than the journal takes
						err = c.PushBlob("shared/app", []byte(strings.Repeat(fmt.Sprint("of round ", n), 30_000)))
					}
					if err == nil && n%2 == 1 {
						_, err = c.Want(202, "DELETE", "/v2/"+repository+"/manifests/"+digest, nil)
					}
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
	})
	p := newPromises(root, index)
	p.check(trace)
	for i, wrong := range p.violations {
		if i < 10 {
			t.Error(wrong)
		}
	}
	if want := clients*rounds*6 + clients*(rounds/2); p.answers < want || p.commits == 0 {
		t.Errorf("the trace has %d answers that promise something, and %d syncs of the index: want %d and some", p.answers, p.commits, want)
	}
	t.Logf("%d answers, %d syncs, %d violations", p.answers, p.syncs, len(p.violations))
}

// TestSyncsOfAPush counts how often berth waits for the disk while images of a few
// bytes are pushed, in five requests each: by one client, and by eight.
func TestSyncsOfAPush(t *testing.T) {
	t.Parallel()
	harness.Long(t, "strace", "it traces every system call")
	harness.Require(t, "strace")
	b := harness.Start(t)
	if err := pushFive(harness.NewClient(b.URL), "first/app", "1"); err != nil {
		t.Fatal(err)
	}
	const clients, images = 8, 10
	count := func(clients int, what string) float64 {
		begin := make(chan struct{})
		trace := traced(t, b, "fsync,fdatasync,syncfs", func() {
			var all sync.WaitGroup
			for i := range clients {
				all.Go(func() {
					c := harness.NewClient(b.URL)
					<-begin
					for n := range images {
						if err := pushFive(c, "a/app", fmt.Sprint(what, i, n)); err != nil {
							t.Error(err)
						}
					}
				})
			}
			close(begin)
			all.Wait()
			time.Sleep(100 * time.Millisecond) // what is synced after an answer counts too
		})
		p := newPromises("", "")
		p.check(trace)
		each := float64(p.syncs) / float64(clients*images)
		t.Logf("%d clients: %.1f syncs for an image", clients, each)
		return each
	}
	const most = 20
	one := count(1, "one")
	if one > most {
		t.Errorf("an image costs %.1f syncs, want %d at most", one, most)
	}
	if many := count(clients, "many"); many >= one {
		t.Errorf("with %d clients an image costs %.1f syncs, and with one %.1f", clients, many, one)
	}
}

// pushFive pushes an image in five requests.
func pushFive(c *harness.Client, repository, salt string) error {
	config := harness.JSON(map[string]any{"created": "2026-01-02T03:04:05Z", "os": "kraftcloud", "architecture": "x86_64", "salt": salt})
	kernel := []byte("kernel " + salt)
	for _, blob := range [][]byte{kernel, config} {
		if err := c.PushBlob(repository, blob); err != nil {
			return err
		}
	}
	manifest := harness.ManifestOf(harness.Describe(harness.OCIConfig, config), harness.Describe(harness.OCILayer, kernel))
	return c.PushManifest(repository, "latest", harness.OCIManifest, manifest)
}
