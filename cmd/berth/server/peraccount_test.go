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

// TestAccountLimit has one account take all that it may, of requests and of
// uploads: what more it asks is refused as its own fault, and another account
// has a place at once.
func TestAccountLimit(t *testing.T) {
	for _, test := range []struct {
		what, path, after, message, form, shed string
		limits                                 Limits
	}{
		{"requests", "/v2/", "1", "requests at a time", `{"errors":[{"code":"TOOMANYREQUESTS"`, "account_requests",
			Limits{Connections: 50, PerClient: 50, Requests: 9, Uploads: 9, AccountRequests: 2, AccountUploads: 9}},
		{"requests of the images API", "/v1/images", "1", "requests at a time", `{"status":"error"`, "account_requests",
			Limits{Connections: 50, PerClient: 50, Requests: 9, Uploads: 9, AccountRequests: 2, AccountUploads: 9}},
		{"uploads", uploadPath, "5", "uploads at a time", `{"errors":[{"code":"TOOMANYREQUESTS"`, "account_uploads",
			Limits{Connections: 50, PerClient: 50, Requests: 9, Uploads: 9, AccountRequests: 9, AccountUploads: 2}},
		{"streams", "/v1/changes", "5", "follows the changes", `{"status":"error"`, "account_streams",
			Limits{Connections: 50, PerClient: 50, Requests: 1, Uploads: 1, AccountRequests: 1, AccountUploads: 1, Streams: 9, AccountStreams: 2}},
	} {
		t.Run(test.what, func(t *testing.T) {
			o := testOptions(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				readAll(w, r)
				if r.URL.Query().Has("busy") {
					<-r.Context().Done()
				}
			}))
			o.Limits, o.Metrics, o.Shed = test.limits, NewMetrics(), nil
			o.Account = func(r *http.Request) string { return r.URL.Query().Get("as") }
			o.Shed = NewShed(o.Metrics)
			inBubble(t, o, func(t *testing.T, p *pipes) {
				ask := func(query string) net.Conn {
					c := p.dial("192.0.2.1:1")
					t.Cleanup(func() { c.Close() })
					send(t, c, "PUT", test.path+"?"+query, 0, "")
					return c
				}
				first, second := ask("as=mallory&busy"), ask("as=mallory&busy")
				defer first.Close()
				defer second.Close()
				synctest.Wait()
				begin := time.Now()
				waiting := ask("as=mallory") // as many as may wait
				synctest.Wait()
				a, body := receive(t, ask("as=mallory"))
				if a.StatusCode != http.StatusTooManyRequests || a.Header.Get("Retry-After") != test.after ||
					!strings.HasPrefix(body, test.form) || !strings.Contains(body, test.message) {
					t.Errorf("one too many: %d %v %s", a.StatusCode, a.Header, body)
				}
				for range 20 { // as fast as it can
					if a, body := receive(t, ask("as=alice")); a.StatusCode != http.StatusOK {
						t.Errorf("another account: %d %s", a.StatusCode, body)
					}
				}
				within(t, "all that", begin, 0, 0)
				if a, _ := receive(t, waiting); a.StatusCode != http.StatusTooManyRequests {
					t.Errorf("the one that waits: %d", a.StatusCode)
				}
				within(t, "waiting", begin, patience, patience+time.Second)
				waiting = ask("as=mallory")
				synctest.Wait()
				first.Close()
				if a, _ := receive(t, waiting); a.StatusCode != http.StatusOK {
					t.Errorf("once there is a place: %d", a.StatusCode)
				}
				if shed := counted(t, o, "berth_shed_requests_total", test.shed); shed != 2 {
					t.Errorf("%v are counted as shed", shed)
				}
			})
		})
	}
}

// TestAccountLimitStalled: an account that has stalled requests alone is not
// locked out by them, and nobody without an account is.
func TestAccountLimitStalled(t *testing.T) {
	o := testOptions(readAll)
	o.Limits.AccountRequests, o.Limits.AccountUploads = 2, 2
	o.Account = func(r *http.Request) string { return r.URL.Query().Get("as") }
	inBubble(t, o, func(t *testing.T, p *pipes) {
		for _, path := range []string{"/v2/?as=alice", "/v2/?as=alice", "/v2/", "/v2/", "/v2/"} {
			c := p.dial("192.0.2.1:1")
			defer c.Close()
			send(t, c, "PUT", path, 3, "a")
		}
		time.Sleep(2 * time.Second)
		for _, path := range []string{"/v2/?as=alice", "/v2/"} {
			c, begin := p.dial("192.0.2.1:1"), time.Now()
			defer c.Close()
			send(t, c, "PUT", path, 3, "abc")
			if a, body := receive(t, c); a.StatusCode != http.StatusOK {
				t.Errorf("%s: %d %s", path, a.StatusCode, body)
			}
			within(t, "it", begin, 0, time.Second)
		}
	})
}

// counted is the value of a counter or gauge with one label.
func counted(t *testing.T, o Options, name, label string) float64 {
	t.Helper()
	families, err := o.Metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == label {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return -1
}

// TestGateFirst: the limits of accounts come after the gate, which knows them.
func TestGateFirst(t *testing.T) {
	type key struct{}
	o := testOptions(readAll)
	o.Limits.AccountRequests, o.Limits.AccountUploads = 1, 1
	o.Gate = func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, "mallory")))
		})
	}
	o.Account = func(r *http.Request) string { name, _ := r.Context().Value(key{}).(string); return name }
	inBubble(t, o, func(t *testing.T, p *pipes) {
		for _, path := range []string{"/v2/", "/v1/images", "/api/v2.0/x"} {
			first, second, third := p.dial("192.0.2.1:1"), p.dial("192.0.2.1:1"), p.dial("192.0.2.1:1")
			send(t, first, "PUT", path, 3, "a")
			synctest.Wait()                     // the second could be through before the first came
			send(t, second, "PUT", path, 0, "") // it waits
			synctest.Wait()
			send(t, third, "PUT", path, 0, "")
			if a, _ := receive(t, third); a.StatusCode != http.StatusTooManyRequests {
				t.Errorf("%s: %d", path, a.StatusCode)
			}
			for _, c := range []net.Conn{first, second, third} {
				c.Close()
			}
			synctest.Wait()
		}
	})
}

// TestAnonymousLimit: where there are accounts, all who have none share what one
// has, those who log in included; without accounts everybody is one of them, and
// has all there is.
func TestAnonymousLimit(t *testing.T) {
	for _, open := range []bool{false, true} {
		o := testOptions(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			readAll(w, r)
			if r.URL.Query().Has("busy") {
				<-r.Context().Done()
			}
		}))
		o.Limits.AccountRequests, o.Limits.AccountUploads = 2, 2
		o.Browsers = Browsers{Open: func() bool { return open }, Hosts: []string{"x"}}
		o.Account = func(r *http.Request) string { return r.URL.Query().Get("as") }
		inBubble(t, o, func(t *testing.T, p *pipes) {
			ask := func(path string) net.Conn {
				c := p.dial("192.0.2.1:1")
				t.Cleanup(func() { c.Close() })
				send(t, c, "PUT", path, 0, "")
				synctest.Wait()
				return c
			}
			for _, path := range []string{"/v2/?busy", "/token?busy", "/v1/images?busy"} { // two, and one that waits
				c := ask(path)
				defer c.Close()
			}
			for path, want := range map[string]bool{"/token": open, "/v2/": open, "/v2/?as=alice": true} {
				if a, body := receive(t, ask(path)); (a.StatusCode == http.StatusOK) != want || !want && (a.StatusCode != 503 || a.Header.Get("Retry-After") != "1") {
					t.Errorf("open is %v, %s: %d %s", open, path, a.StatusCode, body)
				}
			}
		})
	}
}
