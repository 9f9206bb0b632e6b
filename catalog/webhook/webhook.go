// Package webhook sends the changes of a berth to receivers, as CloudEvents over
// HTTP.
//
// Each receiver has a cursor, the revision up to which it has taken everything, and
// one goroutine: it reads what comes after the cursor, sends one event at a time,
// and moves the cursor once the receiver has answered with a status of success. What
// is not taken is sent again, later and later, and nothing behind it is sent before.
// So a receiver gets the events of its filter in order and at least once, and one
// that does not answer holds up nobody but itself. Nothing is kept for it in memory
// meanwhile but its cursor: events are read again for each try.
//
// # Cursors
//
// Cursors are in one file beside the index, not in the index. A file outlives an
// index that is built anew, whose revisions are others, and so a receiver that
// followed the old one can be told that it must list again; and it costs the one
// writer of the index nothing. It is written at most once in [Options.Every],
// however many events were taken, when a receiver was told to list again, and when the
// sender is closed. After a crash, what was taken since is sent once more.
//
// # When a receiver must list again
//
// A receiver gets an event of the type [Resync] first of all, and again whenever
// changes may be missing in between: its cursor is older than what the feed still
// has, or of an index that is gone, or its address or filter is another. It says the
// revision from which on all is told again.
//
// # What is sent where
//
// A request is signed as Standard Webhooks have it (see [Sign]), goes to no address
// inside the network unless that is allowed (see [Policy]), whatever a name resolves
// to at that moment, through no proxy, and follows no redirect. Of an answer no more
// than its status and its first bytes are read, and everything has a time limit.
package webhook

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"
)

// ErrGone is returned by a feed for a revision after which it cannot tell all: it is
// older than what is kept, or not one of this index.
var ErrGone = errors.New("what came after the revision is not known any more")

// Event is a change.
type Event struct {
	// Revision is that of the change.
	Revision string
	// Type is what happened, in the words of the images API.
	Type string
	// Subject is the repository.
	Subject string
	Time    time.Time
	// Data is what is told of it, as JSON.
	Data json.RawMessage
}

// Feed is what changes are read from: those that are for one receiver. Its methods are
// called concurrently.
type Feed interface {
	// Last returns the newest revision.
	Last(ctx context.Context) (string, error)
	// After returns changes after a revision, in their order, at most n, and how far
	// it has come: the given revision if nothing came after it. What is not for the
	// receiver is left out, so that there may be none before the end. ErrGone if it
	// cannot tell all.
	After(ctx context.Context, since string, n int) (events []Event, next string, err error)
	// Wait returns once there is a revision after the given one, or ctx ends.
	Wait(ctx context.Context, since string) error
	// Behind returns how many revisions came after one, for whomever, or ErrGone.
	Behind(ctx context.Context, since string) (int64, error)
}

// Hook is a receiver.
type Hook struct {
	// Name is its own: the cursor is found by it.
	Name string
	URL  *url.URL
	// Secrets sign, each one every request: two while one replaces the other.
	Secrets []Secret
	// Feed tells what it is sent, and Filter what that is: whose filter is another one
	// has to list again.
	Feed   Feed
	Filter any
}

// identity is by what a cursor is known to be of this receiver.
func (h Hook) identity() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%q", h.URL, h.Filter))
	return hex.EncodeToString(sum[:8])
}

// Options are what a sender needs. What is 0 has a default.
type Options struct {
	Hooks []Hook
	// State is the file of the cursors. While Check returns an error, nothing is
	// written to it; nil is no check.
	State string
	Check func() error
	// Source is that of the events: a URI reference.
	Source string
	// Policy says which addresses may be sent to.
	Policy Policy
	// Timeout is how long one try may take, with its answer; by default 10 s.
	Timeout time.Duration
	// Shortest and Longest are the times between two tries: each is about twice the
	// one before. By default 1 s and 5 min.
	Shortest, Longest time.Duration
	// Every is how often cursors are written at most; by default 1 s.
	Every time.Duration
	// Grace is how long Close waits for a try that is under way; by default 3 s.
	Grace time.Duration
	// Agent is what receivers are told of the program.
	Agent string
	Log   *slog.Logger
}

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		field     *time.Duration
		byDefault time.Duration
	}{
		{&o.Timeout, 10 * time.Second}, {&o.Shortest, time.Second}, {&o.Longest, 5 * time.Minute}, {&o.Every, time.Second}, {&o.Grace, 3 * time.Second},
	} {
		if *d.field <= 0 {
			*d.field = d.byDefault
		}
	}
	return o
}

// Sender sends to all receivers until it is closed.
type Sender struct {
	options Options
	cursors *cursors
	loops   []*loop
	stop    context.CancelFunc // no more is begun
	cut     context.CancelFunc // what is under way ends too
	running sync.WaitGroup
	saver   sync.WaitGroup
	saving  context.CancelFunc
}

// Start begins to send. The error is that of the file of the cursors if it cannot be
// read; one that holds no cursors is as good as none, and the log says so.
func Start(o Options) (*Sender, error) {
	o = o.withDefaults()
	kept, err := openCursors(o)
	if err != nil {
		return nil, err
	}
	s := &Sender{options: o, cursors: kept}
	var work, requests, saving context.Context
	work, s.stop = context.WithCancel(context.Background())
	requests, s.cut = context.WithCancel(context.Background())
	saving, s.saving = context.WithCancel(context.Background())
	for _, h := range o.Hooks {
		l := newLoop(h, o, kept)
		s.loops = append(s.loops, l)
		s.running.Go(func() { l.run(work, requests) })
	}
	s.saver.Go(func() { kept.keepSaved(saving, o.Every, o.Log) })
	return s, nil
}

// Close ends the sender: no more is sent, a try that is under way may end within the
// grace, and the cursors are written. What was not taken is sent after the next
// start. Nothing is called after it.
func (s *Sender) Close() error {
	s.stop()
	timer := time.AfterFunc(s.options.Grace, s.cut)
	s.running.Wait()
	timer.Stop()
	s.cut()
	s.saving()
	s.saver.Wait()
	for _, l := range s.loops {
		l.poster.close()
	}
	return s.cursors.save()
}

// Status is how a receiver does.
type Status struct {
	Name string
	// Taken counts events that were answered with success, Failed the tries that
	// were not, since the start.
	Taken, Failed int64
	// Behind is how many revisions came after the cursor, for whomever; -1 if that
	// is not known: the receiver will be told to list again.
	Behind int64
	// FailingSince is when the first of the tries failed of which none was taken
	// since; zero if the last was.
	FailingSince time.Time
}

// Status tells of all receivers, in the order in which they were given.
func (s *Sender) Status(ctx context.Context) []Status {
	all := make([]Status, len(s.loops))
	for i, l := range s.loops {
		all[i] = l.status()
		all[i].Behind = -1
		if at := s.cursors.of(l.hook.Name); at != "" {
			if n, err := l.hook.Feed.Behind(ctx, at); err == nil {
				all[i].Behind = n
			}
		}
	}
	return all
}

// hideURL is the message of an error without the address in it, which may hold what
// lets one in.
func hideURL(err error) error {
	var of *url.Error
	if errors.As(err, &of) {
		return of.Err
	}
	return err
}

// place is a URL as the log may show it.
func place(u *url.URL) string { return strings.ToLower(u.Scheme) + "://" + u.Host }
