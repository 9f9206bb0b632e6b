// Package scrub reads all stored bytes again, slowly, in the background: a byte
// that a disk has lost is found while the right ones can still be had from
// somebody. What does not have its digest is moved into quarantine (see
// [storage.Store.Examine]).
//
// A pass reads every blob once, in the order of the digests, whether anybody uses
// it or not. How far it has come is remembered over restarts; what a crash loses
// of that is read once more.
package scrub

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage"
	"github.com/berth-oci/berth/storage/fsync"
	"github.com/berth-oci/berth/storage/pace"
)

// Options say what is read, and how slowly.
type Options struct {
	Store *storage.Store
	// State is the file that remembers how far it has come.
	State string
	// Rate is how many bytes are read a second, Operations how many blobs are
	// opened; both on average, and above 0.
	Rate, Operations int64
	// Interval is the time from the beginning of one pass to that of the next,
	// or longer, if a pass takes longer.
	Interval time.Duration
	Log      *slog.Logger

	// sleep waits, or returns an error once ctx has ended; nil means that of the
	// clock. now is the time.
	sleep func(ctx context.Context, d time.Duration) error
	now   func() time.Time
}

// Status is how far a scrubber has come.
type Status struct {
	// Began is when the pass began, Ended when the last one ended; zero for never.
	Began time.Time `json:"began,omitzero"`
	Ended time.Time `json:"ended,omitzero"`
	// After is the last digest that was read, "" between two passes.
	After digest.Digest `json:"after,omitempty"`
	// Blobs, Bytes and Damaged count this pass.
	Blobs   int64 `json:"blobs"`
	Bytes   int64 `json:"bytes"`
	Damaged int64 `json:"damaged"`

	// ReadBytes and ReadBlobs count since the start.
	ReadBytes int64 `json:"-"`
	ReadBlobs int64 `json:"-"`
}

// Scrubber reads in the background.
type Scrubber struct {
	options Options
	stop    context.CancelFunc
	done    chan struct{}
	pace    pace.Pace
	saved   time.Time // when the state was written

	mu     sync.Mutex
	status Status // guarded by mu
}

// saveEvery is how often it is written down how far it has come.
const saveEvery = 30 * time.Second

// Start begins to read where the last process has ended.
func Start(o Options) *Scrubber {
	if o.sleep == nil {
		o.sleep = pace.Sleep
	}
	if o.now == nil {
		o.now = time.Now
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Scrubber{options: o, stop: stop, done: make(chan struct{}), pace: pace.Pace{Sleep: o.sleep, Now: o.now}}
	s.load()
	go s.run(ctx)
	return s
}

// Close ends the reading, and remembers how far it has come.
func (s *Scrubber) Close() error {
	s.stop()
	<-s.done
	return s.save()
}

// Status says how far it has come.
func (s *Scrubber) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

func (s *Scrubber) change(fn func(*Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn(&s.status)
}

// load reads the state. One that cannot be read only costs another pass.
func (s *Scrubber) load() {
	text, err := os.ReadFile(s.options.State)
	if err == nil {
		err = json.Unmarshal(text, &s.status)
	}
	if err == nil && s.status.After != "" {
		err = s.status.After.Validate()
	}
	if err != nil {
		s.status = Status{}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.options.Log.Warn("scrub begins anew: how far it has come cannot be read", "file", s.options.State, "error", err)
	}
	s.saved = s.options.now()
}

func (s *Scrubber) save() error {
	text, err := json.Marshal(s.Status())
	if err != nil {
		return err
	}
	s.saved = s.options.now()
	return fsync.Replace(s.options.State, append(text, '\n'), nil)
}

// Between two tries after storage could not be read, and while there is nothing
// to do.
const (
	retryAfter = time.Minute
	lookEvery  = time.Minute
)

func (s *Scrubber) run(ctx context.Context) {
	defer close(s.done)
	for ctx.Err() == nil {
		if wait := s.rest(); wait > 0 {
			_ = s.options.sleep(ctx, min(wait, lookEvery)) // by the clock, which may jump
			continue
		}
		if err := s.pass(ctx); err != nil && ctx.Err() == nil {
			s.options.Log.Warn("scrub waits: storage cannot be read", "error", err)
			_ = s.options.sleep(ctx, retryAfter)
		}
	}
}

// rest is how long the next pass can wait. A pass that has begun goes on. One
// that ended in the future is of a clock that was wrong.
func (s *Scrubber) rest() time.Duration {
	status := s.Status()
	if status.After != "" || status.Began.IsZero() {
		return 0
	}
	since := s.options.now().Sub(status.Began)
	if since < 0 {
		return 0
	}
	return s.options.Interval - since
}

// pass reads what the pass has still to read.
func (s *Scrubber) pass(ctx context.Context) error {
	after := s.Status().After
	if after == "" {
		s.change(func(t *Status) {
			*t = Status{Began: s.options.now().UTC(), Ended: t.Ended, ReadBytes: t.ReadBytes, ReadBlobs: t.ReadBlobs}
		})
	}
	if err := s.options.Store.Blobs(ctx, after, func(d digest.Digest) error { return s.read(ctx, d) }); err != nil {
		return err
	}
	s.change(func(t *Status) { t.Ended, t.After = s.options.now().UTC(), "" })
	status := s.Status()
	s.options.Log.Info("scrub has read everything", "blobs", status.Blobs, "bytes", status.Bytes, "damaged", status.Damaged,
		"took", status.Ended.Sub(status.Began).Round(time.Second))
	return s.save()
}

func (s *Scrubber) read(ctx context.Context, d digest.Digest) error {
	if err := s.pace.Wait(ctx, time.Second/time.Duration(s.options.Operations)); err != nil {
		return err
	}
	_, err := s.options.Store.ExamineWith(ctx, d, storage.ByScrub, func(n int) error {
		s.change(func(t *Status) { t.Bytes += int64(n); t.ReadBytes += int64(n) })
		return s.pace.Wait(ctx, time.Duration(float64(n)/float64(s.options.Rate)*float64(time.Second)))
	})
	damaged := errors.Is(err, storage.ErrDamaged)
	if err != nil && !errors.Is(err, storage.ErrNotFound) { // it may have gone meanwhile
		return err
	}
	s.change(func(t *Status) {
		t.After = d
		if err == nil || damaged {
			t.Blobs++
			t.ReadBlobs++
		}
		if damaged {
			t.Damaged++
		}
	})
	if s.options.now().Sub(s.saved) > saveEvery {
		return s.save()
	}
	return nil
}
