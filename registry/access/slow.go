package access

import (
	"container/list"
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	freeFailures   = 5                      // that are answered at once
	failureEvery   = 100 * time.Millisecond // of one address, after these
	longestWait    = 3 * time.Second
	knownAddresses = 10_000
	// mostWaiting is how many failures, of all addresses, are kept waiting: each
	// has a place among the requests in flight meanwhile, and whoever has many
	// addresses could take them all.
	mostWaiting = 16
)

// ErrTooManyFailures is the error when a client has failed so often that it is
// to be answered with 429.
var ErrTooManyFailures = errors.New("too many failed logins from this address; try again later")

// RetryAfter is the header Retry-After of an answer of 429 or 503 with that
// cause, in seconds: nobody else decides how long a client is told to wait.
func RetryAfter(cause error) string {
	wait := time.Second
	if errors.Is(cause, ErrTooManyFailures) {
		wait = longestWait // until all that wait now have been answered
	}
	return strconv.Itoa(int(wait / time.Second))
}

// failureLimiter spaces the failures of an address. It knows nothing of successes.
type failureLimiter struct {
	waiting atomic.Int64

	mu sync.Mutex
	// failures are by address; recent has the same ones, latest first, so that
	// a full table forgets who has been quiet for longest.
	failures map[netip.Prefix]*list.Element
	recent   list.List // of *failing
}

// failing is an address that has failed. Each failure takes up a span of time,
// one after the other; till is where the last one ends.
type failing struct {
	address netip.Prefix
	till    time.Time
	// waits is set from the first failure that has to wait until all is quiet.
	waits bool
}

// Slow is to be called after a request failed to authenticate, before it is
// answered. The first few failures of an address return at once, those after
// them one every 100 ms, in their order. The error is [ErrTooManyFailures] if
// more are waiting than can be let through in 3 s, or than may wait of all
// addresses, or that of ctx. Requests
// that succeed are never slowed, whoever else shares their address.
func (g *Gate) Slow(ctx context.Context, r *http.Request) error {
	address := addressOf(r)
	wait, first, err := g.failures.reserve(address, g.now())
	if first {
		g.log.WarnContext(ctx, "repeated failed logins: answers to this address are slowed down", "address", address.String())
	}
	if err != nil || wait <= 0 {
		return err
	}
	defer g.failures.waiting.Add(-1)
	if g.failures.waiting.Add(1) > mostWaiting {
		return ErrTooManyFailures
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// reserve says how long a failure at this moment has to wait. first is set for
// the one with which waiting begins.
func (s *failureLimiter) reserve(address netip.Prefix, now time.Time) (wait time.Duration, first bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failures == nil {
		s.failures = map[netip.Prefix]*list.Element{}
	}
	e, ok := s.failures[address]
	if !ok {
		if len(s.failures) >= knownAddresses {
			delete(s.failures, s.recent.Remove(s.recent.Back()).(*failing).address)
		}
		e = s.recent.PushFront(&failing{address: address})
		s.failures[address] = e
	}
	s.recent.MoveToFront(e)
	f := e.Value.(*failing)
	if f.till.Before(now) {
		f.till, f.waits = now, false
	}
	ahead := f.till.Sub(now) // of those before this one
	wait = ahead - (freeFailures-1)*failureEvery
	if wait > longestWait {
		return 0, false, ErrTooManyFailures
	}
	f.till = f.till.Add(failureEvery)
	first = wait > 0 && !f.waits
	f.waits = f.waits || first
	return max(wait, 0), first, nil
}

// addressOf is the peer's, without its port. Of IPv6 it is the network: one
// client has as many addresses in it as it likes.
func addressOf(r *http.Request) netip.Prefix {
	var ip netip.Addr
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		ip = peer.Addr().Unmap().WithZone("")
	}
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits) // the zero prefix for a peer without an IP address
	return p
}
