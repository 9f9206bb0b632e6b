package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-oci/berth/catalog/index"
)

// series are the lines of a scrape that are no comments.
func series(t *testing.T, s *Server) map[string]string {
	t.Helper()
	r := httptest.NewRequest("GET", "/metrics", nil)
	r.RemoteAddr = "127.0.0.1:1"
	w := httptest.NewRecorder()
	s.main.Handler.ServeHTTP(w, r)
	all := map[string]string{}
	for line := range strings.Lines(w.Body.String()) {
		if i := strings.LastIndexByte(line, ' '); i > 0 && line[0] != '#' {
			all[line[:i]] = strings.TrimSpace(line[i+1:])
		}
	}
	return all
}

// dayOfTraffic asks all routes in all ways, with all that may come of it.
func dayOfTraffic(s *Server) {
	paths := []string{
		"/v2/", "/v2/_catalog", "/v2/a/manifests/x", "/v2/a/tags/list", "/v2/a/referrers/x", "/v2/a/blobs/x", "/v2/a/blobs/uploads/", "/v2/a/b",
		"/v1/images", "/v1/images/list", "/v1/image-store", "/images", "/v1/users/quotas", "/v1/metros", "/v1/images/x", "/token", "/api/v2.0/x",
		"/healthz", "/readyz", "/metrics", "/", "/favicon.ico",
	}
	for _, path := range paths {
		for _, method := range []string{"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"} {
			for _, code := range []int{200, 201, 202, 204, 206, 304, 307, 400, 401, 403, 404, 405, 408, 409, 413, 416, 429, 499, 500, 503, 507} {
				r := httptest.NewRequest(method, path+"?"+strconv.Itoa(code), nil)
				s.main.Handler.ServeHTTP(httptest.NewRecorder(), r)
			}
		}
	}
}

// TestSeries counts the series after all that can happen has happened.
func TestSeries(t *testing.T) {
	o := testOptions(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.URL.RawQuery)
		w.WriteHeader(code)
	}))
	o.Metrics = NewMetrics()
	Build(o.Metrics, "v1")
	none := func() int64 { return 0 }
	CountStreams(o.Metrics, none, none)
	CountImages(o.Metrics, func(context.Context) (index.Stats, error) { return index.Stats{}, nil })
	certificate, key := writePair(t, t.TempDir(), "x.test")
	c, err := LoadCertificate(certificate, key, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c.Register(o.Metrics)
	observe := IndexMetrics(o.Metrics)
	for i := range 30 { // as many kinds as the index has
		for _, err := range []error{nil, index.ErrNotFound, errors.New("x")} {
			observe(fmt.Sprint("operation", i), time.Millisecond, err)
		}
	}
	s := New(o)
	dayOfTraffic(s)
	all := series(t, s)
	// What others register, of disk, memory, accounts and quotas, has room left.
	if len(all) >= 300-10 {
		count := map[string]int{}
		for name := range all {
			name, _, _ = strings.Cut(name, "{")
			count[name]++
		}
		t.Errorf("%d series: %v", len(all), count)
	}
	t.Log(len(all), "series")
	for name, want := range map[string]string{
		`berth_connections`: "0", `berth_requests_in_flight{kind="request"}`: "0", `berth_requests_in_flight{kind="upload"}`: "0",
		`berth_shed_requests_total{reason="requests"}`: "0", `berth_shed_requests_total{reason="stalled"}`: "0",
		`berth_limit{of="requests"}`: "20",
	} {
		if all[name] != want {
			t.Errorf("%s is %q, want %s", name, all[name], want)
		}
	}
	if expiry, err := strconv.ParseFloat(all["berth_certificate_expiry_timestamp_seconds"], 64); err != nil ||
		time.Until(time.Unix(int64(expiry), 0)) > time.Hour || time.Until(time.Unix(int64(expiry), 0)) < time.Minute {
		t.Errorf("the certificate expires at %v, %v", expiry, err)
	}
}
