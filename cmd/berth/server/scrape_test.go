package server

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestMetricsListener has more clients on the address of the metrics than there
// may be, who say nothing, or send a body for ever: who asks for the metrics is
// answered, and those are gone in time.
func TestMetricsListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		metrics := newPipes()
		o := testOptions(readAll)
		o.Metrics, o.MetricsListener = NewMetrics(), metrics
		ctx, stop := context.WithCancel(t.Context())
		stopped := make(chan error, 1)
		s := New(o)
		go func() { stopped <- s.Serve(ctx, newPipes()) }()
		defer func() {
			stop()
			if err := <-stopped; err != nil {
				t.Error(err)
			}
		}()
		begin := time.Now()
		var silent []net.Conn
		for range scrapers {
			c := metrics.dial("192.0.2.1:1")
			defer c.Close()
			silent = append(silent, c)
		}
		body := silent[0]
		send(t, body, "GET", "/metrics", 1<<30, "a")
		if a, _ := receive(t, body); a.StatusCode != http.StatusOK {
			t.Errorf("with a body that does not come: %d", a.StatusCode)
		}
		metrics.clients.Go(func() {
			for {
				if _, err := body.Write(make([]byte, 1<<10)); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
		for range 20 {
			time.Sleep(2 * time.Second)
			c := metrics.dial("192.0.2.2:1")
			send(t, c, "GET", "/metrics", 0, "")
			if a, text := receive(t, c); a.StatusCode != http.StatusOK || !strings.Contains(text, "berth_connections") {
				t.Errorf("beside them: %d", a.StatusCode)
			}
			c.Close()
			extra := metrics.dial("192.0.2.1:1")
			defer extra.Close()
		}
		metrics.clients.Wait() // it is not read for ever
		within(t, "a body that is not wanted", begin, 0, 2*time.Minute)
		time.Sleep(time.Minute)
		synctest.Wait()
		for i, c := range silent {
			if !gone(c) {
				t.Errorf("connection %d is still there", i)
			}
		}
	})
}

// TestMetricsListenerFull: where all that there may be are busy, one more is
// refused.
func TestMetricsListenerFull(t *testing.T) {
	o := testOptions(readAll)
	o.Metrics, o.MetricsListener = NewMetrics(), newPipes()
	s := New(o)
	for range scrapers {
		if c, why := s.metricsDoor.admit(from{nil, "192.0.2.1:1"}); c == nil {
			t.Fatal(why)
		}
	}
	if c, _ := s.metricsDoor.admit(from{nil, "192.0.2.1:1"}); c != nil {
		t.Error("one more than there may be")
	}
}
