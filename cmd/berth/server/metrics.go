package server

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/berth-oci/berth/catalog/index"
)

// NewMetrics returns a registry of berth's own: what the embedded libraries
// register on the default one is not shown.
func NewMetrics() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(collectors.WithGoCollectorMemStatsMetricsDisabled()), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}

// latencies are few, since each is a series for every label: what is quick, and
// what a person would wait for. Who scrapes native histograms gets all of it.
var latencies = []float64{.1, 1}

// resolution is by how much two buckets of a native histogram differ, and
// buckets how many there are at most.
const (
	resolution = 1.2
	buckets    = 80
)

// maxRequestSeries bounds the series of berth_http_requests_total, whatever
// clients ask: what comes after these is counted as other.
const maxRequestSeries = 60

// requestMetrics counts requests. Its labels have few values: never a
// repository, a user, or anything else that a client chooses.
type requestMetrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	received prometheus.Counter
	sent     prometheus.Counter

	mu   sync.Mutex
	seen map[[3]string]prometheus.Counter // of requests, by their labels; guarded by mu
}

func newRequestMetrics(reg *prometheus.Registry) *requestMetrics {
	m := &requestMetrics{
		seen: map[[3]string]prometheus.Counter{},
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "berth_http_requests_total", Help: "Requests answered, by route, method and status.",
		}, []string{"route", "method", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "berth_http_request_duration_seconds", Help: "Time from the header read to the answer written.", Buckets: latencies,
			NativeHistogramBucketFactor: resolution, NativeHistogramMaxBucketNumber: buckets,
		}, []string{"route"}),
		received: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "berth_http_received_bytes_total", Help: "Bytes of request bodies read.",
		}),
		sent: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "berth_http_sent_bytes_total", Help: "Bytes of response bodies written.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.duration, m.received, m.sent)
	}
	return m
}

func (m *requestMetrics) record(route, method string, status int, took time.Duration, in, out int64) {
	m.counter(route, methodOf(method), codeOf(status)).Inc()
	if !probe(route) && route != changesRoute { // which lasts as long as a client wants
		m.duration.WithLabelValues(route).Observe(took.Seconds())
	}
	m.received.Add(float64(in))
	m.sent.Add(float64(out))
}

// counter is what a request is counted by. Once there are many, what was not
// seen before is other, by its kind of status.
func (m *requestMetrics) counter(route, method, code string) prometheus.Counter {
	labels := [3]string{route, method, code}
	m.mu.Lock()
	defer m.mu.Unlock()
	if c, ok := m.seen[labels]; ok {
		return c
	}
	if len(m.seen) >= maxRequestSeries {
		return m.requests.WithLabelValues("other", "other", code[:1]+"xx")
	}
	c := m.requests.WithLabelValues(labels[:]...)
	m.seen[labels] = c
	return c
}

// codeOf is the status of what clients and operators tell apart, and else its
// kind.
func codeOf(status int) string {
	switch status {
	case 200, 201, 202, 204, 206, 304, 307, 401, 403, 404, 408, 429, 500, 503:
		return strconv.Itoa(status)
	}
	return strconv.Itoa(status/100) + "xx"
}

// changesRoute is that of the feed.
const changesRoute = "changes"

// probe reports whether a route says how berth is, which can always be asked.
func probe(route string) bool { return route == "healthz" || route == "readyz" || route == "metrics" }

func methodOf(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "other"
}

// routeOf names the endpoint of a path, for metrics and the log.
func routeOf(path string) string {
	switch path {
	case "/v2", "/v2/":
		return "v2_base"
	case "/v2/_catalog":
		return "v2_catalog"
	case "/v1/images", "/images":
		return "images"
	case "/v1/images/list":
		return "images_v1"
	case "/v1/image-store":
		return "image_store"
	case "/v1/changes":
		return changesRoute
	case "/v1/users/quotas":
		return "quotas"
	case "/healthz", "/readyz", "/metrics", "/token":
		return path[1:]
	}
	switch {
	case isHarbor(path):
		return "harbor"
	case strings.HasPrefix(path, "/v1/images/"):
		return "images"
	case strings.HasPrefix(path, "/v1/users/") && strings.HasSuffix(path, "/quotas"):
		return "quotas"
	}
	if !strings.HasPrefix(path, "/v2/") {
		return "other"
	}
	parts := strings.Split(path, "/")
	n := len(parts)
	switch {
	case n > 4 && parts[n-2] == "manifests":
		return "v2_manifests"
	case n > 4 && parts[n-2] == "tags" && parts[n-1] == "list":
		return "v2_tags"
	case n > 4 && parts[n-2] == "referrers":
		return "v2_referrers"
	case n > 5 && parts[n-3] == "blobs" && parts[n-2] == "uploads":
		return "v2_uploads"
	case n > 4 && parts[n-2] == "blobs":
		return "v2_blobs"
	}
	return "v2_other"
}

// IndexMetrics registers counters of the index's operations and returns what
// is to be told of each. There are dozens of kinds, so only the time that each
// took has a series for every kind, and what did not succeed has one for all.
func IndexMetrics(reg *prometheus.Registry) func(operation string, took time.Duration, err error) {
	operations := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "berth_index_operations_total", Help: "Operations on the index, by kind if they succeeded, and by result.",
	}, []string{"operation", "result"})
	duration := prometheus.NewSummaryVec(prometheus.SummaryOpts{
		Name: "berth_index_operation_duration_seconds", Help: "Time an operation on the index took, waiting included.",
	}, []string{"operation"})
	reg.MustRegister(operations, duration)
	// Looking a series up by its labels costs more than counting in it.
	type series struct {
		ok   prometheus.Counter
		took prometheus.Observer
	}
	var kinds sync.Map // of operations, to series
	notFound, failed := operations.WithLabelValues("any", "not_found"), operations.WithLabelValues("any", "error")
	return func(operation string, took time.Duration, err error) {
		found, ok := kinds.Load(operation)
		if !ok {
			found, _ = kinds.LoadOrStore(operation, series{operations.WithLabelValues(operation, "ok"), duration.WithLabelValues(operation)})
		}
		kind := found.(series)
		switch {
		case errors.Is(err, index.ErrNotFound):
			notFound.Inc()
		case err != nil:
			failed.Inc()
		default:
			kind.ok.Inc()
		}
		kind.took.Observe(took.Seconds())
	}
}
