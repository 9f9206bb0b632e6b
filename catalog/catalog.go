package catalog

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
)

// Catalog answers which images there are, and makes every change. It is safe
// for concurrent use.
type Catalog struct {
	index.Reader
	index.Feed
	index index.Index
	store *storage.Store
	log   *slog.Logger
	// immutable says which tags may not move once they are set; nil: all may.
	immutable func(repository, tag string) bool

	// mu guards unsettled: what has to be done in a repository before its next
	// change, beside what the index has noted; and damaged: digests of which the
	// index has to be told that their bytes went or came.
	mu        sync.Mutex
	unsettled map[string]*unsettled
	settling  int // how many repositories are being settled; guarded by mu
	damaged   map[digest.Digest]struct{}
	// keep and keepAge are how much of the feed is kept; guarded by mu.
	keep    int64
	keepAge time.Duration
	// noted is the revision that is noted in storage, as far as the task in the
	// background knows, which is the only one to use it.
	noted index.Revision

	pulls   pulls
	linking sync.WaitGroup // links that the index may not have written yet
	// places are held by who reads storage for the index.
	places chan struct{}

	wake chan struct{} // full if there may be something to settle
	stop context.CancelFunc
	done chan struct{}
}

// New returns a catalog of what is in store, kept in x. Close it before x.
func New(x index.Index, store *storage.Store, log *slog.Logger) *Catalog {
	ctx, stop := context.WithCancel(context.Background())
	c := &Catalog{
		Reader: x, Feed: x, index: x, store: store, log: log,
		unsettled: make(map[string]*unsettled), damaged: make(map[digest.Digest]struct{}),
		pulls: pulls{count: make(map[pulled]int64), last: time.Now()},
		keep:  DefaultKeepChanges, keepAge: DefaultKeepAge,
		places: make(chan struct{}, readers), wake: make(chan struct{}, 1), stop: stop, done: make(chan struct{}),
	}
	go c.background(ctx)
	return c
}

// Close ends the work in the background and removes the notes of what is in
// flight no longer. Changes must have ended.
func (c *Catalog) Close() error {
	c.stop()
	<-c.done
	c.awaitLinks()
	c.withdrawAll()
	if err := c.writePulls(context.Background(), time.Now()); err != nil {
		c.log.Warn("the last pulls are not counted", "error", err)
	}
	if err := c.noteRevision(context.Background()); err != nil {
		c.log.Warn("how far the index has come is not noted in storage", "error", err)
	}
	return c.store.EndNotes(context.Background())
}

// Ready returns an error if the index cannot answer.
func (c *Catalog) Ready(ctx context.Context) error {
	_, err := c.Stats(ctx)
	return err
}

// SetImmutable says which tags may not be moved to another manifest once they are
// set. It is called before the first change.
func (c *Catalog) SetImmutable(immutable func(repository, tag string) bool) { c.immutable = immutable }

// Reserve is that of [index.Index].
func (c *Catalog) Reserve(ctx context.Context, namespace string, r storage.Reservation) (others index.Usage, err error) {
	return c.index.Reserve(ctx, namespace, r)
}

// failed says what could not be done. The code of the cause stays.
func failed(what, repository string, err error) error {
	return &storage.Error{Code: storage.CodeOf(err), Err: fmt.Errorf("%s %s: %w", what, repository, err)}
}
