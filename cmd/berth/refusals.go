package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-oci/berth/registry"
)

// countRefusals registers a counter of the pushes that were refused for what
// their namespaces have, and returns what is to be told of each.
func countRefusals(reg *prometheus.Registry) func(registry.Refusal) {
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "berth_refused_pushes_total", Help: "Pushes refused for what their namespace has already, by reason.",
	}, []string{"reason"})
	for _, why := range registry.Refusals {
		refused.WithLabelValues(string(why))
	}
	reg.MustRegister(refused)
	return func(why registry.Refusal) { refused.WithLabelValues(string(why)).Inc() }
}
