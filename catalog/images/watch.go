package images

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/registry/access"
)

// Streams counts the streams of changes. It is safe for concurrent use.
type Streams struct {
	open, sent, ended atomic.Int64
}

// Open is how many there are, JSON answers that wait included; Sent how many events
// have been sent in them, bookmarks included.
func (s *Streams) Open() int64 { return s.open.Load() }

// Sent is described at Open.
func (s *Streams) Sent() int64 { return s.sent.Load() }

// Ended is how many berth has ended.
func (s *Streams) Ended() int64 { return s.ended.Load() }

// endings are why berth ends a stream, as clients are told.
var endings = [...]struct {
	reason  string
	status  int
	message string
}{
	endShutdown: {"shutdown", http.StatusServiceUnavailable, "berth stops; go on from the last revision in a moment"},
	endRights:   {"rights", http.StatusGone, "what you may see has changed; list again"},
	endToken:    {"token", http.StatusUnauthorized, "the token has ended or is revoked; go on from the last revision with another one"},
	endGone:     {"gone", http.StatusGone, "what comes next is kept no longer; list again"},
	endError:    {"error", http.StatusInternalServerError, "the index cannot be read now; go on from the last revision later"},
}

// ending is why a stream ends.
type ending int

const (
	endShutdown ending = iota
	endRights
	endToken
	endGone
	endError
)

func (e ending) Error() string { return endings[e].message }

// refused is an ending before anything was sent.
func refused(err error) error {
	var why ending
	if errors.As(err, &why) {
		return &failure{endings[why].status, endings[why].message}
	}
	return err
}

// errLeft says that the client does not read any more.
var errLeft = errors.New("the client is gone")

// changesWriter writes a stream of changes.
type changesWriter struct {
	*call
	form form
	*watcher
	control *http.ResponseController
	at      index.Revision // all up to it has been sent
	wrote   bool           // since it was asked for last
	// rights is closed when something else is in force of the accounts.
	rights <-chan struct{}
}

// changesStream sends changes as they come, until somebody has enough.
func (c *call) changesStream(ctx context.Context, q changesQuery, f *filter, at index.Revision) error {
	s := &changesWriter{call: c, form: q.form, control: http.NewResponseController(c.w), at: at}
	if err := s.again(); err != nil {
		return refused(err)
	}
	c.changesHeader(q.form)
	err := s.flush()
	if err == nil && q.initial {
		err = s.initial(ctx, f)
	}
	if err == nil {
		s.watcher = c.hub.watch(f, at)
		defer s.close()
		err = s.follow(ctx)
	}
	if ctx.Err() != nil || errors.Is(err, errLeft) {
		return nil // nobody is there to be told
	}
	return s.end(err)
}

// end tells why the stream ends.
func (s *changesWriter) end(err error) error {
	var why ending
	switch {
	case errors.As(err, &why):
	case errors.Is(err, index.ErrRevision):
		why = endGone
	default:
		s.opts.Log.Error("images API: a stream of changes ends", "error", err, "request_id", s.opts.RequestID(s.r.Context()))
		why = endError
	}
	s.opts.Streams.ended.Add(1)
	e := endings[why]
	s.opts.Log.Info("images API: a stream of changes is ended", "reason", e.reason, "request_id", s.opts.RequestID(s.r.Context()))
	if s.tell(told{Type: typeEnd, Revision: s.at.String(), Status: e.status, Reason: e.reason, Message: e.message}) == nil {
		_ = s.flush() // or the client is gone
	}
	return nil
}

func (s *changesWriter) write(frame []byte) error {
	if _, err := s.w.Write(frame); err != nil {
		return errLeft
	}
	s.opts.Streams.sent.Add(1)
	s.wrote = true
	return nil
}

func (s *changesWriter) flush() error {
	if err := s.control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return errLeft
	}
	return nil
}

func (s *changesWriter) tell(t told) error {
	frame, err := s.form.frame(t)
	if err != nil {
		return err
	}
	return s.write(frame)
}

// bookmark says that all has been sent up to where the stream is.
func (s *changesWriter) bookmark() error {
	if err := s.tell(told{Type: typeBookmark, Revision: s.at.String()}); err != nil {
		return err
	}
	return s.flush()
}

// initial sends what is there now.
func (s *changesWriter) initial(ctx context.Context, f *filter) error {
	query := index.Query{}
	if !f.all {
		query.Within = []string{}
		for name := range f.within {
			query.Within = append(query.Within, name)
		}
	}
	for cursor, first := index.Cursor(""), true; first || cursor != ""; first = false {
		entries, next, err := s.call.catalog.List(ctx, query, cursor, batch)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if !f.covers(e.Repository) {
				continue
			}
			err := s.tell(told{Type: typeImage, Repository: e.Repository, Digest: e.Digest, Images: []json.RawMessage{renderCurrent(s.call, nil, &e)}})
			if err != nil {
				return err
			}
		}
		if err := s.flush(); err != nil {
			return err
		}
		if err := s.stopped(); err != nil {
			return err
		}
		cursor = next
	}
	return nil
}

// stopped returns why the stream has to end now: what comes next is not for who
// may not read it any more, however slowly it has read what came before.
func (s *changesWriter) stopped() error {
	select {
	case <-s.opts.Stopping:
		return endShutdown
	case <-s.rights:
		return s.again()
	default:
	}
	if ends := s.caller.Ends(); !ends.IsZero() && !time.Now().Before(ends) {
		return s.again()
	}
	return nil
}

// follow sends what comes, and a bookmark when all is sent that was there, and
// whenever nothing has been sent for a while.
func (s *changesWriter) follow(ctx context.Context) error {
	if err := s.deliver(ctx); err != nil {
		return err
	}
	if err := s.bookmark(); err != nil {
		return err
	}
	idle := time.NewTimer(s.untilNext())
	defer idle.Stop()
	for {
		s.wrote = false
		var err error
		select {
		case <-ctx.Done():
			return errLeft
		case <-s.opts.Stopping:
			return endShutdown
		case <-s.reader.failed:
			return endError
		case <-s.wake:
			err = s.deliver(ctx)
		case <-s.rights:
			err = s.again()
			s.wrote = true // the token may end at another time
		case <-idle.C:
			if err = s.again(); err == nil {
				if err = s.deliver(ctx); err == nil && !s.wrote {
					err = s.bookmark()
				}
			}
			s.wrote = true
		}
		if err != nil {
			return err
		}
		if s.wrote {
			idle.Reset(s.untilNext())
		}
	}
}

// untilNext is how long the stream may be quiet: until a bookmark is due, or the
// caller's token ends.
func (s *changesWriter) untilNext() time.Duration {
	wait := s.opts.Bookmarks
	if ends := s.caller.Ends(); !ends.IsZero() {
		wait = max(min(wait, time.Until(ends)), time.Millisecond)
	}
	return wait
}

// again ends the stream of who may not read any more what it could, or not as who
// it was.
func (s *changesWriter) again() error {
	if s.opts.Accounts != nil {
		s.rights = s.opts.Accounts.Next() // first: what changes from here on is noticed
	}
	return s.still()
}

// still returns why the caller may not be answered as who it was.
func (c *call) still() error {
	caller, err := access.Of(c.r).Again(c.r)
	switch {
	case err == nil:
		c.caller = caller
		return nil
	case errors.Is(err, access.ErrRights):
		return endRights
	default:
		return endToken
	}
}

// deliver sends all that has come up to now.
func (s *changesWriter) deliver(ctx context.Context) error {
	for {
		var head index.Revision
		if s.at, head = s.news(s.at); s.at == head {
			return nil
		}
		for s.at != head {
			if err := s.send(ctx, head); err != nil {
				return err
			}
		}
	}
}

// send sends some changes, as far as they are for the caller.
func (s *changesWriter) send(ctx context.Context, head index.Revision) error {
	events, err := s.events(ctx, s.at, head)
	if err != nil {
		return err
	}
	some := false
	for _, e := range events {
		if err := s.stopped(); err != nil {
			return err
		}
		if s.group.passes(&e.Change) {
			frame, err := s.frameOf(ctx, s.watcher, s.form, e)
			if err != nil {
				return err
			}
			if err := s.write(frame); err != nil {
				return err
			}
			some = true
		}
		s.at = e.Revision
	}
	if some {
		return s.flush()
	}
	return nil
}
