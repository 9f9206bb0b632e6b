package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// Resync is the type of the event that tells a receiver to list again: changes up to
// its revision may not be told, all after it are.
const Resync = "resync"

// The reasons of a Resync, in its data.
const (
	// Started: this is the first event, or the receiver's address or filter is new.
	Started = "started"
	// Expired: the receiver was away for so long that changes are not kept any more,
	// or the index, whose revisions these were, was built anew.
	Expired = "expired"
)

// batch is how many events are read at a time.
const batch = 32

// loop sends to one receiver.
type loop struct {
	hook    Hook
	options Options
	cursors *cursors
	poster  *poster
	log     *slog.Logger

	mu      sync.Mutex
	numbers Status    // guarded by mu
	logged  time.Time // when a failure was; guarded by mu
}

func newLoop(h Hook, o Options, kept *cursors) *loop {
	return &loop{hook: h, options: o, cursors: kept, poster: newPoster(h, o), numbers: Status{Name: h.Name},
		log: o.Log.With("webhook", h.Name, "receiver", place(h.URL))}
}

func (l *loop) status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.numbers
}

// run sends until work ends; a try that is under way then goes on until requests
// ends.
func (l *loop) run(work, requests context.Context) {
	tries := 0
	for work.Err() == nil {
		progress, err := l.step(work, requests)
		if progress {
			tries = 0
		}
		if err == nil || work.Err() != nil {
			continue
		}
		l.failed(err)
		select {
		case <-work.Done():
		case <-time.After(l.pause(tries, err)):
		}
		tries++
	}
}

// pause is how long to wait after a number of tries in vain.
func (l *loop) pause(tries int, err error) time.Duration {
	shortest, longest := l.options.Shortest, l.options.Longest
	wait := longest
	if tries < 30 && shortest<<tries < longest {
		wait = shortest << tries
	}
	// Receivers that failed together are not asked together.
	wait = wait/2 + rand.N(wait/2+1)
	var answer *refusal
	if errors.As(err, &answer) {
		wait = max(wait, min(answer.after, longest))
	}
	return wait
}

// step sends what there is, or waits until there is more. progress reports whether
// the receiver has taken anything.
func (l *loop) step(work, requests context.Context) (progress bool, err error) {
	since := l.cursors.of(l.hook.Name)
	if since == "" {
		return l.resync(work, requests, Started)
	}
	events, next, err := l.hook.Feed.After(work, since, batch)
	if errors.Is(err, ErrGone) {
		return l.resync(work, requests, Expired)
	}
	if err != nil {
		return false, fmt.Errorf("the changes cannot be read: %w", err)
	}
	for _, e := range events {
		if work.Err() != nil {
			return progress, nil
		}
		if err := l.poster.post(requests, e); err != nil {
			return progress, err
		}
		progress = true
		l.taken(e.Revision)
	}
	if next != since {
		l.cursors.move(l.hook, next)
		return progress, nil
	}
	return progress, l.hook.Feed.Wait(work, since)
}

// resync tells the receiver to list again, and goes on from there.
func (l *loop) resync(work, requests context.Context, reason string) (bool, error) {
	last, err := l.hook.Feed.Last(work)
	if err != nil {
		return false, fmt.Errorf("the changes cannot be read: %w", err)
	}
	now := time.Now()
	data, err := json.Marshal(map[string]string{"type": Resync, "revision": last, "reason": reason})
	if err != nil {
		return false, err
	}
	// The ID is not that of the change which has the revision.
	e := Event{Revision: last + "." + Resync, Type: Resync, Time: now, Data: data}
	if err := l.poster.post(requests, e); err != nil {
		return false, err
	}
	l.taken(last)
	if err := l.cursors.save(); err != nil {
		// It is told again after a crash, and by then more may be missing.
		l.log.Warn("how far a webhook's receiver is could not be written down yet", "error", err)
	}
	if reason == Expired {
		l.log.Warn("a webhook's receiver was told to list again: changes since it last took one are not known any more")
	}
	return true, nil
}

// taken notes that the receiver has everything up to a revision.
func (l *loop) taken(revision string) {
	l.cursors.move(l.hook, revision)
	l.mu.Lock()
	since := l.numbers.FailingSince
	l.numbers.Taken++
	l.numbers.FailingSince = time.Time{}
	l.mu.Unlock()
	if !since.IsZero() {
		l.log.Info("a webhook gets on again", "failed_for", time.Since(since).Round(time.Second))
	}
}

// remind is how long nothing is logged of a receiver that goes on failing.
const remind = time.Hour

// failed notes that an event was not taken.
func (l *loop) failed(err error) {
	now := time.Now()
	l.mu.Lock()
	first := l.numbers.FailingSince.IsZero()
	l.numbers.Failed++
	if first {
		l.numbers.FailingSince = now
	}
	since := l.numbers.FailingSince
	say := first || now.Sub(l.logged) >= remind
	if say {
		l.logged = now
	}
	l.mu.Unlock()
	if say {
		l.log.Warn("a webhook does not get on: it is tried again until it does", "error", err, "failing_for", now.Sub(since).Round(time.Second))
	}
}
