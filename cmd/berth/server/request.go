package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

type requestIDKey struct{}

// RequestID is the ID of the request that ctx belongs to, "" outside of one.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

const requestIDHeader = "X-Request-Id"

var requestIDPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// identify gives a request an ID, or keeps the one that a proxy gave it.
func (s *Server) identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get(requestIDHeader)
		if !requestIDPattern.MatchString(id) {
			var random [8]byte
			_, _ = rand.Read(random[:]) // never fails
			id = hex.EncodeToString(random[:])
		}
		w.Header().Set(requestIDHeader, id)
		// Anyone may have pushed what is in an answer: it is what it says it is.
		w.Header().Set("X-Content-Type-Options", "nosniff")
		ctx := context.WithValue(r.Context(), requestIDKey{}, id)
		if s.options.Within != nil {
			ctx = s.options.Within(ctx)
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// observe logs and counts requests.
func (s *Server) observe(m *requestMetrics, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		body := &countingBody{ReadCloser: r.Body}
		r.Body = body
		rec := &recorder{ResponseWriter: w}
		defer func() {
			// A handler that gives up on an answer panics; it is counted too.
			took := time.Since(begin)
			route := routeOf(r.URL.Path)
			m.record(route, r.Method, rec.status(), took, body.n, rec.n)
			if s.options.AccessLog && s.options.Log.Enabled(r.Context(), slog.LevelInfo) {
				s.log(r, route, rec, body, took)
			}
		}()
		s.rescued(rec, r, next)
	})
}

// log writes the line of a request. The record is made by hand: for each one a
// Logger looks up the place in the code that it comes from, which here is always
// the same and never shown.
func (s *Server) log(r *http.Request, route string, rec *recorder, body *countingBody, took time.Duration) {
	line := slog.NewRecord(time.Now(), slog.LevelInfo, "request", 0)
	line.AddAttrs(
		slog.String("method", shown(r.Method)), slog.String("path", shown(r.URL.Path)), slog.String("route", route),
		slog.Int("status", rec.status()), slog.Int64("bytes_in", body.n), slog.Int64("bytes_out", rec.n),
		slog.Float64("seconds", float64(took.Microseconds())/1e6),
		slog.String("client", r.RemoteAddr), slog.String("agent", shown(r.UserAgent())))
	if account := s.options.Account; account != nil {
		if name := account(r); name != "" {
			line.AddAttrs(slog.String("account", name))
		}
	}
	_ = s.options.Log.Handler().Handle(r.Context(), line) // there is nowhere to tell of it
}

// rescued logs a panic of a handler, and answers for it if nothing was answered.
// What net/http would log of it is not the request's, and easily overlooked.
func (s *Server) rescued(w *recorder, r *http.Request, h http.Handler) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p != http.ErrAbortHandler {
			s.options.Log.ErrorContext(r.Context(), "panic: this is a defect of berth", "panic", fmt.Sprint(p),
				"method", shown(r.Method), "path", shown(r.URL.Path), "stack", string(debug.Stack()))
			if w.code == 0 && w.n == 0 {
				answer(w, r, http.StatusInternalServerError, "the server could not do this; its log says why")
				return
			}
		}
		if w.code == 0 {
			w.code = http.StatusServiceUnavailable // for log and metrics: there was no answer
		}
		panic(http.ErrAbortHandler) // the answer must not look complete
	}()
	h.ServeHTTP(w, r)
}

// mostShown bounds what is logged of a value that a client chose, in bytes.
const mostShown = 256

// shown is a value that a client chose, for the log: no more of it than fits,
// and nothing that a log would write in many bytes for one.
func shown(value string) string {
	if len(value) <= mostShown && !strings.ContainsFunc(value, unprintable) {
		return value
	}
	quoted := strconv.QuoteToASCII(value[:min(len(value), mostShown)])
	if quoted = quoted[1 : len(quoted)-1]; len(quoted) > mostShown {
		quoted = quoted[:mostShown]
	}
	if len(value) > mostShown || len(quoted) == mostShown {
		quoted += "…"
	}
	return quoted
}

func unprintable(r rune) bool { return r == utf8.RuneError || !strconv.IsPrint(r) }

// countingBody counts what is read of a request.
type countingBody struct {
	io.ReadCloser
	n int64
}

func (c *countingBody) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n += int64(n)
	return n, err
}

// recorder notes what is answered.
type recorder struct {
	http.ResponseWriter
	code int // 0 until the header is written
	n    int64
}

func (r *recorder) status() int {
	if r.code == 0 {
		return http.StatusOK
	}
	return r.code
}

func (r *recorder) WriteHeader(code int) {
	if r.code == 0 && code >= 200 {
		r.code = code
	}
	r.ResponseWriter.WriteHeader(code)
}

func (r *recorder) Write(p []byte) (int, error) {
	n, err := r.ResponseWriter.Write(p)
	r.n += int64(n)
	return n, err
}

// ReadFrom keeps the connection's own way of copying a file.
func (r *recorder) ReadFrom(reader io.Reader) (int64, error) {
	n, err := io.Copy(r.ResponseWriter, reader)
	r.n += n
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// LogHandler adds the request's ID to what is logged within a request.
func LogHandler(h slog.Handler) slog.Handler { return logHandler{h} }

type logHandler struct{ slog.Handler }

func (l logHandler) Handle(ctx context.Context, r slog.Record) error {
	if id := RequestID(ctx); id != "" {
		r.AddAttrs(slog.String("request", id))
	}
	return l.Handler.Handle(ctx, r)
}

func (l logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logHandler{l.Handler.WithAttrs(attrs)}
}

func (l logHandler) WithGroup(name string) slog.Handler { return logHandler{l.Handler.WithGroup(name)} }
