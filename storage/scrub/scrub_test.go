package scrub

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage"
)

// clock is one that goes on only while somebody sleeps.
type clock struct {
	mu     sync.Mutex
	time   time.Time
	asleep time.Duration
	most   time.Duration // of sleep; then sleeping waits for the end
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.time
}

func (c *clock) sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	c.time, c.asleep = c.time.Add(d), c.asleep+d
	over := c.most > 0 && c.asleep > c.most
	c.mu.Unlock()
	if over {
		<-ctx.Done()
	}
	return ctx.Err()
}

func (c *clock) slept() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asleep
}

// world is a storage with blobs, in the order of their digests.
type world struct {
	t     *testing.T
	store *storage.Store
	blobs []digest.Digest
	state string
	clock *clock
}

const blobSize = 1000

func newWorld(t *testing.T, n int) *world {
	t.Helper()
	store, err := storage.Open(t.Context(), "inmemory", nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, store: store, state: filepath.Join(t.TempDir(), "scrub.json"), clock: &clock{time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}}
	for i := range n {
		content := make([]byte, blobSize)
		content[0], content[1] = byte(i), byte(i>>8)
		d := digest.FromBytes(content)
		w.put(d, content)
		w.blobs = append(w.blobs, d)
	}
	slices.Sort(w.blobs)
	return w
}

func (w *world) put(d digest.Digest, content []byte) {
	w.t.Helper()
	path := "/docker/registry/v2/blobs/sha256/" + d.Encoded()[:2] + "/" + d.Encoded() + "/data"
	if err := w.store.Driver().PutContent(w.t.Context(), path, content); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) start(rate, operations int64) *Scrubber {
	return Start(Options{
		Store: w.store, State: w.state, Rate: rate, Operations: operations, Interval: time.Hour,
		Log: slog.New(slog.DiscardHandler), sleep: w.clock.sleep, now: w.clock.now,
	})
}

func eventually(t *testing.T, otherwise string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(otherwise)
		}
	}
}

// TestFinds flips a byte of a blob that nobody reads.
func TestFinds(t *testing.T) {
	w := newWorld(t, 20)
	wrong := make([]byte, blobSize)
	wrong[5] = 1
	w.put(w.blobs[7], wrong)
	w.clock.most = 30 * time.Minute
	s := w.start(1<<20, 1000)
	eventually(t, "a pass does not end", func() bool { return !s.Status().Ended.IsZero() })
	if got := s.Status(); got.Blobs != 20 || got.Damaged != 1 || got.Bytes != 20*blobSize || got.After != "" {
		t.Errorf("a pass has come to %+v", got)
	}
	for i, d := range w.blobs {
		if w.store.Quarantined(d) != (i == 7) {
			t.Errorf("blob %d is in quarantine: %v", i, i != 7)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestSlow checks that no more is read than may be.
func TestSlow(t *testing.T) {
	for _, test := range []struct {
		rate, operations int64
		atLeast          time.Duration
	}{
		{1000, 1_000_000, 20 * time.Second},
		{1 << 30, 2, 10 * time.Second},
	} {
		w := newWorld(t, 20)
		w.clock.most = 30 * time.Minute
		s := w.start(test.rate, test.operations)
		eventually(t, "a pass does not end", func() bool { return !s.Status().Ended.IsZero() })
		took := s.Status().Ended.Sub(s.Status().Began)
		if took < test.atLeast-time.Second || took > 2*test.atLeast {
			t.Errorf("at %d bytes and %d blobs a second, 20 blobs of %d bytes took %v", test.rate, test.operations, blobSize, took)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestRemembers checks that a pass goes on where it was, and that none begins
// before it is time.
func TestRemembers(t *testing.T) {
	w := newWorld(t, 20)
	w.clock.most = 5500 * time.Millisecond
	s := w.start(1<<30, 1) // a blob a second
	eventually(t, "it does not come to a halt", func() bool { return w.clock.slept() > w.clock.most })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	first := s.Status()
	if first.Blobs < 4 || first.Blobs > 7 || first.After != w.blobs[first.Blobs-1] {
		t.Fatalf("it has come to %+v", first)
	}
	w.clock.most = w.clock.slept() + 40*time.Minute
	again := w.start(1<<30, 1)
	eventually(t, "the pass does not end", func() bool { return !again.Status().Ended.IsZero() })
	if got := again.Status(); got.Blobs != 20 || got.ReadBlobs != 20-first.Blobs || !got.Began.Equal(first.Began) {
		t.Errorf("the pass went on to %+v", got)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	// It is time for another once the interval is over, and not before.
	w.clock.most = w.clock.slept() + 10*time.Minute
	third := w.start(1<<30, 1)
	eventually(t, "it does not come to a halt", func() bool { return w.clock.slept() > w.clock.most })
	if got := third.Status(); got.ReadBlobs != 0 {
		t.Errorf("another pass has begun too soon: %+v", got)
	}
	if err := third.Close(); err != nil {
		t.Fatal(err)
	}
	w.clock.most = w.clock.slept() + 70*time.Minute
	fourth := w.start(1<<30, 1)
	eventually(t, "no other pass begins", func() bool { return fourth.Status().ReadBlobs >= 20 })
	if err := fourth.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestStateDamaged checks that a state that cannot be read costs a pass, no more.
func TestStateDamaged(t *testing.T) {
	for _, text := range []string{"", "nonsense", `{"after":"nonsense"}`, `{"began":"2999-01-01T00:00:00Z","ended":"2999-01-01T00:00:00Z"}`} {
		w := newWorld(t, 3)
		if err := os.WriteFile(w.state, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		w.clock.most = 30 * time.Minute
		s := w.start(1<<20, 1000)
		eventually(t, "after "+text+" no pass ends", func() bool { return s.Status().ReadBlobs == 3 })
		if err := errors.Join(s.Close()); err != nil {
			t.Error(err)
		}
	}
}
