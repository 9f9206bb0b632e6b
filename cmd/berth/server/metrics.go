package server

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/berth-oci/berth/catalog/index"
)

// NewMetrics returns a registry of berth's own: what the embedded libraries
// register on the default one is not shown.
func NewMetrics() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}

// latencies reach from a lookup in the index to the upload of a large layer.
var latencies = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60, 300}

// requestMetrics counts requests. Its labels have few values: never a
// repository, a user, or anything else that a client chooses.
type requestMetrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	received prometheus.Counter
	sent     prometheus.Counter
}

func newRequestMetrics(reg *prometheus.Registry) *requestMetrics {
	m := &requestMetrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "berth_http_requests_total", Help: "Requests answered, by route, method and status.",
		}, []string{"route", "method", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "berth_http_request_duration_seconds", Help: "Time from the header read to the answer written.", Buckets: latencies,
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

func (r *requestMetrics) record(route, method string, status int, took time.Duration, in, out int64) {
	r.requests.WithLabelValues(route, methodOf(method), strconv.Itoa(status)).Inc()
	r.duration.WithLabelValues(route).Observe(took.Seconds())
	r.received.Add(float64(in))
	r.sent.Add(float64(out))
}

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
	case "/v1/users/quotas":
		return "quotas"
	case "/healthz", "/readyz", "/metrics", "/token":
		return path[1:]
	}
	if strings.HasPrefix(path, "/api/v2.0/") {
		return "harbor"
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
	case n > 5 && parts[n-3] == "blobs" && parts[n-2] == "uploads":
		return "v2_uploads"
	case n > 4 && parts[n-2] == "blobs":
		return "v2_blobs"
	}
	return "v2_other"
}

// IndexMetrics registers counters of the index's operations and returns what
// is to be told of each.
func IndexMetrics(reg *prometheus.Registry) func(operation string, took time.Duration, err error) {
	operations := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "berth_index_operations_total", Help: "Operations on the index, by kind and result.",
	}, []string{"operation", "result"})
	duration := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "berth_index_operation_duration_seconds", Help: "Time an operation on the index took, waiting included.", Buckets: latencies,
	}, []string{"operation"})
	reg.MustRegister(operations, duration)
	return func(operation string, took time.Duration, err error) {
		result := "ok"
		switch {
		case errors.Is(err, index.ErrNotFound):
			result = "not_found"
		case err != nil:
			result = "error"
		}
		operations.WithLabelValues(operation, result).Inc()
		duration.WithLabelValues(operation).Observe(took.Seconds())
	}
}

// CountImages registers gauges of what the catalog holds.
func CountImages(reg *prometheus.Registry, stats func(context.Context) (index.Stats, error)) {
	reg.MustRegister(imageCollector{
		stats: stats,
		images: prometheus.NewDesc("berth_images",
			"Images in the list, by kind: unikernel, or rom for those that have nothing but ROMs.", []string{"kind"}, nil),
		repositories: prometheus.NewDesc("berth_repositories",
			"Repositories, by kind: unikernel for those with an image in the list, or other.", []string{"kind"}, nil),
		manifests: prometheus.NewDesc("berth_manifests", "Manifests stored, indexes and those of other kinds included.", nil, nil),
	})
}

type imageCollector struct {
	stats                           func(context.Context) (index.Stats, error)
	images, repositories, manifests *prometheus.Desc
}

func (i imageCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- i.images
	ch <- i.repositories
	ch <- i.manifests
}

func (i imageCollector) Collect(ch chan<- prometheus.Metric) {
	s, err := i.stats(context.Background())
	if err != nil {
		ch <- prometheus.NewInvalidMetric(i.images, err)
		return
	}
	gauge := func(d *prometheus.Desc, n int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	gauge(i.images, s.Unikernels, "unikernel")
	gauge(i.images, s.ROMs, "rom")
	gauge(i.repositories, s.ImageRepositories, "unikernel")
	gauge(i.repositories, s.Repositories-s.ImageRepositories, "other")
	gauge(i.manifests, s.Manifests)
}
