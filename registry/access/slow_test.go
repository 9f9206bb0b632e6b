package access

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func from(address string) *http.Request {
	return &http.Request{RemoteAddr: address, Header: http.Header{}}
}

func TestReserve(t *testing.T) {
	var s failureLimiter
	at := now
	a, b := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.2/32")
	want := func(address netip.Prefix, wait time.Duration, first bool, err error) {
		t.Helper()
		if w, f, e := s.reserve(address, at); w != wait || f != first || e != err {
			t.Fatalf("got %s, %v, %v; want %s, %v, %v", w, f, e, wait, first, err)
		}
	}
	for range freeFailures {
		want(a, 0, false, nil)
	}
	for i := range 30 {
		want(a, time.Duration(i+1)*failureEvery, i == 0, nil)
	}
	want(a, 0, false, ErrTooManyFailures)
	want(a, 0, false, ErrTooManyFailures)
	want(b, 0, false, nil) // another address does not wait
	at = at.Add(time.Second)
	want(a, longestWait-9*failureEvery, false, nil)
	at = at.Add(time.Minute)
	for range freeFailures {
		want(a, 0, false, nil)
	}
	want(a, failureEvery, true, nil)
}

// The table is bounded, and keeps those that failed last.
func TestReserveBounded(t *testing.T) {
	var s failureLimiter
	address := func(i int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
	}
	busy := netip.MustParsePrefix("192.0.2.1/32")
	for i := range 3 * knownAddresses {
		_, _, _ = s.reserve(address(i), now)
		_, _, _ = s.reserve(busy, now)
	}
	if len(s.failures) != knownAddresses || s.recent.Len() != knownAddresses {
		t.Errorf("%d and %d are known", len(s.failures), s.recent.Len())
	}
	if _, _, err := s.reserve(busy, now); err == nil {
		t.Error("the busiest is forgotten")
	}
}

func TestAddress(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:80": "192.0.2.1/32", "[::ffff:192.0.2.1]:80": "192.0.2.1/32",
		"[2001:db8:1:2:3:4:5:6]:80": "2001:db8:1:2::/64", "[fe80::1%eth0]:80": "fe80::/64", "@": "invalid Prefix", "": "invalid Prefix",
	} {
		if got := addressOf(from(remote)).String(); got != want {
			t.Errorf("%q: got %s", remote, got)
		}
	}
}

// The clock is that of a bubble, so that all takes exactly as long as it waits.
func TestSlow(t *testing.T) { synctest.Test(t, testSlow) }

func testSlow(t *testing.T) {
	l := &logged{}
	g, _ := gate(t, GateOptions{Log: l.log(), Now: time.Now})
	ctx := context.Background()
	begin := time.Now()
	for range freeFailures {
		if err := g.Slow(ctx, from("192.0.2.1:1")); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(begin); took != 0 {
		t.Errorf("the first took %s", took)
	}
	if err := g.Slow(ctx, from("192.0.2.1:2")); err != nil || time.Since(begin) != failureEvery {
		t.Errorf("got %v after %s", err, time.Since(begin))
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	for range 100 {
		_ = g.Slow(canceled, from("192.0.2.1:3"))
	}
	if err := g.Slow(ctx, from("192.0.2.1:4")); !errors.Is(err, ErrTooManyFailures) {
		t.Errorf("got %v", err)
	}
	if n := strings.Count(l.String(), "slowed down"); n != 1 {
		t.Errorf("logged %d times", n)
	}

	// At the token endpoint; a success is answered at once all the same.
	r := request(basic("alice", "hush")...)
	r.RemoteAddr = "192.0.2.1:5"
	w := httptest.NewRecorder()
	g.TokenHandler().ServeHTTP(w, r)
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "3" || !strings.Contains(w.Body.String(), `"TOOMANYREQUESTS"`) {
		t.Errorf("got %d: %s", w.Code, w.Body)
	}
	begin = time.Now()
	r = request(basic("bob", secretOf("bob", "laptop"))...)
	r.RemoteAddr = "192.0.2.1:6"
	w = httptest.NewRecorder()
	g.TokenHandler().ServeHTTP(w, r)
	if w.Code != http.StatusOK || time.Since(begin) != 0 {
		t.Errorf("got %d after %s", w.Code, time.Since(begin))
	}
	noSecret(t, fmt.Sprint(l))
}

func TestRetryAfter(t *testing.T) {
	for want, cause := range map[string]error{
		"3": fmt.Errorf("login: %w", ErrTooManyFailures),
		"1": context.DeadlineExceeded,
	} {
		if got := RetryAfter(cause); got != want {
			t.Errorf("%v: got %q, want %q", cause, got, want)
		}
	}
}

// TestWaitingBounded: of failures from many addresses no more wait than may, so
// that they leave places to others; those after them are refused at once.
func TestWaitingBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Gate{log: slog.New(slog.DiscardHandler), now: time.Now}
		slow := func(i int) error {
			return g.Slow(t.Context(), &http.Request{RemoteAddr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 1).String()})
		}
		var waited sync.WaitGroup
		for i := range mostWaiting {
			for range freeFailures {
				if err := slow(i); err != nil {
					t.Fatal(err)
				}
			}
			waited.Go(func() {
				if err := slow(i); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		const late = 100
		for range freeFailures {
			if err := slow(late); err != nil {
				t.Errorf("one that need not wait: %v", err)
			}
		}
		begin := time.Now()
		if err := slow(late); !errors.Is(err, ErrTooManyFailures) || time.Since(begin) != 0 {
			t.Errorf("one more: %v after %v", err, time.Since(begin))
		}
		waited.Wait()
		time.Sleep(time.Second)
		for range freeFailures {
			_ = slow(late)
		}
		if err := slow(late); err != nil || time.Since(begin) == 0 {
			t.Errorf("once they have been answered: %v", err)
		}
	})
}
