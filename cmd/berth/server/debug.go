package server

import (
	"net/http"
	"net/http/pprof"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// debugHandler serves profiles as net/http/pprof does, and all metrics of the Go
// runtime at /metrics. It answers to who asks for loopback by name or address,
// and to no page of a browser: any site could point a name of its own at it.
func debugHandler() http.Handler {
	runtime := prometheus.NewRegistry()
	runtime.MustRegister(collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(collectors.MetricsAll)))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(runtime, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		site := r.Header.Get("Sec-Fetch-Site")
		switch {
		case !ownHost(r.Host, nil):
			writeText(w, r, http.StatusMisdirectedRequest, "profiles are served to who asks for localhost, or for an IP address")
		case site != "" && site != "none" && site != "same-origin":
			writeText(w, r, http.StatusForbidden, "this comes from a page of another site")
		default:
			mux.ServeHTTP(w, r)
		}
	})
}
