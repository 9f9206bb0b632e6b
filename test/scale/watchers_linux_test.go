package scale

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

// What watchers may cost.
const (
	maxBytesPerWatcher = 40 << 10
	maxIdleShare       = 0.05 // of what a push costs
	maxDelay           = 50 * time.Millisecond
	// What it computes to bring one change to one of them: so much that a thousand
	// have it within the delay, on one of two processors.
	maxPerEvent = 50 * time.Microsecond
)

// cpuOf is how much time a process has computed so far.
func cpuOf(t *testing.T, b *harness.Berth) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", b.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * time.Second / 100
}

// residentOf is how much memory it has, in bytes.
func residentOf(t *testing.T, b *harness.Berth) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", b.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, _ := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// crowd are watchers that count what they get.
type crowd struct {
	got    atomic.Int64
	delays chan time.Duration
	open   sync.WaitGroup
}

// watch has n clients follow the changes of a namespace; each is there once it has
// its first bookmark.
func watch(ctx context.Context, t *testing.T, b *harness.Berth, n int, namespace string) *crowd {
	t.Helper()
	c := &crowd{delays: make(chan time.Duration, 1<<20)}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: -1, ReadBufferSize: 1 << 10, WriteBufferSize: 1 << 10}}
	var ready sync.WaitGroup
	for range n {
		ready.Add(1)
		c.open.Go(func() {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.URL+"/v1/changes?namespace="+namespace, nil)
			if err != nil {
				panic(err)
			}
			r.Header.Set("Accept", "application/x-ndjson")
			a, err := client.Do(r)
			if err != nil || a.StatusCode != http.StatusOK {
				t.Errorf("%v, %v", a, err)
				ready.Done()
				return
			}
			defer a.Body.Close()
			lines, first := bufio.NewReaderSize(a.Body, 1<<10), true
			for {
				line, err := lines.ReadString('\n')
				if err != nil {
					return
				}
				if first {
					first = false
					ready.Done()
				} else if _, after, ok := strings.Cut(line, `"time":"`); ok {
					at, _, _ := strings.Cut(after, `"`)
					if made, err := time.Parse(time.RFC3339Nano, at); err == nil {
						c.delays <- time.Since(made)
						c.got.Add(1)
					}
				}
			}
		})
	}
	ready.Wait()
	return c
}

// TestThousandWatchers counts what a thousand watchers cost: memory for each, and
// processor time with each push if it is not for them; and, if it is, how long it takes
// until it has reached them.
func TestThousandWatchers(t *testing.T) {
	harness.Long(t, "watchers", "it counts what a thousand clients cost, and wants the machine for itself")
	const watchers, pushes = 1000, 300
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur < 3000 {
		t.Skipf("only %d files may be open, %v", files.Cur, err)
	}
	b := harness.Start(t, harness.WithArgs("--log-level", "warn"),
		harness.WithEnv("BERTH_HTTP_LIMITS_CONNECTIONS=2000", "BERTH_HTTP_LIMITS_CONNECTIONS_PER_CLIENT=2000", "BERTH_HTTP_LIMITS_STREAMS=2000"))
	n := 0
	push := func(namespace string, times int) time.Duration {
		begin := cpuOf(t, b)
		for range times {
			n++
			harness.PushSmall(t, b, namespace+"/app", fmt.Sprint(n), "2026-01-01T00:00:00Z", "v1")
		}
		return (cpuOf(t, b) - begin) / time.Duration(times)
	}
	push("bob", pushes) // what is warm stays so
	without := push("bob", pushes)
	before := residentOf(t, b)
	ctx, cancel := context.WithCancel(t.Context())
	c := watch(ctx, t, b, watchers, "alice")
	defer c.open.Wait()
	defer cancel()
	each := (residentOf(t, b) - before) / watchers
	with := push("bob", pushes)
	t.Logf("%d bytes for each watcher; a push costs %v without and %v with %d idle watchers", each, without, with, watchers)
	if each > maxBytesPerWatcher {
		t.Errorf("%d bytes for each watcher, want at most %d", each, maxBytesPerWatcher)
	}
	if share := float64(with-without) / float64(without); share > maxIdleShare {
		t.Errorf("idle watchers make a push %.1f %% dearer", 100*share)
	}
	if c.got.Load() != 0 {
		t.Errorf("%d changes came that are not for them", c.got.Load())
	}
	const told = 20
	begin := cpuOf(t, b)
	for range told {
		push("alice", 1)
		time.Sleep(100 * time.Millisecond)
	}
	harness.Eventually(t, "not all changes have come", func() bool { return c.got.Load() == 2*told*watchers })
	perEvent := (cpuOf(t, b) - begin - told*without) / (2 * told * watchers)
	t.Logf("%v of processor time to bring a change to one of them", perEvent)
	if perEvent > maxPerEvent {
		t.Errorf("%v for each, want at most %v", perEvent, maxPerEvent)
	}
	var delays []time.Duration
	for len(c.delays) > 0 {
		delays = append(delays, <-c.delays)
	}
	slices.Sort(delays)
	late := delays[len(delays)*99/100]
	t.Logf("of %d, half came within %v and 99 %% within %v", len(delays), delays[len(delays)/2], late)
	if late > maxDelay {
		t.Errorf("99 %% came within %v, want %v", late, maxDelay)
	}
}
