package server

import (
	"context"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-oci/berth/catalog/index"
)

// gauge registers what fn returns.
func gauge(reg *prometheus.Registry, name, help string, labels prometheus.Labels, fn func() float64) {
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, fn))
}

// register registers gauges of how much of berth is taken, and how much there
// is.
func (s *Server) register(reg *prometheus.Registry) {
	const (
		inFlight = "Requests in flight; an upload is also a request."
		limit    = "How many there may be at a time."
	)
	constant := func(n int) func() float64 { return func() float64 { return float64(n) } }
	of := func(what string) prometheus.Labels { return prometheus.Labels{"of": what} }
	gauge(reg, "berth_connections", "Connections on the main address.", nil, func() float64 { return float64(s.door.count()) })
	gauge(reg, "berth_requests_in_flight", inFlight, prometheus.Labels{"kind": "request"}, func() float64 { return float64(s.requests.count()) })
	gauge(reg, "berth_requests_in_flight", inFlight, prometheus.Labels{"kind": "upload"}, func() float64 { return float64(s.uploads.count()) })
	gauge(reg, "berth_requests_in_flight", inFlight, prometheus.Labels{"kind": "stream"}, func() float64 { return float64(s.followers.count()) })
	gauge(reg, "berth_limit", limit, of("connections"), constant(s.options.Limits.Connections))
	gauge(reg, "berth_limit", limit, of("connections_per_client"), constant(s.options.Limits.PerClient))
	gauge(reg, "berth_limit", limit, of("requests"), constant(s.options.Limits.Requests))
	gauge(reg, "berth_limit", limit, of("uploads"), constant(s.options.Limits.Uploads))
	gauge(reg, "berth_limit", limit, of("account_requests"), constant(s.options.Limits.AccountRequests))
	gauge(reg, "berth_limit", limit, of("account_uploads"), constant(s.options.Limits.AccountUploads))
}

// Build registers which berth this is.
func Build(reg *prometheus.Registry, version string) {
	gauge(reg, "berth_build_info", "Always 1; the labels say what was built.",
		prometheus.Labels{"version": version, "goversion": runtime.Version()}, func() float64 { return 1 })
}

// Register registers when the certificate in force ends, in Unix seconds.
func (c *Certificate) Register(reg *prometheus.Registry) {
	gauge(reg, "berth_certificate_expiry_timestamp_seconds", "When the TLS certificate in force expires, in Unix time.", nil, func() float64 {
		pair, err := c.get(nil)
		if err != nil || pair.Leaf == nil {
			return 0
		}
		return float64(pair.Leaf.NotAfter.Unix())
	})
}

// CountUploads registers a gauge of the uploads that are not finished.
func CountUploads(reg *prometheus.Registry, open func() int) {
	gauge(reg, "berth_open_uploads", "Uploads that are not finished.", nil, func() float64 { return float64(open()) })
}

// CountStreams registers what becomes of the streams of changes: how many events
// have been sent in them, and how many of them berth has ended.
func CountStreams(reg *prometheus.Registry, sent, ended func() int64) {
	counter := func(name, help string, fn func() int64) {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(fn()) }))
	}
	counter("berth_stream_events_total", "Events sent in streams of changes, bookmarks included.", sent)
	counter("berth_streams_ended_total", "Streams of changes that berth has ended; the log says why.", ended)
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
		bytes: prometheus.NewDesc("berth_stored_bytes",
			"Bytes stored for all namespaces as quotas count them, and uncollected ones, which nothing refers to any more.", []string{"kind"}, nil),
	})
}

type imageCollector struct {
	stats                                  func(context.Context) (index.Stats, error)
	images, repositories, manifests, bytes *prometheus.Desc
}

func (c imageCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.images
	ch <- c.repositories
	ch <- c.manifests
	ch <- c.bytes
}

func (c imageCollector) Collect(ch chan<- prometheus.Metric) {
	s, err := c.stats(context.Background())
	if err != nil {
		ch <- prometheus.NewInvalidMetric(c.images, err)
		return
	}
	gauge := func(d *prometheus.Desc, n int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	gauge(c.images, s.Unikernels, "unikernel")
	gauge(c.images, s.ROMs, "rom")
	gauge(c.repositories, s.ImageRepositories, "unikernel")
	gauge(c.repositories, s.Repositories-s.ImageRepositories, "other")
	gauge(c.manifests, s.Manifests)
	gauge(c.bytes, s.Bytes, "counted")
	gauge(c.bytes, s.Uncollected, "uncollected")
}
