package server

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestDebug asks a server for profiles, on the listener that is for them and on
// the main one.
func TestDebug(t *testing.T) {
	listen := func() net.Listener {
		t.Helper()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	o := testOptions(http.NotFoundHandler())
	main, debug := listen(), listen()
	o.Debug = debug
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- New(o).Serve(ctx, main) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, test := range []struct {
		at, path, host, site string
		status               int
		want                 string
	}{
		{"debug", "/debug/pprof/", "", "", 200, "goroutine"},
		{"debug", "/debug/pprof/", "localhost:6060", "none", 200, "goroutine"},
		{"debug", "/debug/pprof/goroutine?debug=2", "", "", 200, "server.(*Server).Serve"},
		{"debug", "/debug/pprof/heap", "", "", 200, ""},
		{"debug", "/debug/pprof/profile?seconds=1", "", "", 200, ""},
		{"debug", "/debug/pprof/cmdline", "", "same-origin", 200, "server.test"},
		{"debug", "/metrics", "", "", 200, "go_sched_latencies_seconds_bucket"},
		{"debug", "/", "", "", 404, ""},
		{"debug", "/debug/pprof/", "evil.example.com:6060", "", 421, "profiles are served to"},
		{"debug", "/debug/pprof/", "", "cross-site", 403, "a page of another site"},
		{"main", "/debug/pprof/", "", "", 404, "not found"},
	} {
		address := map[string]string{"debug": debug.Addr().String(), "main": main.Addr().String()}[test.at]
		r, err := http.NewRequest(http.MethodGet, "http://"+address+test.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = test.host
		if test.site != "" {
			r.Header.Set("Sec-Fetch-Site", test.site)
		}
		a, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(a.Body)
		_ = a.Body.Close()
		if err != nil || a.StatusCode != test.status || !strings.Contains(string(body), test.want) {
			t.Errorf("%+v: got %d %.300s, %v", test, a.StatusCode, body, err)
		}
	}
	stop()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if _, err := client.Get("http://" + debug.Addr().String() + "/metrics"); err == nil {
		t.Error("profiles are served by who has stopped")
	}
}
