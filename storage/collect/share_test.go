package collect

import (
	"context"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage"
	_ "github.com/berth-oci/berth/storage/local" // the driver
	"github.com/berth-oci/berth/storage/pace"
)

// TestShare: while clients write, a sweep that shares their syncs is at work for its
// share of the time and no more; while nobody does, as the rates say.
func TestShare(t *testing.T) {
	store, err := storage.Open(t.Context(), "filesystem", map[string]any{"rootdirectory": t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	now, slept := time.Now(), time.Duration(0)
	c := &Collector{options: Options{Store: store, Rate: 1 << 30, Operations: 1000, Share: 10}, pace: pace.Pace{
		Now: func() time.Time { return now },
		Sleep: func(_ context.Context, d time.Duration) error {
			slept, now = d, now.Add(d)
			return nil
		},
	}}
	work := func(took time.Duration, beside bool) time.Duration {
		t.Helper()
		now, slept = now.Add(took), 0
		if beside {
			release, err := store.Rely(t.Context(), storage.GuardPut, digest.FromString("pushed"))
			if err != nil {
				t.Fatal(err)
			}
			release()
		}
		if err := c.wait(t.Context(), 20, 0); err != nil {
			t.Fatal(err)
		}
		return slept
	}
	c.begin()
	if err := c.wait(t.Context(), 200, 0); err != nil { // of what was not used before, some is made up for
		t.Fatal(err)
	}
	for _, s := range []struct {
		took   time.Duration
		beside bool
		slept  time.Duration
	}{
		{10 * time.Millisecond, false, 10 * time.Millisecond},
		{10 * time.Millisecond, true, 90 * time.Millisecond},
		{time.Millisecond, true, 19 * time.Millisecond},         // the rate is less
		{time.Second, true, longestRest - 100*time.Millisecond}, // what a pace makes up for
		{10 * time.Millisecond, false, 10 * time.Millisecond},
	} {
		if slept := work(s.took, s.beside); slept != s.slept {
			t.Errorf("after %v of work, with clients that write: %v, it waits %v, want %v", s.took, s.beside, slept, s.slept)
		}
	}
}
