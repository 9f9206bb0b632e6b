package main

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-oci/berth/catalog/images"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/catalog/webhook"
	"github.com/berth-oci/berth/config"
)

// cursorsFile is in the data folder.
const cursorsFile = "webhooks.json"

// startWebhooks begins to send changes to the receivers of the configuration, if there
// are any, as those of a berth that listens on an address.
func (b *berth) startWebhooks(c *config.Config, address string, metrics *prometheus.Registry, log *slog.Logger) error {
	if len(c.Events.Webhooks) == 0 {
		return nil
	}
	o := webhook.Options{
		State: filepath.Join(c.Data, cursorsFile), Check: b.home.there, Source: c.HTTP.PublicURL + "/v1/changes", Policy: webhook.Policy{Inside: c.Events.InternalNetworks},
		Timeout: c.Events.Timeout, Agent: "berth/" + version(), Log: log,
	}
	known := images.Options{PublicHost: hostOf(c.HTTP.PublicURL), IndexHost: c.HTTP.IndexHost}
	if known.PublicHost == "" {
		known.PublicHost = reachable(address)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Events.Webhooks)) {
		h, err := hookOf(b.catalog, known, name, c.Events.Webhooks[name])
		if err != nil {
			return err
		}
		if h.URL.Scheme == "http" && !config.Loopback(net.JoinHostPort(h.URL.Hostname(), "0")) {
			log.Warn("without TLS, what a webhook sends travels in clear: give it an address of https", "webhook", name)
		}
		o.Hooks = append(o.Hooks, h)
	}
	s, err := webhook.Start(o)
	if err != nil {
		return err
	}
	b.closers = append(b.closers, s.Close)
	metrics.MustRegister(webhookMetrics{s})
	return nil
}

// hookOf is a receiver of a configuration that was validated.
func hookOf(c images.Catalog, known images.Options, name string, w *config.Webhook) (webhook.Hook, error) {
	h := webhook.Hook{Name: name, Filter: [][]string{w.Namespaces, w.Repositories, w.Types}}
	var err error
	if h.URL, err = url.Parse(w.URL); err != nil {
		return h, err
	}
	keys, err := w.Keys()
	if err != nil {
		return h, err
	}
	for _, key := range keys {
		h.Secrets = append(h.Secrets, key)
	}
	var types []index.ChangeType
	for _, one := range w.Types {
		types = append(types, index.ChangeType(one))
	}
	teller, err := images.NewTeller(c, known, w.Namespaces, w.Repositories, types)
	h.Feed = changesFeed{c, teller}
	return h, err
}

// changesFeed is the feed of the catalog as webhooks want it.
type changesFeed struct {
	catalog images.Catalog
	teller  *images.Teller
}

// Last returns the newest revision.
func (f changesFeed) Last(context.Context) (string, error) { return f.catalog.Last().String(), nil }

// After returns what came after a revision.
func (f changesFeed) After(ctx context.Context, since string, n int) ([]webhook.Event, string, error) {
	at, err := index.ParseRevision(since)
	if err != nil {
		return nil, "", webhook.ErrGone // the file was changed by somebody else
	}
	told, next, err := f.teller.After(ctx, at, n)
	if errors.Is(err, index.ErrRevision) {
		err = webhook.ErrGone
	}
	if err != nil {
		return nil, "", err
	}
	events := make([]webhook.Event, len(told))
	for i, one := range told {
		events[i] = webhook.Event{Revision: one.Revision.String(), Type: string(one.Type), Subject: one.Repository, Time: one.Time, Data: one.Data}
	}
	return events, next.String(), nil
}

// Wait waits until something came after a revision.
func (f changesFeed) Wait(ctx context.Context, since string) error {
	at, err := index.ParseRevision(since)
	if err != nil {
		return webhook.ErrGone
	}
	select {
	case <-ctx.Done():
	case <-f.catalog.Grown(at):
	}
	return nil
}

// Behind counts what came after a revision.
func (f changesFeed) Behind(ctx context.Context, since string) (int64, error) {
	at, err := index.ParseRevision(since)
	if err != nil {
		return 0, webhook.ErrGone
	}
	if _, err := f.catalog.Changes(ctx, at, 1); err != nil {
		return 0, webhook.ErrGone
	}
	return int64(f.catalog.Last().N - at.N), nil //nolint:gosec // not negative
}

var (
	webhookEvents  = prometheus.NewDesc("berth_webhook_events_total", "Tries to send an event to a webhook's receiver, by whether it was taken.", []string{"webhook", "result"}, nil)
	webhookBehind  = prometheus.NewDesc("berth_webhook_behind", "Changes since the last one that a webhook's receiver has seen or its filter has left out; -1 if it has to list again.", []string{"webhook"}, nil)
	webhookFailing = prometheus.NewDesc("berth_webhook_failing_seconds", "For how long a webhook's receiver has taken nothing that was sent; 0 if it did so the last time.", []string{"webhook"}, nil)
)

// webhookMetrics tells how receivers do. Their names are the operator's: there are
// few.
type webhookMetrics struct{ sender *webhook.Sender }

// Describe names the metrics.
func (m webhookMetrics) Describe(to chan<- *prometheus.Desc) {
	to <- webhookEvents
	to <- webhookBehind
	to <- webhookFailing
}

// Collect asks how receivers do.
func (m webhookMetrics) Collect(to chan<- prometheus.Metric) {
	for _, s := range m.sender.Status(context.Background()) {
		failing := 0.0
		if !s.FailingSince.IsZero() {
			failing = time.Since(s.FailingSince).Seconds()
		}
		to <- prometheus.MustNewConstMetric(webhookEvents, prometheus.CounterValue, float64(s.Taken), s.Name, "taken")
		to <- prometheus.MustNewConstMetric(webhookEvents, prometheus.CounterValue, float64(s.Failed), s.Name, "failed")
		to <- prometheus.MustNewConstMetric(webhookBehind, prometheus.GaugeValue, float64(s.Behind), s.Name)
		to <- prometheus.MustNewConstMetric(webhookFailing, prometheus.GaugeValue, failing, s.Name)
	}
}
