// Package server is berth's listener: it puts the registry and the images API
// behind one address, gives every request an ID, logs and counts it, says
// whether berth is well, and stops without cutting anyone off.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Options are what a server needs.
type Options struct {
	// Registry serves /v2, Images everything under /v1 and /images.
	Registry, Images http.Handler
	// Token serves the token endpoint at /token, Harbor the few routes of the
	// Harbor API below /api/v2.0/ that older clients call.
	Token, Harbor http.Handler
	// Ready returns an error while berth cannot serve; the error is logged.
	Ready func(context.Context) error

	// Writable returns an error while nothing may be written, and how many
	// seconds later a client shall try again. The error is logged. It may be nil.
	Writable func() (retryAfter string, err error)

	// Browsers says which requests of browsers are refused.
	Browsers Browsers

	// Metrics are served at /metrics on MetricsListener, or if that is nil on
	// the main address to loopback clients. Nil means they are not served.
	Metrics         *prometheus.Registry
	MetricsListener net.Listener

	TLS         *tls.Config // nil: plain HTTP
	ReadHeader  time.Duration
	Idle        time.Duration
	Shutdown    time.Duration // how long requests in flight may take to finish
	HeaderBytes int
	AccessLog   bool
	Log         *slog.Logger
}

// Server serves until its context ends.
type Server struct {
	options Options
	main    *http.Server
	metrics *http.Server
	silent  silent
}

// New returns a server.
func New(o Options) *Server {
	s := &Server{options: o}
	counters := newRequestMetrics(o.Metrics)
	s.main = s.httpServer(s.identify(s.observe(counters, s.browsers(s.onlyWritable(s.routes())))))
	s.main.TLSConfig = o.TLS
	s.main.ConnState = s.silent.note
	if o.Metrics != nil && o.MetricsListener != nil {
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", s.metricsHandler())
		s.metrics = s.httpServer(mux)
	}
	return s
}

func (s *Server) httpServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: s.options.ReadHeader,
		IdleTimeout:       s.options.Idle,
		MaxHeaderBytes:    s.options.HeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.options.Log.Handler(), slog.LevelDebug),
	}
}

// routes hands a request to who answers it. It is no ServeMux: that would
// answer a path it wants cleaned with a redirect, before the registry could
// refuse it.
func (s *Server) routes() http.Handler {
	var metrics http.Handler
	if s.options.Metrics != nil && s.metrics == nil && s.options.MetricsListener == nil {
		metrics = loopbackOnly(s.metricsHandler())
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.Path
		switch {
		case path == "/v2" || strings.HasPrefix(path, "/v2/"):
			s.options.Registry.ServeHTTP(w, r)
		case path == "/v1" || strings.HasPrefix(path, "/v1/") || path == "/images":
			s.options.Images.ServeHTTP(w, r)
		case path == "/token":
			s.options.Token.ServeHTTP(w, r)
		case strings.HasPrefix(path, "/api/v2.0/"):
			s.options.Harbor.ServeHTTP(w, r)
		case path == "/healthz":
			writeText(w, r, http.StatusOK, "ok")
		case path == "/readyz":
			s.ready(w, r)
		case path == "/metrics" && metrics != nil:
			metrics.ServeHTTP(w, r)
		default:
			writeText(w, r, http.StatusNotFound, "not found: the registry is at /v2/, the images API at /v1/images")
		}
	})
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	if err := s.options.Ready(r.Context()); err != nil {
		s.options.Log.ErrorContext(r.Context(), "not ready", "error", err)
		writeText(w, r, http.StatusServiceUnavailable, "not ready: the log says why")
		return
	}
	writeText(w, r, http.StatusOK, "ready")
}

func (s *Server) metricsHandler() http.Handler {
	return promhttp.HandlerFor(s.options.Metrics, promhttp.HandlerOpts{})
}

// loopbackOnly hides a handler from everyone who is not on this machine. A
// proxy on this machine is not its client.
func loopbackOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		proxied := r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Forwarded") != "" || r.Header.Get("Via") != ""
		if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() || proxied {
			writeText(w, r, http.StatusNotFound, "not found")
			return
		}
		h.ServeHTTP(w, r)
	})
}

func writeText(w http.ResponseWriter, r *http.Request, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte(text + "\n"))
	}
}

// Serve answers requests on the listener until ctx ends. Then it takes no new
// ones, lets those in flight finish as long as Shutdown allows, and returns nil.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	failed := make(chan error, 2)
	go func() {
		if s.options.TLS != nil {
			failed <- s.main.ServeTLS(l, "", "")
			return
		}
		failed <- s.main.Serve(l)
	}()
	if s.metrics != nil {
		go func() { failed <- s.metrics.Serve(s.options.MetricsListener) }()
	}
	select {
	case err := <-failed:
		return errors.Join(err, s.main.Close())
	case <-ctx.Done():
	}
	s.options.Log.Info("stopping: requests in flight may finish", "limit", s.options.Shutdown)
	drain, cancel := context.WithTimeout(context.Background(), s.options.Shutdown)
	defer cancel()
	s.silent.close()
	err := s.main.Shutdown(drain)
	if errors.Is(err, context.DeadlineExceeded) {
		s.options.Log.Warn("requests were cut off: they took longer than the limit", "limit", s.options.Shutdown)
		err = s.main.Close()
	}
	if s.metrics != nil {
		err = errors.Join(err, s.metrics.Close())
	}
	return err
}

// silent are the connections on which no request has come yet. Clients keep
// such ones in reserve, and Shutdown would wait for each of them.
type silent struct {
	mu      sync.Mutex
	conns   map[net.Conn]struct{} // guarded by mu
	closing bool                  // guarded by mu
}

func (s *silent) note(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if state != http.StateNew {
		delete(s.conns, c)
		return
	}
	if s.closing {
		_ = c.Close()
		return
	}
	if s.conns == nil {
		s.conns = make(map[net.Conn]struct{})
	}
	s.conns[c] = struct{}{}
}

func (s *silent) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	for c := range s.conns {
		_ = c.Close()
	}
}
