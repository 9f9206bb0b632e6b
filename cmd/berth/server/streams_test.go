package server

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const changesPath = "/v1/changes"

// TestStreamLimit: as many follow the changes as may, however long that lasts, and
// one more is refused at once; they take no place of other requests, and no other
// request takes one of theirs.
func TestStreamLimit(t *testing.T) {
	o := testOptions(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // as whoever refuses one does
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		if r.URL.Query().Has("busy") {
			<-r.Context().Done()
		}
	}))
	o.Limits = Limits{Connections: 50, PerClient: 50, Requests: 1, Uploads: 1, Streams: 2, AccountStreams: 9}
	o.Metrics = NewMetrics()
	o.Shed = NewShed(o.Metrics)
	inBubble(t, o, func(t *testing.T, p *pipes) {
		ask := func(path string) net.Conn {
			c := p.dial("192.0.2.1:1")
			t.Cleanup(func() { c.Close() })
			send(t, c, "GET", path, 0, "")
			return c
		}
		first, second := ask(changesPath+"?busy"), ask(changesPath+"?busy")
		defer second.Close()
		for _, c := range []net.Conn{first, second} {
			if a, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || a.StatusCode != http.StatusOK {
				t.Fatal(a, err)
			}
		}
		time.Sleep(24 * time.Hour)
		begin := time.Now()
		a, body := receive(t, ask(changesPath))
		if a.StatusCode != http.StatusTooManyRequests || a.Header.Get("Retry-After") != "5" || !strings.HasPrefix(body, `{"status":"error"`) {
			t.Errorf("one too many: %d %v %s", a.StatusCode, a.Header, body)
		}
		within(t, "that", begin, 0, 0)
		if a, body := receive(t, ask("/v1/images")); a.StatusCode != http.StatusOK {
			t.Errorf("another request: %d %s", a.StatusCode, body)
		}
		busy := ask("/v1/images?busy")
		defer busy.Close()
		first.Close()
		synctest.Wait()
		if a, body := receive(t, ask(changesPath)); a.StatusCode != http.StatusOK {
			t.Errorf("once there is a place: %d %s", a.StatusCode, body)
		}
		if shed := counted(t, o, "berth_shed_requests_total", "streams"); shed != 1 {
			t.Errorf("%v are counted as shed", shed)
		}
	})
}

// TestStreamPace: who follows the changes is held to no rate, but one that takes
// nothing for as long as it may loses the connection.
func TestStreamPace(t *testing.T) {
	var failed atomic.Value
	o := testOptions(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		control := http.NewResponseController(w)
		for n := range 500 {
			_, err := fmt.Fprintf(w, "%d %s\n", n, strings.Repeat("x", 200))
			if err = errors.Join(err, control.Flush()); err != nil {
				failed.Store(err)
				return
			}
		}
	}))
	inBubble(t, o, func(t *testing.T, p *pipes) {
		c := p.dial("192.0.2.1:1")
		defer c.Close()
		send(t, c, "GET", changesPath, 0, "")
		// A line every ten seconds, of which each is far below the rate.
		r := bufio.NewReaderSize(c, 16)
		lines := 0
		for lines < 300 {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatalf("after %d lines: %v", lines, err)
			}
			if strings.Contains(line, "xxx") {
				lines++
				time.Sleep(10 * time.Second)
			}
		}
		begin := time.Now()
		time.Sleep(o.Pace.Stall + time.Second)
		if err, _ := failed.Load().(error); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("who takes nothing for %v is still there: %v", time.Since(begin), err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			t.Log(err)
		}
	})
}
