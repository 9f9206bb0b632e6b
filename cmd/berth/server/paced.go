package server

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// piece is how many bytes are written under one deadline.
const piece = 64 << 10

// exchange is a request whose client is held to a pace, in both directions.
//
// Of HTTP/1, the deadlines are the connection's: the last one stays in force
// for what net/http reads and writes after the handler. Of HTTP/2 they are the
// stream's, and one that passes while berth does something else would end it.
type exchange struct {
	request  *http.Request
	begin    time.Time
	control  *http.ResponseController
	streams  bool // HTTP/2
	in, out  *pace
	late     atomic.Bool // the body did not come in time
	complete atomic.Bool // the body was read to its end

	mu   sync.Mutex
	over bool // guarded by mu
}

// paced holds the clients of h to a pace. A body that does not come is answered
// with 408 in the form of the API that was asked; a client that does not take
// its answer loses the connection, or the stream.
func (s *Server) paced(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		longBody, longAnswer := lasting(routeOf(r.URL.Path))
		x := &exchange{
			request: r, begin: time.Now(),
			control: http.NewResponseController(w),
			streams: r.ProtoMajor >= 2,
			in:      newPace(s.options.Pace, !longBody),
			out:     newPace(s.options.Pace, !longAnswer),
		}
		x.out.unrated = routeOf(r.URL.Path) == changesRoute
		x.complete.Store(r.Body == nil || r.Body == http.NoBody)
		if !x.complete.Load() {
			r.Body = &pacedBody{r.Body, x}
		}
		defer x.began(r.Context())()
		r = r.WithContext(withExchange(r.Context(), x))
		x.rest()
		defer x.rest()
		defer x.finish() // before rest: a deadline set then is the connection's
		paced := &pacedWriter{ResponseWriter: w, r: r, x: x}
		s.limited(paced, r, x, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(w, r)
			paced.send()
		}))
		if x.late.Load() && !paced.wrote {
			paced.WriteHeader(http.StatusRequestTimeout) // the handler gave up without a word
		}
		paced.send()
	})
}

// lasting reports whether a route's body, and its answer, may take any time if
// the client keeps the pace.
func lasting(route string) (body, answer bool) {
	switch route {
	case "v2_uploads":
		return true, false
	case "v2_blobs", "v2_catalog", "v2_tags", "v2_referrers", "images", "images_v1", "image_store", changesRoute:
		return false, true
	}
	return false, false
}

// rest sets the deadlines for what net/http does by itself before and after
// the handler: to ask for the body, to skip it, to send what is left of the
// answer.
func (x *exchange) rest() {
	if x.streams {
		return
	}
	until := time.Now().Add(x.out.limits.Stall)
	_ = x.control.SetWriteDeadline(until)
	if !x.complete.Load() {
		_ = x.control.SetReadDeadline(until)
	}
}

// closing says in an answer that no more will be read of the connection. Over
// HTTP/2 that is the stream's alone: others of the connection go on.
func (x *exchange) closing(h http.Header) {
	if !x.streams {
		h.Set("Connection", "close")
	}
}

func (x *exchange) read(op func() (int, error)) (int, error) {
	_ = x.control.SetReadDeadline(x.in.begin(0))
	n, err := op()
	x.in.end(n)
	if err == io.EOF {
		x.complete.Store(true)
	}
	if x.streams || err == io.EOF {
		// net/http goes on reading then, to see the client go away.
		_ = x.control.SetReadDeadline(time.Time{})
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		x.late.Store(true)
	}
	return n, err
}

func (x *exchange) write(bytes int, op func() (int64, error)) (int64, error) {
	_ = x.control.SetWriteDeadline(x.out.begin(bytes))
	n, err := op()
	x.out.end(int(n))
	if x.streams {
		_ = x.control.SetWriteDeadline(time.Time{})
	}
	return n, err
}

type pacedBody struct {
	io.ReadCloser
	x *exchange
}

// Read implements io.Reader.
func (b *pacedBody) Read(p []byte) (int, error) {
	return b.x.read(func() (int, error) { return b.ReadCloser.Read(p) })
}

type pacedWriter struct {
	http.ResponseWriter
	r     *http.Request
	x     *exchange
	wrote bool // the header
	mute  bool // the answer was replaced by 408
	kept  bool // something of the body may not have been sent
}

// WriteHeader implements http.ResponseWriter. Whatever a handler makes of a
// body that did not come, the client is told what was wrong.
func (w *pacedWriter) WriteHeader(code int) {
	if !w.wrote && code >= http.StatusBadRequest && w.x.late.Load() {
		w.wrote, w.mute = true, true
		w.x.closing(w.Header())
		_, _ = w.x.write(0, func() (int64, error) {
			answer(w.ResponseWriter, w.r, http.StatusRequestTimeout, "the body of the request did not come in time")
			return 0, nil
		})
		w.kept = true
		return
	}
	w.wrote = w.wrote || code >= http.StatusOK
	if !w.mute {
		w.ResponseWriter.WriteHeader(code)
	}
}

// Write implements io.Writer.
func (w *pacedWriter) Write(p []byte) (int, error) {
	if w.mute {
		return len(p), nil
	}
	w.wrote, w.kept = true, true
	total := 0
	for {
		next := p[total:min(len(p), total+piece)]
		n, err := w.x.write(len(next), func() (int64, error) {
			n, err := w.ResponseWriter.Write(next)
			return int64(n), err
		})
		if total += int(n); err != nil || total >= len(p) {
			return total, err
		}
	}
}

// ReadFrom lets the connection copy a file in its own way, piece by piece.
func (w *pacedWriter) ReadFrom(r io.Reader) (int64, error) {
	if w.mute {
		return io.Copy(io.Discard, r)
	}
	w.wrote = true
	if w.x.streams { // which copy no files
		return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, 32<<10))
	}
	// The connection looks for a file behind one limit, not behind two.
	limit, limited := r.(*io.LimitedReader)
	if limited {
		r = limit.R
	}
	var total int64
	for {
		next := &io.LimitedReader{R: r, N: piece}
		if limited {
			next.N = min(next.N, limit.N)
		}
		want := next.N
		if want <= 0 {
			return total, nil
		}
		n, err := w.x.write(int(want), func() (int64, error) { return io.Copy(w.ResponseWriter, next) })
		total += n
		if limited {
			limit.N -= n
		}
		if err != nil || n < want {
			return total, err
		}
	}
}

// send sends what is left of an answer over HTTP/2. net/http would do it after
// the handler, without a deadline: who has taken nothing yet could keep the
// stream, and all that belongs to it, for ever.
func (w *pacedWriter) send() {
	if w.x.streams && w.kept {
		_ = w.FlushError() // the client is gone, or will be
	}
}

// FlushError sends what is buffered.
func (w *pacedWriter) FlushError() error {
	w.wrote, w.kept = true, false
	_, err := w.x.write(0, func() (int64, error) { return 0, w.x.control.Flush() })
	return err
}

// Flush implements http.Flusher.
func (w *pacedWriter) Flush() { _ = w.FlushError() }

// Unwrap lets http.ResponseController reach the connection.
func (w *pacedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
