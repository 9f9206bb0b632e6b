// Package pace has work in the background take no more than its share.
package pace

import (
	"context"
	"time"
)

// Pace spends the time that something takes at the rate that is allowed. Of time in
// which nothing was done, no more than a moment is made up for. One goroutine uses it.
type Pace struct {
	// Sleep waits, or returns an error once ctx has ended; Now is the time. Neither is
	// nil.
	Sleep func(ctx context.Context, d time.Duration) error
	Now   func() time.Time

	next time.Time // when it may go on
}

// credit is what is made up for.
const credit = 100 * time.Millisecond

// Wait waits as long as it takes until what costs so much time may be done. The error
// is that of Sleep, or of ctx.
func (p *Pace) Wait(ctx context.Context, cost time.Duration) error {
	now := p.Now()
	if p.next.Before(now.Add(-credit)) {
		p.next = now.Add(-credit)
	}
	p.next = p.next.Add(cost)
	if ahead := p.next.Sub(now); ahead > 0 {
		return p.Sleep(ctx, ahead)
	}
	return ctx.Err()
}

// Sleep waits by the clock, or until ctx ends, and returns its error then.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
