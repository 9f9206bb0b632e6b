package server

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// TestSlowReaderTCP reads slowly from a real socket, whose buffers could hide
// for long that the reader gets on.
func TestSlowReaderTCP(t *testing.T) {
	t.Parallel()
	if !strings.Contains(os.Getenv("TEST_REQUIRE"), "stalling") {
		t.Skip("skipped: it reads slowly for long; TEST_REQUIRE=stalling runs it")
	}
	failed := make(chan error, 1)
	o := testOptions(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, err := io.Copy(w, io.LimitReader(zeros{}, 64<<20))
		failed <- err
	}))
	o.Pace = Pace{Stall: 2 * time.Second, Rate: 32 << 10, Request: time.Minute} // and 2 s for a piece
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	s := New(o)
	go func() { stopped <- s.Serve(ctx, l) }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	// A small window, so that what the server's side holds is what counts.
	_ = c.(*net.TCPConn).SetReadBuffer(32 << 10)
	send(t, c, "GET", "/v1/images", 0, "")
	tick := time.NewTicker(50 * time.Millisecond) // 160 KiB a second, five times the rate
	defer tick.Stop()
	for begin, buf := time.Now(), make([]byte, 8<<10); time.Since(begin) < 8*time.Second; {
		select {
		case err := <-failed:
			t.Fatalf("cut off after %v: %v", time.Since(begin), err)
		case <-tick.C:
			if _, err := io.ReadFull(c, buf); err != nil {
				t.Fatal(err)
			}
		}
	}
	// And once it stops, it is cut off.
	select {
	case err := <-failed:
		if err == nil {
			t.Error("the answer was taken whole")
		}
	case <-time.After(time.Minute):
		t.Error("a reader that stopped is still waited for")
	}
	c.Close()
	stop()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}
