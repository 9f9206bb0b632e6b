package main

import (
	"errors"
	"net/http"
	"os"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-oci/berth/cmd/berth/server"
	"github.com/berth-oci/berth/config"
	"github.com/berth-oci/berth/registry/access"
	"github.com/berth-oci/berth/registry/budget"
)

// gcPercent has the garbage collector run half as often as by itself: what berth
// holds is little beside what it may take, and most of what a push leaves is
// garbage.
const gcPercent = 200

// newMemory tells the Go runtime how much memory there is, unless its own
// variables do, and returns the budget for what clients make berth hold.
func newMemory(c *config.Config, metrics *prometheus.Registry, shed *server.Shed) *budget.Memory {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(c.Limits.Memory))
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	m := budget.New(budget.Options{
		Limit: int64(c.Limits.Memory), PerAccount: int64(c.Limits.MemoryPerAccount),
		Refused: func(err error) { shed.Memory(errors.Is(err, budget.ErrAccountFull)) },
	})
	metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "berth_memory_held_bytes", Help: "Memory set aside for bodies and answers, of the part of limits.memory that is for them.",
	}, func() float64 { return float64(m.Used()) }))
	return m
}

// ownMemory has what h takes of memory count as that of the account that asks.
func ownMemory(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r.WithContext(budget.For(r.Context(), access.Held(r.Context()))))
	})
}
