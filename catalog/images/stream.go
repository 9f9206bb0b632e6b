package images

import (
	"bufio"
	"net/http"
)

// bufferSize is how many bytes of an answer are gathered before they are sent.
const bufferSize = 32 << 10

// stream writes an envelope as its entries come. A client that does not take
// it ends the request.
type stream struct {
	c *call
	w *bufio.Writer
	entries
}

// begin writes the head of an answer. From here on it can only be completed or
// aborted.
func (c *call) begin(o outcome) *stream {
	writeHeader(c.w, o.code)
	s := &stream{c: c, w: bufio.NewWriterSize(c.w, bufferSize)}
	s.entries.w = s.w
	s.must(s.w.Write(o.open()))
	return s
}

func (s *stream) add(value any) { s.must(0, s.entries.add(value)) }

func (s *stream) end() {
	s.must(s.w.Write(closing(s.c.start.Add(s.c.hidden))))
	s.must(0, s.w.Flush())
}

func (s *stream) must(_ int, err error) {
	if err != nil {
		// The connection is broken, and there is nothing to do about it.
		panic(http.ErrAbortHandler)
	}
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
	if c.opts.PublicHost != "" {
		return c.opts.PublicHost
	}
	return c.r.Host
}
