package collect

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage"
	"github.com/berth-oci/berth/storage/pace"
)

// Catalog takes away what is idle, in index and storage together. See
// catalog.Catalog, which fits it.
type Catalog interface {
	Uptime() storage.Uptime
	Tick(ctx context.Context) error
	// Settled returns an error as long as it is not known what refers to what.
	Settled(ctx context.Context) error
	// IdleBefore returns what of a kind has been idle since before a time, the
	// longest first, after a position, at most n.
	IdleBefore(ctx context.Context, kind storage.IdleKind, before storage.Uptime, after string, n int) ([]storage.Idle, error)
	// UnlinkIdle, DeleteIdle, Sweep and Empty take away links of a repository, a
	// manifest, bytes, and bytes for good, if they are still idle since before a time
	// and nobody relies on them, and return what went.
	UnlinkIdle(ctx context.Context, repository string, links []storage.Idle, before storage.Uptime) ([]digest.Digest, error)
	DeleteIdle(ctx context.Context, repository string, manifest digest.Digest, before storage.Uptime) (bool, error)
	Sweep(ctx context.Context, bytes []digest.Digest, before storage.Uptime, keep bool) (map[digest.Digest]int64, error)
	Empty(ctx context.Context, bytes []digest.Digest, before storage.Uptime) (map[digest.Digest]int64, error)
	// Loose returns which bytes Sweep would take.
	Loose(ctx context.Context, bytes []digest.Digest, before storage.Uptime) ([]digest.Digest, error)
	// Adopt notes stored bytes as idle that nobody knows of.
	Adopt(ctx context.Context, stored []digest.Digest, kept bool) (n int, err error)
	// Kept is what is in quarantine, in bytes.
	Kept(ctx context.Context) (int64, error)
}

// Options say what is collected, and how fast.
type Options struct {
	Catalog Catalog
	Store   *storage.Store
	// Ready returns an error if storage is not what it was, so that nothing may be taken
	// away; it may be nil.
	Ready func(ctx context.Context) error
	// Uploads removes uploads of which nothing was heard for a time, and returns how
	// many there were and their bytes; with dry it only counts. It may be nil.
	Uploads func(ctx context.Context, idle time.Duration, dry bool) (n int, bytes int64, err error)

	// Lease is how long something stays that nothing refers to, Quarantine how long
	// its bytes are kept after that, 0 for not at all, and Abandoned how long an
	// upload stays that nobody goes on with.
	Lease, Quarantine, Abandoned time.Duration
	// Interval is the time between two sweeps, Search that between two searches for
	// bytes that nobody knows of.
	Interval, Search time.Duration
	// Rate is how many bytes go a second, Operations how many things; both on
	// average, and above 0.
	Rate, Operations int64
	// Share is the part of the time, in percent, that a sweep is at work at most while
	// clients write, where these wait for the same syncs; 0 for all of it.
	Share int
	// State is the file that remembers when it was searched last, and what came of the
	// last sweep.
	State string
	Log   *slog.Logger
}

// Status is what the collector has done.
type Status struct {
	// Began and Ended are those of the last sweep, zero for never; Error is why it
	// did not come to its end, "" if it did.
	Began time.Time `json:"began,omitzero"`
	Ended time.Time `json:"ended,omitzero"`
	Error string    `json:"error,omitempty"`
	// Last is what it has taken away, Total what all have since the start.
	Last  Freed `json:"last"`
	Total Freed `json:"total"`
	// Searched is when it was last looked for bytes that nobody knows of.
	Searched storage.Uptime `json:"searched,omitempty"`
}

// Freed counts what was taken away.
type Freed struct {
	// Links are those of repositories that nothing in them referred to, Manifests
	// those whose subject or index is gone.
	Links     int `json:"links"`
	Manifests int `json:"manifests"`
	// Swept is what no repository needed any more and went into quarantine, or for
	// good where there is none.
	Swept Amount `json:"swept"`
	// Unreferenced is what of that is gone for good, Strays what was of nobody that
	// is known, Uploads what was received of uploads that nobody went on with.
	Unreferenced Amount `json:"unreferenced"`
	Strays       Amount `json:"strays"`
	Uploads      Amount `json:"uploads"`
	// Busy counts what was left for the next time because somebody used it.
	Busy int `json:"busy"`
}

// Amount is how much of something.
type Amount struct {
	Count int   `json:"count"`
	Bytes int64 `json:"bytes"`
}

func (a *Amount) add(n int, bytes int64) {
	a.Count += n
	a.Bytes += bytes
}

func (f *Freed) add(o Freed) {
	f.Links += o.Links
	f.Manifests += o.Manifests
	f.Busy += o.Busy
	f.Swept.add(o.Swept.Count, o.Swept.Bytes)
	f.Unreferenced.add(o.Unreferenced.Count, o.Unreferenced.Bytes)
	f.Strays.add(o.Strays.Count, o.Strays.Bytes)
	f.Uploads.add(o.Uploads.Count, o.Uploads.Bytes)
}

// Bytes is what there is more room for.
func (f Freed) Bytes() int64 { return f.Unreferenced.Bytes + f.Strays.Bytes + f.Uploads.Bytes }

// Collector collects, one sweep at a time.
type Collector struct {
	options Options
	turn    chan struct{} // full while nobody sweeps
	pace    pace.Pace
	// Of who sweeps: searched says that the quarantine was looked through, ticked when
	// the time was written down, and saved what is written down of Status.Searched.
	searched      bool
	ticked, saved storage.Uptime
	resumed       time.Time          // when wait returned last, or the sweep began
	relied        uint64             // what the store's Relied was then
	stop          context.CancelFunc // nil if it does not run in the background
	done          chan struct{}

	mu     sync.Mutex
	status Status // guarded by mu
}

// New returns a collector that sweeps when it is told to.
func New(o Options) *Collector {
	c := &Collector{options: o, turn: make(chan struct{}, 1), pace: pace.Pace{Sleep: pace.Sleep, Now: time.Now}}
	c.turn <- struct{}{}
	c.load()
	return c
}

// Start has it sweep in the background too, until Close.
func (c *Collector) Start() {
	ctx, stop := context.WithCancel(context.Background())
	c.stop, c.done = stop, make(chan struct{})
	go c.run(ctx)
}

// Close ends the sweep in the background, if there is one, and writes down how far
// the time has come: it goes on also where only commands collect.
func (c *Collector) Close() error {
	if c.stop != nil {
		c.stop()
		<-c.done
	}
	return c.options.Catalog.Tick(context.Background())
}

// Status says what it has done.
func (c *Collector) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

func (c *Collector) change(fn func(*Status)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fn(&c.status)
}

func (c *Collector) run(ctx context.Context) {
	defer close(c.done)
	failing := false
	for {
		_, err := c.Sweep(ctx, nil)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !failing:
			c.options.Log.Warn("a sweep did not come to its end; the next one goes on", "error", err)
		}
		failing = err != nil
		if pace.Sleep(ctx, c.options.Interval) != nil {
			return
		}
	}
}

// longestRest is how long a sweep rests at most for the sake of clients that write:
// they may have ended meanwhile.
const longestRest = 5 * time.Second

// wait spends the time that so many operations, or so many bytes, take at the rates
// that are allowed; and if clients have written since the last time, who wait for the
// same syncs, what makes the work since then its share of the time.
func (c *Collector) wait(ctx context.Context, operations int, bytes int64) error {
	o, second := &c.options, float64(time.Second)
	cost := time.Duration(max(second*float64(operations)/float64(o.Operations), second*float64(bytes)/float64(o.Rate)))
	if o.Share > 0 && o.Share < 100 && o.Store.SharesSyncs() && o.Store.Relied() != c.relied {
		worked := c.pace.Now().Sub(c.resumed)
		cost = max(cost, min(worked*100/time.Duration(o.Share), longestRest))
	}
	err := c.pace.Wait(ctx, cost)
	c.begin()
	return err
}

// begin notes that work begins now.
func (c *Collector) begin() { c.resumed, c.relied = c.pace.Now(), c.options.Store.Relied() }
