package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-oci/berth/config"
	"github.com/berth-oci/berth/storage/collect"
)

// renewals is how often within a lease something idle is renewed at most.
const renewals = 10

// newCollector makes what removes what nothing needs, which does nothing yet.
func (b *berth) newCollector(c *config.Config, log *slog.Logger) *collect.Collector {
	g := &c.Collect
	return collect.New(collect.Options{
		Catalog: b.catalog, Store: b.store, Ready: b.ready, Uploads: b.registry.Abandoned,
		Lease: g.Lease, Quarantine: g.Quarantine, Abandoned: g.Uploads, Interval: g.Interval, Search: g.Search,
		Rate: int64(g.Rate), Operations: int64(g.Operations), Share: g.Share, State: filepath.Join(c.Data, "collect.json"), Log: log,
	})
}

// startCollect begins to collect, if that is to be done in the background.
func (b *berth) startCollect(c *config.Config, metrics *prometheus.Registry) {
	countCollected(metrics, b.collector, b.catalog)
	if c.ReadOnly() {
		return
	}
	if c.Collect.Enabled {
		b.collector.Start()
	}
	b.closers = append(b.closers, b.collector.Close)
}

// countCollected registers what was collected, and what waits for it.
func countCollected(metrics *prometheus.Registry, collector *collect.Collector, catalog collect.Catalog) {
	counter := func(name, help string, labels prometheus.Labels, n func(collect.Freed) int64) {
		metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels},
			func() float64 { return float64(n(collector.Status().Total)) }))
	}
	const bytesHelp = "Bytes freed for good, by why: nothing referred to them, nobody knew of them, or nobody went on with their upload."
	for reason, n := range map[string]func(collect.Freed) int64{
		"unreferenced": func(f collect.Freed) int64 { return f.Unreferenced.Bytes },
		"stray":        func(f collect.Freed) int64 { return f.Strays.Bytes },
		"upload":       func(f collect.Freed) int64 { return f.Uploads.Bytes },
	} {
		counter("berth_collect_freed_bytes_total", bytesHelp, prometheus.Labels{"reason": reason}, n)
	}
	const removedHelp = "What was removed because nothing needed it, by what it was; blobs go into quarantine first."
	for what, n := range map[string]func(collect.Freed) int64{
		"link":     func(f collect.Freed) int64 { return int64(f.Links) },
		"manifest": func(f collect.Freed) int64 { return int64(f.Manifests) },
		"blob":     func(f collect.Freed) int64 { return int64(f.Swept.Count) },
		"upload":   func(f collect.Freed) int64 { return int64(f.Uploads.Count) },
	} {
		counter("berth_collect_removed_total", removedHelp, prometheus.Labels{"what": what}, n)
	}
	gauge := func(name, help string, value func() float64) {
		metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	gauge("berth_collect_swept_timestamp_seconds", "When the last sweep came to its end, in Unix time; 0 for never.", func() float64 {
		if s := collector.Status(); s.Error == "" && !s.Ended.IsZero() {
			return float64(s.Ended.Unix())
		}
		return 0
	})
	gauge("berth_collect_quarantine_bytes", "Bytes that nothing needed and that are kept for a while.", func() float64 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		n, err := catalog.Kept(ctx)
		if err != nil {
			return 0
		}
		return float64(n)
	})
}
