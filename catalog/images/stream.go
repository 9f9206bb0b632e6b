package images

import (
	"bytes"
	"cmp"
	"net/http"
)

// bufferSize is how many bytes of an answer are gathered before they are sent.
const bufferSize = 32 << 10

// mostKept is how large the room for that may become: what a batch of usual images
// is encoded to, and some more.
const mostKept = 512 << 10

// stream writes an envelope as its entries come. A client that does not take
// it ends the request. While one is waited for, nothing is held of the entries
// but what they are encoded to: add never waits, flush does.
type stream struct {
	c *call
	entries
	// pending is what was added and is not sent yet.
	pending bytes.Buffer
}

// begin begins an answer. From here on it can only be completed or aborted.
func (c *call) begin(o outcome) *stream {
	writeHeader(c.w, o.code)
	s := &stream{c: c}
	s.buf = &s.pending
	s.pending.Write(o.open())
	return s
}

// flush sends what has gathered, if it is enough to be sent.
func (s *stream) flush() {
	if s.pending.Len() >= bufferSize {
		s.send()
	}
}

func (s *stream) end() {
	s.pending.Write(closing(s.c.start.Add(s.c.hidden)))
	s.send()
}

// send waits for the client, and has room for what it holds meanwhile.
func (s *stream) send() {
	held := s.c.opts.Memory.Hold()
	defer held.Release()
	if err := held.Grow(s.c.r.Context(), int64(s.pending.Cap())); err != nil {
		s.c.abort(err)
	}
	if _, err := s.c.w.Write(s.pending.Bytes()); err != nil {
		// The connection is broken, and there is nothing to do about it.
		panic(http.ErrAbortHandler)
	}
	if s.pending.Cap() > mostKept {
		s.pending = bytes.Buffer{} // one large entry does not make the rest large
	}
	s.pending.Reset()
}

// abort ends the connection in the middle of an answer, so that the client
// cannot take what it has for all there is.
func (c *call) abort(err error) {
	ctx := c.r.Context()
	if ctx.Err() == nil {
		c.opts.Log.ErrorContext(ctx, "images API: answer cut off", "error", err, "request_id", c.opts.RequestID(ctx))
	}
	panic(http.ErrAbortHandler)
}

// host is what stands in front of an image's name in its URL.
func (c *call) host() string {
	return cmp.Or(c.opts.IndexHost, c.opts.PublicHost, c.r.Host)
}
