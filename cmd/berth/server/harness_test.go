package server

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener of connections that are in memory, so that time in them
// can be a bubble's.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
	// clients are waited for before the bubble ends.
	clients sync.WaitGroup
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5000} }

// from is the client's address of a pipe.
type from struct {
	net.Conn
	address string
}

func (f from) RemoteAddr() net.Addr {
	a, _ := net.ResolveTCPAddr("tcp", f.address)
	return a
}

// dial connects from an address.
func (p *pipes) dial(address string) net.Conn {
	client, server := net.Pipe()
	p.conns <- from{server, address}
	return client
}

// testOptions are those of a server that answers all with h.
func testOptions(h http.Handler) Options {
	return Options{
		Registry: h, Images: h, Token: h, Harbor: h,
		Ready:       func(context.Context) error { return nil },
		Pace:        Pace{Stall: 30 * time.Second, Rate: 4 << 10, Request: time.Minute},
		Limits:      Limits{Connections: 20, PerClient: 10, Requests: 20, Uploads: 10, AccountRequests: 20, AccountUploads: 10, Streams: 10, AccountStreams: 10},
		ReadHeader:  10 * time.Second,
		Idle:        2 * time.Minute,
		Shutdown:    time.Second,
		HeaderBytes: 64 << 10,
		Log:         slog.New(slog.DiscardHandler),
	}
}

// inBubble runs a server and fn against it, in a time of their own.
func inBubble(t *testing.T, o Options, fn func(t *testing.T, p *pipes)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		p, stopped := newPipes(), make(chan error, 1)
		s := New(o)
		go func() { stopped <- s.Serve(ctx, p) }()
		fn(t, p)
		p.clients.Wait()
		stop()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
}

// send writes a request's head, and as much of the body as is given.
func send(t *testing.T, c net.Conn, method, path string, length int, body string) {
	t.Helper()
	if _, err := fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", method, path, length, body); err != nil {
		t.Fatal(err)
	}
}

// receive reads an answer to its end.
func receive(t *testing.T, c net.Conn) (*http.Response, string) {
	t.Helper()
	a, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatalf("%d %s: %v", a.StatusCode, body, err)
	}
	return a, string(body)
}

// readAll is a handler that wants all of a body, and fails without.
var readAll = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		http.Error(w, "the handler's own words", http.StatusInternalServerError)
		return
	}
	fmt.Fprint(w, n)
})
