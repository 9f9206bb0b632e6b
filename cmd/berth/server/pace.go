package server

import (
	"sync"
	"time"
)

// Pace is how slow a client may be. Only the time counts in which berth waits
// for the client, never what berth itself takes.
type Pace struct {
	// Stall is how long a client may let berth wait without any progress.
	Stall time.Duration
	// Rate is how many bytes a second a client must send or take, as soon as it
	// has fallen behind by Stall.
	Rate int64
	// Request bounds all the waiting for the client in one direction of a
	// request that is short: everything but the bodies of uploads, and the
	// answers that are blobs or lists.
	Request time.Duration
}

// pace is how far a client has come in one direction of a request, against the
// rate that it is held to.
type pace struct {
	limits Pace
	short  bool // bounded by limits.Request
	// unrated is set where no rate is asked for: what is written is little, and
	// seldom. It is set before the pace is used.
	unrated bool

	mu sync.Mutex
	// level is the moment up to which the client has paid for the time that
	// berth waits for it; guarded by mu, like what follows. A client that makes
	// the rate pays up to now.
	level   time.Time
	waiting bool          // for the client, now
	since   time.Time     // when waiting began or ended last
	waited  time.Duration // altogether
	ended   bool          // the client is to be cut off
}

func newPace(limits Pace, short bool) *pace {
	now := time.Now()
	return &pace{limits: limits, short: short, level: now, since: now}
}

// begin is called before berth waits for the client, with how many bytes it is
// to take, and returns until when. They are credited: who takes them at the
// rate is not late, however large the piece is.
func (p *pace) begin(bytes int) time.Time {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.level = p.level.Add(now.Sub(p.since)) // that was berth's time
	p.since, p.waiting = now, true
	if p.ended {
		return now.Add(-time.Second)
	}
	if p.unrated {
		p.level = now
	}
	deadline := p.level.Add(p.limits.Stall + p.worth(bytes))
	if p.short {
		deadline = earlier(deadline, now.Add(p.limits.Request-p.waited))
	}
	return deadline
}

// end is called when the waiting is over, with how many bytes came of it.
func (p *pace) end(bytes int) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.level = earlier(p.level.Add(p.worth(bytes)), now)
	p.waited += now.Sub(p.since)
	p.since, p.waiting = now, false
}

// behind is how long the client is behind the rate while berth waits for it,
// and 0 while it does not.
func (p *pace) behind(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.waiting {
		return 0
	}
	return now.Sub(p.level)
}

// stop lets the client have no more time, and reports whether it had some.
// Waiting that has begun goes on.
func (p *pace) stop() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	had := !p.ended
	p.ended = true
	return had
}

// hurry leaves the client no more than so long, without progress, from now on.
func (p *pace) hurry(stall time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limits.Stall = stall
}

// worth is the time that so many bytes may take.
func (p *pace) worth(bytes int) time.Duration {
	return time.Duration(bytes) * time.Second / time.Duration(p.limits.Rate)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
