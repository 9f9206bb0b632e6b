package main

import (
	"os"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-oci/berth/config"
	"github.com/berth-oci/berth/registry/budget"
)

// newMemory tells the Go runtime how much memory there is, unless its own
// variable does, and returns the budget for what clients make berth hold.
func newMemory(c *config.Config, metrics *prometheus.Registry) *budget.Memory {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(c.Limits.Memory))
	}
	m := budget.New(int64(c.Limits.Memory))
	metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "berth_memory_held_bytes", Help: "Memory set aside for bodies and answers, of the part of limits.memory that is for them.",
	}, func() float64 { return float64(m.Used()) }))
	return m
}
