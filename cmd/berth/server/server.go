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
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Options are what a server needs.
type Options struct {
	// Registry serves /v2, Images everything under /v1 and /images, Harbor the few
	// routes of the Harbor API below /api/v2.0/ that older clients call.
	Registry, Images, Harbor http.Handler
	// Gate finds out who asks, before any of these; nil finds nobody.
	Gate func(http.Handler) http.Handler
	// Token serves the token endpoint at /token.
	Token http.Handler
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
	// Shed counts who is refused; nil registers one with Metrics.
	Shed *Shed

	// Debug is a listener for profiles, which only this machine may reach. Nil
	// means that there are none.
	Debug net.Listener

	// Pace is what clients are held to; all of it must be above 0.
	Pace Pace
	// Limits bound how many they may be.
	Limits Limits
	// TrustedProxies are believed for whom they ask.
	TrustedProxies Networks

	TLS         *tls.Config // nil: plain HTTP
	ReadHeader  time.Duration
	Idle        time.Duration
	Shutdown    time.Duration // how long requests in flight may take to finish
	HeaderBytes int
	AccessLog   bool
	// Within gives the context of each request what Account looks for, Account
	// names who asks, once Gate knows: "" for nobody. Both may be nil.
	Within  func(context.Context) context.Context
	Account func(*http.Request) string
	Log     *slog.Logger
}

// Server serves until its context ends.
type Server struct {
	options           Options
	main              *http.Server
	metrics           *http.Server
	debug             *http.Server
	door              *door
	metricsDoor       *door // nil without an address of its own
	requests, uploads *flights
	streams           *flights // of HTTP/2, waiting ones included
	followers         *flights // requests for changes
	metered           *requestMetrics

	accountRequests, accountUploads, accountStreams *perAccount

	anonymous *perAccount // of one, which is nobody
}

// New returns a server.
func New(o Options) *Server {
	if o.Shed == nil {
		o.Shed = NewShed(o.Metrics)
	}
	s := &Server{options: o, metered: newRequestMetrics(o.Metrics)}
	s.requests = newFlights(o.Limits.Requests, tooManyRequests, o.Shed.count)
	s.streams = newFlights(2*o.Limits.Requests, tooManyRequests, o.Shed.count)
	s.uploads = newFlights(o.Limits.Uploads, tooManyUploads, o.Shed.count)
	s.accountRequests = newPerAccount(o.Limits.AccountRequests, tooManyAccountRequests, o.Shed.count)
	s.accountUploads = newPerAccount(o.Limits.AccountUploads, tooManyAccountUploads, o.Shed.count)
	s.followers = newFlights(o.Limits.Streams, tooManyStreams, o.Shed.count)
	s.accountStreams = newPerAccount(o.Limits.AccountStreams, tooManyAccountStreams, o.Shed.count)
	s.anonymous = newPerAccount(o.Limits.AccountRequests, tooManyAnonymous, o.Shed.count)
	s.door = newDoor(o.Limits, o.TrustedProxies, o.Shed.count)
	s.main = s.httpServer(s.behindProxies(s.identify(s.observe(s.metered, s.paced(s.browsers(s.onlyWritable(s.routes())))))))
	s.main.TLSConfig = o.TLS
	s.main.ConnState, s.main.ConnContext = s.door.note, s.door.context
	if o.Metrics != nil {
		s.register(o.Metrics)
	}
	if o.Metrics != nil && o.MetricsListener != nil {
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", s.metricsHandler())
		s.metrics = s.httpServer(s.paced(mux))
		s.metricsDoor = newDoor(Limits{Connections: scrapers, PerClient: scrapers}, nil, o.Shed.count)
		s.metrics.ConnState, s.metrics.ConnContext = s.metricsDoor.note, s.metricsDoor.context
	}
	if o.Debug != nil {
		s.debug = s.httpServer(debugHandler()) // a profile may take any time
	}
	return s
}

func (s *Server) httpServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: s.options.ReadHeader,
		IdleTimeout:       s.options.Idle,
		MaxHeaderBytes:    s.options.HeaderBytes,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: s.options.Limits.maxStreams(),
			SendPingTimeout:      s.options.Pace.Stall,
			PingTimeout:          s.options.Pace.Stall,
			WriteByteTimeout:     s.options.Pace.Stall,
		},
		ErrorLog: slog.NewLogLogger(s.options.Log.Handler(), slog.LevelDebug),
	}
}

// routes hands a request to who answers it. It is no ServeMux: that would
// answer a path it wants cleaned with a redirect, before the registry could
// refuse it.
func (s *Server) routes() http.Handler {
	single := s.single()
	registry, images, harbor := s.gated(s.options.Registry), s.gated(s.options.Images), s.gated(s.options.Harbor)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.Path
		switch {
		case isRegistry(path):
			registry.ServeHTTP(w, r)
		case isImages(path):
			images.ServeHTTP(w, r)
		case isHarbor(path):
			harbor.ServeHTTP(w, r)
		case single[path] != nil:
			single[path].ServeHTTP(w, r)
		default:
			writeText(w, r, http.StatusNotFound, "not found: the registry is at /v2/, the images API at /v1/images")
		}
	})
}

// single are the paths that stand for themselves.
func (s *Server) single() map[string]http.Handler {
	paths := map[string]http.Handler{
		"/token":   s.ofAccount(s.options.Token), // before it is known whose
		"/healthz": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { writeText(w, r, http.StatusOK, "ok") }),
		"/readyz":  http.HandlerFunc(s.ready),
	}
	if s.options.Metrics != nil && s.options.MetricsListener == nil {
		paths["/metrics"] = loopbackOnly(s.metricsHandler())
	}
	return paths
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
	l = newListener(l, s.door, s.options.TLS != nil)
	failed := make(chan error, 3)
	go func() {
		if s.options.TLS != nil {
			failed <- s.main.ServeTLS(l, "", "")
			return
		}
		failed <- s.main.Serve(l)
	}()
	if s.metrics != nil {
		l := newListener(s.options.MetricsListener, s.metricsDoor, false)
		go func() { failed <- s.metrics.Serve(l) }()
	}
	if s.debug != nil {
		go func() { failed <- s.debug.Serve(s.options.Debug) }()
	}
	select {
	case err := <-failed:
		return errors.Join(err, s.main.Close(), s.closeOthers())
	case <-ctx.Done():
	}
	s.options.Log.Info("stopping: requests in flight may finish", "limit", s.options.Shutdown)
	drain, cancel := context.WithTimeout(context.Background(), s.options.Shutdown)
	defer cancel()
	s.door.closeSilent()
	err := s.main.Shutdown(drain)
	if errors.Is(err, context.DeadlineExceeded) {
		s.options.Log.Warn("requests were cut off: they took longer than the limit", "limit", s.options.Shutdown)
		s.requests.logAll(s.options.Log)
		err = s.main.Close()
	}
	return errors.Join(err, s.closeOthers())
}

// closeOthers ends the listeners beside the main one.
func (s *Server) closeOthers() (err error) {
	for _, one := range []*http.Server{s.metrics, s.debug} {
		if one != nil {
			err = errors.Join(err, one.Close())
		}
	}
	return err
}
