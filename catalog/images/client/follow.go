package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"time"
)

const (
	streamType = "application/x-ndjson"
	// mostObject bounds one object of a stream, in bytes: the entries of one change.
	mostObject = 16 << 20
	// silence is how long a stream may say nothing: berth says something every 15
	// seconds.
	silence = time.Minute
	// shortestPause and longestPause are before a next try.
	shortestPause = 500 * time.Millisecond
	longestPause  = 30 * time.Second
)

var (
	// errEnough ends a stream whose reader wants no more.
	errEnough = errors.New("the reader wants no more")
	// errNoBerth is what no retry mends.
	errNoBerth = errors.New("changes are not answered as a berth does")
	// errCut and errSilent are what retries mend.
	errCut    = errors.New("the connection ended")
	errSilent = errors.New("berth said nothing for too long")
)

// follower is one loop over changes.
type follower struct {
	client  *Client
	options ChangesOptions
	// since is the last revision that was told, "" before the first.
	since string
	yield func(Change, error) bool
	// received reports whether the stream has brought anything, renewed whether the
	// token has just ended.
	received, renewed bool
}

// run streams until ctx ends, or an error that no retry mends.
func (f *follower) run(ctx context.Context) error {
	for tries := 0; ; tries++ {
		f.received = false
		err := f.stream(ctx)
		if ctx.Err() != nil && !errors.Is(err, errEnough) {
			return ctx.Err()
		}
		if !f.passes(err) {
			return err
		}
		if f.received {
			tries = 0
		}
		if err := f.client.rest(ctx, tries, err, f.options.OnRetry); err != nil {
			return err
		}
	}
}

// passes reports whether an error may pass by itself. The end of a token does, once:
// the next try comes with a fresh one.
func (f *follower) passes(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return !errors.Is(err, errEnough) && !errors.Is(err, errNoBerth) && !errors.Is(err, errToken)
	}
	renewed := f.renewed
	f.renewed = e.Status == http.StatusUnauthorized
	switch {
	case e.Status == http.StatusUnauthorized:
		return f.received && !renewed
	case e.Status == http.StatusTooManyRequests || e.Status == http.StatusRequestTimeout:
		return true
	}
	return e.Status >= 500 && e.Status != http.StatusNotImplemented
}

// rest waits for the next try, after a number of tries in vain of which the last had
// the error why. An error of its own ends everything.
func (c *Client) rest(ctx context.Context, tries int, why error, onRetry func(error, time.Duration) error) error {
	wait := c.pause(tries, why)
	if onRetry != nil {
		if err := onRetry(why, wait); err != nil {
			return err
		}
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait):
		return nil
	}
}

// pause is how long to wait after a number of tries in vain.
func (c *Client) pause(tries int, err error) time.Duration {
	wait := c.longest
	if tries < 20 && c.shortest<<tries < c.longest {
		wait = c.shortest << tries
	}
	// Not all that lost a berth at once come back at once.
	wait = wait/2 + rand.N(wait/2+1)
	var e *Error
	if errors.As(err, &e) {
		wait = max(wait, min(e.RetryAfter, c.longest))
	}
	return wait
}

// stream asks once, and tells what comes until it ends; it always returns an error.
func (f *follower) stream(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := f.client
	if f.since == "" && !f.options.Initial {
		// What comes from now on has to be known before the connection may be lost.
		now, err := c.Revision(ctx)
		if err != nil {
			return err
		}
		f.since = now
	}
	watchdog := time.AfterFunc(c.idle, func() { cancel(errSilent) })
	defer watchdog.Stop()
	by := *c.http
	by.Timeout = 0
	answer, err := c.send(ctx, &by, c.route("/v1/changes", f.options.query(f.since)), streamType)
	if err != nil {
		return silent(ctx, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return silent(ctx, refusedStream(answer))
	}
	if kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type")); kind != streamType {
		return fmt.Errorf("%w: it is %.100q", errNoBerth, answer.Header.Get("Content-Type"))
	}
	if f.since == "" && !f.yield(Change{Type: TypeBegin}, nil) {
		return errEnough
	}
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(make([]byte, 0, 4<<10), mostObject)
	lines.Split(wholeLines)
	for lines.Scan() {
		// The reader may take any time for it.
		watchdog.Stop()
		if err := f.tell(lines.Bytes()); err != nil {
			return err
		}
		watchdog.Reset(c.idle)
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("%w: an object is larger than %d bytes", errNoBerth, mostObject)
	}
	if lines.Err() != nil {
		return silent(ctx, fmt.Errorf("%w: %w", errCut, lines.Err()))
	}
	return errCut
}

// tell hands an object of the stream to the reader.
func (f *follower) tell(line []byte) error {
	if len(line) == 0 {
		return nil
	}
	r, err := readObject(line)
	if err != nil {
		return err
	}
	f.received = true
	if r.Type == typeEnd {
		return &Error{Status: r.Status, Message: r.Message}
	}
	f.renewed = false
	if r.Revision != "" {
		f.since = r.Revision
	}
	if !f.yield(r.Change, nil) {
		return errEnough
	}
	return nil
}

// silent is why a context was ended, if it was for silence.
func silent(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errSilent) {
		return cause
	}
	return err
}

// wholeLines splits at the ends of lines; a line that was cut off is none.
func wholeLines(data []byte, _ bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, bytes.TrimSuffix(data[:i], []byte("\r")), nil
	}
	return 0, nil, nil
}

// refusedStream reads why there is no stream.
func refusedStream(answer *http.Response) error {
	const most = 64 << 10
	var envelope struct {
		Message string `json:"message"`
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, most))
	if err == nil {
		_ = json.Unmarshal(body, &envelope) // a proxy's answer is none
	}
	return refused(answer, envelope.Message)
}
