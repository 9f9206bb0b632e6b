package images

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/berth-oci/berth/catalog/index"
)

const (
	defaultBookmarks = 15 * time.Second
	// maxScanned is how many changes one JSON answer looks at, whatever its filter
	// lets through: the bookmark says how far it has come.
	maxScanned = 10_000
)

// revisionHeader says of a list that it is at least as new.
const revisionHeader = "Berth-Revision"

// tellRevision sets the header of a list, before its first batch is read.
func (c *call) tellRevision() { c.w.Header().Set(revisionHeader, c.catalog.Last().String()) }

// changes answers with what has changed, in one answer or in a stream.
func (c *call) changes() error {
	q, err := parseChanges(c.r)
	if err != nil {
		return err
	}
	ctx := c.r.Context()
	at := c.catalog.Last()
	if q.since != nil {
		at = *q.since
		if _, err := c.catalog.Changes(ctx, at, 1); err != nil {
			return goneRevision(err)
		}
	}
	if c.r.Method == http.MethodHead {
		c.changesHeader(q.form)
		return nil
	}
	f := newFilter(c.caller.Readable(), q)
	if q.form == formJSON {
		return c.changesOnce(ctx, q, f, at)
	}
	return c.changesStream(ctx, q, f, at)
}

// goneRevision says what is wrong with a revision that cannot be gone on from.
func goneRevision(err error) error {
	if errors.Is(err, index.ErrRevision) {
		return &failure{http.StatusGone, "since: what came after this revision is not kept, or it is none of this index; list again, and go on from the header " + revisionHeader + " of the list"}
	}
	return err
}

func (c *call) changesHeader(f form) {
	h := c.w.Header()
	h.Set("Content-Type", mediaTypes[f])
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Accel-Buffering", "no") // a proxy that waits for more would keep it back
	c.w.WriteHeader(http.StatusOK)
}

// changesOnce answers with what there is, or waits a while for something.
func (c *call) changesOnce(ctx context.Context, q changesQuery, f *filter, at index.Revision) error {
	w := c.hub.watch(f, at)
	defer w.close()
	a := &changesAnswer{call: c, watcher: w, changesQuery: q, at: at}
	timeout := time.NewTimer(q.wait)
	defer timeout.Stop()
	for waiting := true; waiting; {
		if err := c.still(); err != nil {
			return refused(err)
		}
		if err := a.collect(ctx); err != nil && a.out != nil {
			c.abort(err)
		} else if err != nil {
			return goneRevision(err)
		}
		waiting = a.count == 0 && a.scanned < maxScanned && q.wait > 0 && w.wait(ctx, timeout.C, c.opts.Stopping)
	}
	frame, err := q.form.frame(told{Type: typeBookmark, Revision: a.at.String()})
	if err != nil {
		return err
	}
	a.add(frame)
	a.out.end()
	return nil
}

// changesAnswer is one JSON answer.
type changesAnswer struct {
	*call
	*watcher
	changesQuery
	at             index.Revision // how far it has come
	count, scanned int
	out            *stream // nil until there is something in it
}

// collect adds what there is, as much as there may be.
func (a *changesAnswer) collect(ctx context.Context) error {
	var head index.Revision
	a.at, head = a.news(a.at)
	for a.at != head && a.count < a.limit && a.scanned < maxScanned {
		events, err := a.events(ctx, a.at, head)
		if err != nil {
			return err
		}
		for _, e := range events {
			if a.count == a.limit {
				return nil
			}
			if a.group.passes(&e.Change) {
				frame, err := a.frameOf(ctx, a.watcher, a.form, e)
				if err != nil {
					return err
				}
				a.add(frame)
				a.count++
			}
			a.at = e.Revision
			a.scanned++
		}
	}
	return nil
}

// add adds an object to the answer, and begins it with the first.
func (a *changesAnswer) add(frame []byte) {
	if a.out == nil {
		a.changesHeader(a.form)
		a.out = &stream{c: a.call}
		a.out.buf = &a.out.pending
		a.out.pending.WriteString(`{"status":"` + success.status + `","data":{"changes":[`)
	}
	a.out.next()
	a.out.pending.Write(frame)
	a.out.flush()
}

// wait reports whether something has come, before the time is over.
func (w *watcher) wait(ctx context.Context, timeout <-chan time.Time, stopping <-chan struct{}) bool {
	select {
	case <-w.wake:
		return true
	case <-ctx.Done():
	case <-timeout:
	case <-stopping:
	case <-w.reader.failed:
	}
	return false
}
