package main

import (
	"log/slog"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-oci/berth/config"
	"github.com/berth-oci/berth/storage"
	"github.com/berth-oci/berth/storage/scrub"
)

// watchDamage counts and logs what is moved into quarantine, and what is healed.
func watchDamage(store *storage.Store, metrics *prometheus.Registry, log *slog.Logger) {
	found := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "berth_damage_found_total", Help: "Blobs and manifests that did not have their digest and were moved into quarantine, by who found them.",
	}, []string{"by"})
	for _, by := range []storage.By{storage.ByPush, storage.ByRead, storage.ByScrub, storage.ByFsck} {
		found.WithLabelValues(string(by))
	}
	healed := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "berth_damage_healed_total", Help: "Blobs and manifests in quarantine whose right bytes were pushed again.",
	})
	metrics.MustRegister(found, healed, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "berth_damage_missing", Help: "Blobs and manifests in quarantine whose right bytes have not come yet.",
	}, func() float64 { return float64(store.Missing()) }))
	store.Watch(func(f storage.Finding) {
		if f.Healed.IsZero() {
			found.WithLabelValues(string(f.By)).Inc()
			log.Error("damage: what is stored does not have its digest; it is in quarantine, and missing until it is pushed again",
				"digest", f.Digest, "reason", f.Reason, "found_by", string(f.By), "bytes", f.Size)
			return
		}
		healed.Inc()
		log.Info("damage is healed: the right bytes were pushed", "digest", f.Digest, "found", f.Found)
	})
}

// countRoom registers gauges of the disk of local files.
func countRoom(store *storage.Store, metrics *prometheus.Registry) {
	if _, _, ok := store.FreeBytes(); !ok {
		return
	}
	metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "berth_storage_free_bytes", Help: "Bytes free on the disk of the images.",
	}, func() float64 {
		free, _, _ := store.FreeBytes()
		return float64(free)
	}))
}

// startScrub begins to read everything again, if it is to be.
func (b *berth) startScrub(c *config.Config, metrics *prometheus.Registry, log *slog.Logger) {
	if !*c.Scrub.Enabled {
		return
	}
	s := scrub.Start(scrub.Options{
		Store: b.store, State: filepath.Join(c.Data, "scrub.json"), Log: log,
		Rate: int64(c.Scrub.Rate), Operations: int64(c.Scrub.Operations), Interval: c.Scrub.Interval,
	})
	b.closers = append(b.closers, s.Close)
	counter := func(name, help string, n func(scrub.Status) int64) {
		metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(n(s.Status())) }))
	}
	counter("berth_scrub_bytes_total", "Stored bytes that scrub has read.", func(s scrub.Status) int64 { return s.ReadBytes })
	counter("berth_scrub_blobs_total", "Blobs and manifests that scrub has read.", func(s scrub.Status) int64 { return s.ReadBlobs })
	metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "berth_scrub_ended_timestamp_seconds", Help: "When scrub last had read everything, in Unix time; 0 for never.",
	}, func() float64 {
		if ended := s.Status().Ended; !ended.IsZero() {
			return float64(ended.Unix())
		}
		return 0
	}))
}
