package server

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestRequestLimit fills the places of requests and of uploads: whoever stalls
// makes room, whoever waits for berth does not.
func TestRequestLimit(t *testing.T) {
	for _, test := range []struct {
		what, path, after, message, form string
		limits                           Limits
	}{
		{"requests", "/v2/", "1", "too many requests", `{"errors":[{"code":"UNAVAILABLE"`, Limits{Connections: 50, PerClient: 50, Requests: 2, Uploads: 2}},
		{"requests of the images API", "/v1/images", "1", "too many requests", `{"status":"error"`, Limits{Connections: 50, PerClient: 50, Requests: 2, Uploads: 2}},
		{"uploads", uploadPath, "5", "too many uploads", `{"errors":[{"code":"UNAVAILABLE"`, Limits{Connections: 50, PerClient: 50, Requests: 9, Uploads: 2}},
	} {
		t.Run(test.what, func(t *testing.T) {
			o := testOptions(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				readAll(w, r)
				if r.URL.RawQuery == "busy" {
					select {
					case <-r.Context().Done():
					case <-time.After(time.Hour):
					}
				}
			}))
			o.Limits = test.limits
			inBubble(t, o, func(t *testing.T, p *pipes) {
				dial := func() net.Conn {
					c := p.dial("192.0.2.1:1")
					t.Cleanup(func() { c.Close() })
					return c
				}
				busy, stalled := dial(), dial()
				defer busy.Close()
				send(t, busy, "PUT", test.path+"?busy", 0, "")
				send(t, stalled, "PUT", test.path, 3, "a")
				time.Sleep(3 * time.Second)
				begin := time.Now()
				next := dial()
				defer next.Close()
				send(t, next, "PUT", test.path, 3, "abc")
				if a, _ := receive(t, next); a.StatusCode != http.StatusOK {
					t.Errorf("with one stalled: %d", a.StatusCode)
				}
				within(t, "making room", begin, 0, time.Second)
				if a, _ := receive(t, stalled); a.StatusCode != http.StatusRequestTimeout {
					t.Errorf("the stalled one: %d", a.StatusCode)
				}
				send(t, next, "PUT", test.path+"?busy", 0, "")
				synctest.Wait()
				last := dial()
				defer last.Close()
				send(t, last, "PUT", test.path, 3, "abc")
				a, body := receive(t, last)
				if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") != test.after || !a.Close ||
					!strings.HasPrefix(body, test.form) || !strings.Contains(body, test.message) {
					t.Errorf("with none stalled: %d %v %s", a.StatusCode, a.Header, body)
				}
				// Others have their places still.
				well := dial()
				defer well.Close()
				send(t, well, "GET", "/readyz", 0, "")
				if a, _ := receive(t, well); a.StatusCode != http.StatusOK {
					t.Errorf("/readyz: %d", a.StatusCode)
				}
				// One that ends makes room for one that waits.
				again := dial()
				defer again.Close()
				send(t, again, "PUT", test.path, 0, "")
				synctest.Wait()
				busy.Close()
				if a, _ := receive(t, again); a.StatusCode != http.StatusOK {
					t.Errorf("with one gone: %d", a.StatusCode)
				}
			})
		})
	}
}

// TestRequestLimitReader takes the place of one who does not take its answer.
func TestRequestLimitReader(t *testing.T) {
	o := testOptions(large(1 << 20))
	o.Limits = Limits{Connections: 50, PerClient: 50, Requests: 1, Uploads: 1}
	inBubble(t, o, func(t *testing.T, p *pipes) {
		stalled, next := p.dial("192.0.2.1:1"), p.dial("192.0.2.1:1")
		defer stalled.Close()
		defer next.Close()
		send(t, stalled, "GET", "/v1/images", 0, "")
		time.Sleep(2 * time.Second)
		send(t, next, "GET", "/v1/images", 0, "")
		if a, body := receive(t, next); a.StatusCode != http.StatusOK || len(body) != 1<<20 {
			t.Errorf("%d and %d bytes", a.StatusCode, len(body))
		}
	})
}

// TestLooks finds no room for a client, and makes some at once: to be found only
// a moment later, or all who wait would go through all that are in flight again
// and again. Another client finds it.
func TestLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlights(1, tooManyRequests, func(reason) {})
		of := func(address string) *exchange {
			limits := testOptions(nil).Pace
			r := &http.Request{RemoteAddr: address, Header: http.Header{}}
			return &exchange{request: r, control: http.NewResponseController(httptest.NewRecorder()), in: newPace(limits, false), out: newPace(limits, false)}
		}
		slow := of("192.0.2.1:1")
		if !f.try(slow) || f.try(of("192.0.2.2:1")) {
			t.Fatal("one request is busy, and there is a place for one")
		}
		time.Sleep(again)
		slow.in.begin(0) // waits for its client
		time.Sleep(settle - time.Nanosecond)
		if f.try(of("192.0.2.2:1")) {
			t.Fatal("it has not waited for long enough")
		}
		time.Sleep(time.Nanosecond)
		if f.try(of("192.0.2.2:1")) {
			t.Error("looked again in the same moment")
		}
		if !f.try(of("192.0.2.3:1")) {
			t.Error("another client has not looked yet")
		}
	})
}
