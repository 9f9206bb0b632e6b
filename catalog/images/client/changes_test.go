package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// streaming is a client of a server that answers with a handler, and does not wait
// long.
func streaming(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	c := answering(t, h)
	c.shortest, c.longest = time.Microsecond, time.Millisecond
	return c
}

func ndjson(w http.ResponseWriter, lines ...string) {
	w.Header().Set("Content-Type", streamType)
	for _, line := range lines {
		_, _ = io.WriteString(w, line+"\n")
	}
}

func object(kind string, n int) string { return fmt.Sprintf(`{"type":%q,"revision":"s.%d"}`, kind, n) }

// newest answers who asks for the newest revision.
func newest(w http.ResponseWriter, r *http.Request, n int) bool {
	if r.URL.Query().Get("limit") == "" {
		return false
	}
	_, _ = fmt.Fprintf(w, `{"status":"success","data":{"changes":[%s]},"op_time_us":1}`, object("bookmark", n))
	return true
}

// TestChangesResumes cuts streams off anywhere: each change comes once, in order.
func TestChangesResumes(t *testing.T) {
	const all = 300
	asked := atomic.Int64{}
	c := streaming(t, func(w http.ResponseWriter, r *http.Request) {
		if newest(w, r, 7) {
			return
		}
		asked.Add(1)
		since, err := strconv.Atoi(strings.TrimPrefix(r.URL.Query().Get("since"), "s."))
		if err != nil || r.Header.Get("Accept") != streamType || r.Header.Get("Authorization") != "Bearer t" || r.URL.Query().Get("namespace") != "alice" {
			t.Errorf("asked %s with %v", r.URL, r.Header)
		}
		if rand.N(4) == 0 {
			w.WriteHeader([]int{429, 500, 502, 503, 504}[rand.N(5)])
			return
		}
		var text strings.Builder
		for n := since + 1; n <= all && n < since+20; n++ {
			text.WriteString(object("push", n) + "\r\n\n")
		}
		w.Header().Set("Content-Type", streamType+"; charset=utf-8")
		_, _ = io.WriteString(w, text.String()[:rand.N(text.Len()+1)])
		w.(http.Flusher).Flush()
		if rand.N(2) == 0 {
			panic(http.ErrAbortHandler)
		}
	})
	c.http = &http.Client{Timeout: time.Minute}
	retries, next := 0, 8
	for change, err := range c.Changes(t.Context(), ChangesOptions{Namespaces: []string{"alice"}, OnRetry: func(err error, _ time.Duration) error { retries++; return nil }}) {
		if err != nil || change.Revision != fmt.Sprint("s.", next) || change.Type != TypePush {
			t.Fatalf("got %+v, %v", change, err)
		}
		if next++; next > all {
			break
		}
	}
	if n := asked.Load(); n < 10 || retries != int(n)-1 {
		t.Errorf("asked %d times, told of %d retries", n, retries)
	}
}

// TestChangesEnds: what no retry mends ends the loop, with one error, at once.
func TestChangesEnds(t *testing.T) {
	status := func(code int) func(error) bool {
		return func(err error) bool {
			var e *Error
			return errors.As(err, &e) && e.Status == code
		}
	}
	noBerth := func(err error) bool { return errors.Is(err, errNoBerth) }
	end := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			ndjson(w, object("push", 1), fmt.Sprintf(`{"type":"end","revision":"s.1","status":%d,"reason":"x","message":"why"}`, code))
		}
	}
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		right  func(error) bool
		asked  int64
	}{
		"gone": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusGone)
			_, _ = io.WriteString(w, `{"status":"error","message":"list again"}`)
		}, func(err error) bool { return IsGone(err) && strings.Contains(err.Error(), "list again") }, 1},
		"gone on the way": {end(410), IsGone, 1},
		"a bad filter":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(400) }, status(400), 1},
		"a wrong token":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, status(401), 1},
		"no berth":        {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, status(404), 1},
		"not made":        {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(501) }, status(501), 1},
		"a page":          {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, noBerth, 1},
		"no JSON":         {func(w http.ResponseWriter, _ *http.Request) { ndjson(w, "{") }, noBerth, 1},
		"no object":       {func(w http.ResponseWriter, _ *http.Request) { ndjson(w, `["a"]`) }, noBerth, 1},
		"no revision":     {func(w http.ResponseWriter, _ *http.Request) { ndjson(w, `{"type":"push"}`) }, noBerth, 1},
		"no type":         {func(w http.ResponseWriter, _ *http.Request) { ndjson(w, `{"revision":"s.1"}`) }, noBerth, 1},
		"an endless line": {func(w http.ResponseWriter, _ *http.Request) {
			ndjson(w)
			_, _ = io.Copy(w, endless{})
		}, func(err error) bool { return noBerth(err) && strings.Contains(err.Error(), "larger than") }, 1},
	} {
		asked, steps := atomic.Int64{}, 0
		c := streaming(t, func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			test.answer(w, r)
		})
		for change, err := range c.Changes(t.Context(), ChangesOptions{Since: "s.0"}) {
			if err == nil && change.Revision == "s.1" {
				continue
			}
			if steps++; err == nil || !test.right(err) {
				t.Errorf("%s: %+v, %v", name, change, err)
			}
		}
		if steps != 1 || asked.Load() != test.asked {
			t.Errorf("%s: asked %d times, and told of %d errors", name, asked.Load(), steps)
		}
	}
}

// TestChangesToken: when a token has ended, the next one is tried, once.
func TestChangesToken(t *testing.T) {
	tokens, asked := atomic.Int64{}, atomic.Int64{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		n, _ := strconv.Atoi(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		if n > 3 {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		ndjson(w, object("push", n), fmt.Sprintf(`{"type":"end","revision":"s.%d","status":401,"reason":"token","message":"why"}`, n))
	}))
	t.Cleanup(server.Close)
	c, err := New(server.URL, WithToken(func(context.Context) (string, error) { return fmt.Sprint(tokens.Add(1)), nil }))
	if err != nil {
		t.Fatal(err)
	}
	c.shortest, c.longest = time.Microsecond, time.Millisecond
	var seen []string
	for change, err := range c.Changes(t.Context(), ChangesOptions{Since: "s.0"}) {
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Status != http.StatusUnauthorized {
				t.Error(err)
			}
			break
		}
		seen = append(seen, change.Revision)
	}
	if !slices.Equal(seen, []string{"s.1", "s.2", "s.3"}) || asked.Load() != 4 {
		t.Errorf("saw %v in %d requests", seen, asked.Load())
	}
}

// TestChangesSilence: a stream that says nothing for too long is asked for anew; the
// time that the reader takes is not silence.
func TestChangesSilence(t *testing.T) {
	asked := atomic.Int64{}
	c := streaming(t, func(w http.ResponseWriter, r *http.Request) {
		n := int(asked.Add(1))
		if n == 2 {
			<-r.Context().Done() // not even a header
			return
		}
		ndjson(w, object("push", n))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	c.idle = 50 * time.Millisecond
	var why []error
	next := 1
	o := ChangesOptions{Since: "s.0", OnRetry: func(err error, _ time.Duration) error { why = append(why, err); return nil }}
	for change, err := range c.Changes(t.Context(), o) {
		if err != nil || change.Revision != fmt.Sprint("s.", next) {
			t.Fatalf("got %+v, %v", change, err)
		}
		time.Sleep(2 * c.idle)
		if next += map[bool]int{true: 2, false: 1}[next == 1]; next > 4 {
			break
		}
	}
	if len(why) != 3 || !errors.Is(why[0], errSilent) || !errors.Is(why[1], errSilent) || !errors.Is(why[2], errSilent) {
		t.Errorf("tried again since %v", why)
	}
}

// TestChangesStops: the reader, its context and OnRetry end it, whatever it waits for.
func TestChangesStops(t *testing.T) {
	c := streaming(t, func(w http.ResponseWriter, r *http.Request) {
		ndjson(w, object("push", 1))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	for _, err := range c.Changes(ctx, ChangesOptions{Since: "s.0"}) {
		if n++; n == 1 {
			cancel()
		} else if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	if n != 2 {
		t.Errorf("%d steps", n)
	}
	down := streaming(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	down.shortest, down.longest = time.Hour, time.Hour
	ctx, cancel = context.WithCancel(t.Context())
	for _, err := range down.Changes(ctx, ChangesOptions{OnRetry: func(error, time.Duration) error { cancel(); return nil }}) {
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	enough := errors.New("enough")
	for _, err := range down.Changes(t.Context(), ChangesOptions{OnRetry: func(error, time.Duration) error { return enough }}) {
		if !errors.Is(err, enough) {
			t.Error(err)
		}
	}
	server := httptest.NewServer(http.NotFoundHandler())
	gone, err := New(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	server.Close()
	for _, err := range gone.Changes(t.Context(), ChangesOptions{OnRetry: func(err error, _ time.Duration) error { return err }}) {
		if err == nil || !strings.Contains(err.Error(), "refused") {
			t.Error(err)
		}
	}
}

// TestChangesPause: pauses grow within bounds, and are as long as berth asks.
func TestChangesPause(t *testing.T) {
	c, err := New("http://127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	for tries, most := range map[int]time.Duration{0: shortestPause, 3: 8 * shortestPause, 10: longestPause, 1000: longestPause} {
		for range 50 {
			if got := c.pause(tries, errCut); got < most/2 || got > most {
				t.Errorf("after %d: %s", tries, got)
			}
		}
	}
	if got := c.pause(0, &Error{RetryAfter: 7 * time.Second}); got != 7*time.Second {
		t.Errorf("got %s", got)
	}
	if got := c.pause(0, &Error{RetryAfter: time.Hour}); got != longestPause {
		t.Errorf("got %s", got)
	}
}

// TestInitialCutOff begins anew when what is there was cut off, and goes on once it is
// known.
func TestInitialCutOff(t *testing.T) {
	image := func(n int) string {
		return fmt.Sprintf(`{"type":"image","repository":"a/b","images":[{"uuid":"%d"}]}`, n)
	}
	asked := 0
	c := streaming(t, func(w http.ResponseWriter, r *http.Request) {
		asked++
		query := r.URL.Query().Get("initial") + r.URL.Query().Get("since")
		if want := []string{"true", "true", "s.1", "s.2"}[asked-1]; query != want {
			t.Errorf("asked %s, want %s", r.URL, want)
		}
		switch asked {
		case 1:
			ndjson(w, image(1))
		case 2:
			ndjson(w, image(1), image(2), object("push", 1))
		case 3:
			ndjson(w, object("bookmark", 2))
		case 4:
			ndjson(w, object("tag", 3))
		}
	})
	var types []string
	for change, err := range c.Changes(t.Context(), ChangesOptions{Initial: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if types = append(types, string(change.Type)); change.Type == TypeTag {
			break
		}
	}
	if got := strings.Join(types, " "); got != "begin image begin image image push bookmark tag" {
		t.Errorf("got %s", got)
	}
}
