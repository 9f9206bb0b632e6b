package scale

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/bench/stored"
	"github.com/berth-oci/berth/test/harness"
)

// TestRebuildKilled kills a rebuild of the index, and goes on with it: the answers
// are those of an index that was made in one go.
func TestRebuildKilled(t *testing.T) {
	t.Parallel()
	harness.Long(t, "crash", "it makes a store to build an index of")
	s := newStore(t, 600)
	begun := make(chan struct{})
	go func() {
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if _, err := os.Stat(filepath.Join(s.dir, "catalog.db.new")); err == nil {
				break
			}
		}
		close(begun)
	}()
	harness.CommandKilled(t, nil, begun, "index", "rebuild", "--data", s.dir)
	if _, err := os.Stat(filepath.Join(s.dir, "catalog.db")); err == nil {
		t.Error("half an index is in place")
	}
	if _, stderr, code := harness.CommandLine(t, nil, "index", "rebuild", "--data", s.dir); code != 0 || !strings.Contains(stderr, "manifests=1200") {
		t.Errorf("exited with %d and said %q", code, stderr)
	}
	s.serve(t)
	if images, _, _ := s.whole(t); images != 600 {
		t.Errorf("the list has %d images, want 600", images)
	}
	harness.CompareRebuilt(t, s.b)
}

// TestStartAfterKill kills berth while clients push to large repositories, and
// starts it again: no repository is read again, and each takes changes at once. How
// long that took is told, and not judged.
//
//	SCALE_IMAGES=30000 TEST_REQUIRE=soak go test -v -run StartAfterKill -timeout 3h ./test/scale
func TestStartAfterKill(t *testing.T) {
	harness.Long(t, "soak", "16 large repositories take long to write")
	const repositories = 16
	images := 500 // of each
	if n, err := strconv.Atoi(os.Getenv("SCALE_IMAGES")); err == nil {
		images = n
	}
	data := t.TempDir()
	name := func(i int) string { return fmt.Sprintf("alice/app%d", i) }
	for i := range repositories {
		if err := stored.FilesOfOne(t.Context(), data, name(i), images, func(int) {}); err != nil {
			t.Fatal(err)
		}
	}
	b := harness.Start(t, harness.WithData(data))
	for range 3 {
		pushUntilKilled(t, b, repositories, name)
		begin := time.Now()
		b.Restart()
		t.Logf("with %d images in each of %d repositories, berth starts after a kill in %v, on %v of processor time",
			images, repositories, time.Since(begin).Round(time.Millisecond), b.CPU())
		c := harness.NewClient(b.URL)
		for i := range repositories {
			if _, err := c.Push(name(i), "after", harness.NewImage("k", "after the kill")); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("and each has taken a push after %v", time.Since(begin).Round(time.Millisecond))
		if strings.Contains(b.Log.String(), "repository read again") {
			t.Error("a repository was read again")
		}
	}
	harness.CompareRebuilt(t, b)
}

// pushUntilKilled has a client for each repository push, and kills berth among that.
func pushUntilKilled(t *testing.T, b *harness.Berth, repositories int, name func(int) string) {
	t.Helper()
	var pushed atomic.Int64
	var killed atomic.Bool
	var wg sync.WaitGroup
	for i := range repositories {
		wg.Go(func() {
			c := harness.NewClient(b.URL)
			for n := 0; ; n++ {
				if _, err := c.Push(name(i), fmt.Sprint("p", n), harness.NewImage("k", fmt.Sprint(time.Now(), i, n))); err != nil {
					if !killed.Load() {
						t.Error(err)
					}
					return
				}
				pushed.Add(1)
			}
		})
	}
	harness.Eventually(t, "nothing is pushed", func() bool { return pushed.Load() > int64(4*repositories) })
	killed.Store(true)
	b.Kill()
	wg.Wait()
}
