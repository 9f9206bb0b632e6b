package pace_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/berth-oci/berth/storage/pace"
)

// TestPace checks that work takes its time, that time in which nothing was done is
// not made up for, and that the end of a context ends the waiting.
func TestPace(t *testing.T) {
	now := time.Unix(1000, 0)
	var slept time.Duration
	p := pace.Pace{
		Now: func() time.Time { return now },
		Sleep: func(ctx context.Context, d time.Duration) error {
			now, slept = now.Add(d), slept+d
			return ctx.Err()
		},
	}
	work := func() time.Duration {
		slept = 0
		for range 10 {
			if err := p.Wait(t.Context(), time.Second); err != nil {
				t.Fatal(err)
			}
		}
		return slept
	}
	const most = 10 * time.Second
	if took := work(); took > most || took < most-time.Second {
		t.Errorf("ten seconds of work took %v", took)
	}
	now = now.Add(time.Hour)
	if took := work(); took > most || took < most-time.Second {
		t.Errorf("after an hour of nothing, ten seconds of work took %v", took)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	for _, cost := range []time.Duration{0, time.Second} {
		if err := p.Wait(ended, cost); !errors.Is(err, context.Canceled) {
			t.Errorf("%v of work after the end: %v", cost, err)
		}
	}
	if err := pace.Sleep(ended, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("slept after the end: %v", err)
	}
	if err := pace.Sleep(t.Context(), time.Nanosecond); err != nil {
		t.Error(err)
	}
}
