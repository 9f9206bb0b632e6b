package bolt

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berth-oci/berth/catalog/index"
)

// TestScale measures an index of as many images as BERTH_TEST_SCALE says, which is
// made from storage, as that makes it, unless it is there from another run: in
// BERTH_TEST_SCALE_DIR, where it then stays.
func TestScale(t *testing.T) {
	n := 0
	if _, err := fmt.Sscan(os.Getenv("BERTH_TEST_SCALE"), &n); err != nil {
		t.Skip("BERTH_TEST_SCALE is not set to a number of images")
	}
	dir := os.Getenv("BERTH_TEST_SCALE_DIR")
	if dir == "" {
		dir = t.TempDir()
	}
	path := filepath.Join(dir, fmt.Sprintf("catalog-%d.db", n))
	if _, err := os.Stat(path); err != nil {
		begin := time.Now()
		x, err := Build(path, place1, func(x *Index) error { buildAll(t, x, 0, n); return nil })
		if err != nil {
			t.Fatal(err)
		}
		took := time.Since(begin)
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("built in %v, %.0f images a second, %d bytes each", took.Round(time.Second), float64(n)/took.Seconds(), info.Size()/int64(n))
	}
	before := ownMemory(t)
	begin := time.Now()
	x, err := Open(path, place1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.Stats(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("opened in %v, with %d KB of own memory", time.Since(begin).Round(time.Microsecond), (ownMemory(t)-before)>>10)
	defer func() {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	}()
	measureLookups(t, x, n)
	measureList(t, x)
	begin, cpu := time.Now(), cpuTime(t)
	const pushes = 2000
	pushAll(t, x, n+1, n+1+pushes)
	t.Logf("%.0f pushes a second, of CPU %v each", pushes/time.Since(begin).Seconds(), (cpuTime(t)-cpu)/pushes)
}

func measureLookups(t *testing.T, x *Index, n int) {
	const times = 2000
	ctx := context.Background()
	for name, look := range map[string]func(s sample) error{
		"by tag": func(s sample) error { _, err := x.Tagged(ctx, s.repository, s.tag); return err },
		"by digest": func(s sample) error {
			_, err := x.ByDigest(ctx, s.index.Digest, nil, "", 1)
			return err
		},
		"by UUID": func(s sample) error {
			_, err := x.ByUUID(ctx, index.ImageUUID(s.repository, s.index.Digest), nil)
			return err
		},
		"ten by name": func(s sample) error {
			_, _, err := x.List(ctx, index.Query{Within: []string{s.repository}}, "", 10)
			return err
		},
		"ten by time": func(s sample) error {
			_, _, err := x.List(ctx, index.Query{ByTime: true, From: &index.Position{Time: s.manifest.Image.Created}}, "", 10)
			return err
		},
	} {
		var samples []sample
		for i := range times {
			samples = append(samples, sampleOf(i*7919%n))
		}
		for range 2 { // the first fills what the system keeps of the file
			begin, cpu := time.Now(), cpuTime(t)
			for _, s := range samples {
				if err := look(s); err != nil {
					t.Fatal(err)
				}
			}
			t.Logf("%s: %v, of CPU %v", name, time.Since(begin)/times, (cpuTime(t)-cpu)/times)
		}
	}
}

func measureList(t *testing.T, x *Index) {
	begin, cpu, n := time.Now(), cpuTime(t), 0
	for cursor, first := index.Cursor(""), true; first || cursor != ""; first = false {
		entries, next, err := x.List(t.Context(), index.Query{}, cursor, 1000)
		if err != nil {
			t.Fatal(err)
		}
		n, cursor = n+len(entries), next
	}
	t.Logf("%d listed, %v each, of CPU %v", n, time.Since(begin)/time.Duration(n), (cpuTime(t)-cpu)/time.Duration(n))
}

// cpuTime is what the process has used: on a machine that others use too, it says
// more than the clock.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// ownMemory is what of the process's memory is its own, in bytes, and not of files.
func ownMemory(t *testing.T) int64 {
	t.Helper()
	f, err := os.Open("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if value, ok := strings.CutPrefix(s.Text(), "RssAnon:"); ok {
			var kb int64
			if _, err := fmt.Sscan(value, &kb); err != nil {
				t.Fatal(err)
			}
			return kb << 10
		}
	}
	return 0
}
