package webhook

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// endless answers every connection with what a function writes, until that fails,
// and counts what was taken of it.
func endless(t *testing.T, write func(w io.Writer) error) (address string, sent *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	sent = &atomic.Int64{}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
					return
				}
				for write(counted{c, sent}) == nil {
				}
			}()
		}
	}()
	return "http://" + l.Addr().String(), sent
}

type counted struct {
	io.Writer
	n *atomic.Int64
}

func (c counted) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.n.Add(int64(n))
	return n, err
}

// TestBadReceivers: what a receiver should not do costs a failure, which is told,
// and no more.
func TestBadReceivers(t *testing.T) {
	t.Parallel()
	var elsewhere atomic.Int64
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(target.Close)
	once := func(text string) func(io.Writer) error {
		return func(w io.Writer) error {
			_, _ = io.WriteString(w, text)
			return io.EOF
		}
	}
	repeated := func(begin, text string) func(io.Writer) error {
		first := atomic.Bool{}
		block := strings.Repeat(text, 64<<10/len(text))
		return func(w io.Writer) error {
			if !first.Swap(true) {
				block = begin + block
			}
			_, err := io.WriteString(w, block)
			return err
		}
	}
	for name, test := range map[string]struct {
		write func(io.Writer) error
		says  string
		taken bool
	}{
		"redirects":       {once("HTTP/1.1 307 Temporary Redirect\r\nLocation: " + target.URL + "\r\nContent-Length: 0\r\n\r\n"), "answers 307: redirects are not followed", false},
		"found elsewhere": {once("HTTP/1.1 302 Found\r\nLocation: " + target.URL + "\r\nContent-Length: 0\r\n\r\n"), "answers 302: redirects are not followed", false},
		"hangs up":        {once(""), "EOF", false},
		"garbage":         {once("\x00\x01\x02 nonsense\r\n\r\n"), "malformed HTTP", false},
		"half an answer":  {once("HTTP/1.1 200"), "EOF", false},
		"no success":      {once("HTTP/1.1 400 Bad Request\r\nContent-Length: 7\r\n\r\nnot \x1b[1"), `not \\x1b[1`, false},
		"switches":        {once("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"), "answers 101", false},
		"endless header":  {repeated("HTTP/1.1 200 OK\r\n", "X-A: aaaaaaaaaa\r\n"), "headers exceeded", false},
		"endless early":   {repeated("", "HTTP/1.1 103 Early Hints\r\nX-A: aaaaaaa\r\n\r\n"), "exceeded", false},
		"endless refusal": {repeated("HTTP/1.1 500 Oh\r\n\r\n", "a"), "answers 500", false},
		"endless success": {repeated("HTTP/1.1 200 OK\r\n\r\n", "a"), "", true},
		"endless gzip":    {repeated("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", "\x00"), "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at, sent := endless(t, test.write)
			h := newHistory()
			o, log := options(t, h, Hook{URL: address(t, at)})
			o.Shortest, o.Longest = time.Hour, time.Hour
			s := start(t, o)
			var status Status
			for deadline := time.Now().Add(30 * time.Second); status.Taken+status.Failed == 0; time.Sleep(time.Millisecond) {
				if status = s.Status(t.Context())[0]; time.Now().After(deadline) {
					t.Fatal("nothing comes of it")
				}
			}
			if taken := status.Taken == 1; taken != test.taken || !strings.Contains(log.String(), test.says) || strings.ContainsAny(log.String(), "\x00\x1b") {
				t.Errorf("got %+v, and logged %s", status, log)
			}
			// What waits in the sockets' buffers was taken by nobody.
			if n := sent.Load(); n > 16<<20 {
				t.Errorf("%d bytes were sent", n)
			}
		})
	}
	t.Cleanup(func() {
		if n := elsewhere.Load(); n != 0 {
			t.Errorf("redirects were followed %d times", n)
		}
	})
}

// TestNeverAnswers: a receiver that does not answer is given up, and so is one that
// answers a byte at a time; nobody waits for it when berth stops.
func TestNeverAnswers(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	for name, write := range map[string]func(io.Writer) error{
		"nothing": func(io.Writer) error { <-release; return io.EOF },
		"drop by drop": func(w io.Writer) error {
			select {
			case <-release:
				return io.EOF
			case <-time.After(5 * time.Millisecond):
			}
			_, err := io.WriteString(w, "HTTP/1.1 100 Continue\r\n\r\n")
			return err
		},
		"a body without end": func(w io.Writer) error {
			_, _ = io.WriteString(w, "HTTP/1.1 500 Oh\r\n\r\n")
			<-release
			return io.EOF
		},
	} {
		at, _ := endless(t, write)
		o, log := options(t, newHistory(), Hook{URL: address(t, at)})
		o.Timeout = 50 * time.Millisecond
		s := start(t, o)
		for deadline := time.Now().Add(30 * time.Second); s.Status(t.Context())[0].Failed < 2; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: is not given up", name)
			}
		}
		if text := log.String(); !strings.Contains(text, "deadline exceeded") && !strings.Contains(text, "answers 500") && !strings.Contains(text, "exceeded") {
			t.Errorf("%s: logged %s", name, text)
		}
	}
	at, _ := endless(t, func(io.Writer) error { <-release; return io.EOF })
	o, _ := options(t, newHistory(), Hook{URL: address(t, at)})
	o.Timeout, o.Grace = time.Hour, 10*time.Millisecond
	s := start(t, o)
	if err := s.Close(); err != nil { // the test's own deadline is that of this
		t.Error(err)
	}
	close(release)
}

// TestGrace: a try that is under way when the sender is closed may end.
func TestGrace(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{})
	var stopping atomic.Bool
	rec := receive(t, func(http.ResponseWriter, *http.Request, int) bool {
		close(begun)
		for !stopping.Load() {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(20 * time.Millisecond)
		return false
	})
	o, _ := options(t, newHistory(), Hook{URL: rec.url})
	o.Grace = time.Minute
	s := start(t, o)
	<-begun
	stopping.Store(true)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if ids, tries := rec.got(); len(ids) != 1 || tries != 1 || s.cursors.of("hook0") != "a.0" {
		t.Errorf("came %v in %d tries, and the cursor is %q", ids, tries, s.cursors.of("hook0"))
	}
}

// TestPolicy: nothing is sent inside the network unless it is allowed, whatever name
// it has, and not even a connection is made.
func TestPolicy(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var connections atomic.Int64
	server := &http.Server{Handler: http.NotFoundHandler(), ConnState: func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}}
	t.Cleanup(func() { _ = server.Close() })
	go func() { _ = server.Serve(l) }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "0x7f.1", "2130706433", "127.1"} {
		o, log := options(t, newHistory(), Hook{URL: address(t, "http://"+host+":"+port)})
		o.Policy = Policy{Inside: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
		s := start(t, o)
		for s.Status(t.Context())[0].Failed < 2 {
			time.Sleep(time.Millisecond)
		}
		// What is no name anywhere is refused by who resolves names.
		if text := log.String(); !strings.Contains(text, "inside the network") && !strings.Contains(text, "lookup") {
			t.Errorf("%s: logged %s", host, text)
		}
	}
	if n := connections.Load(); n != 0 {
		t.Errorf("%d connections were made", n)
	}
	var refused *RefusedError
	p := Policy{Inside: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	for text, allowed := range map[string]bool{"10.1.2.3": true, "::ffff:10.1.2.3": true, "8.8.8.8": true, "11.0.0.1": true, "192.168.0.1": false, "fe80::1%lo": false, "::1": false} {
		if err := p.control("tcp", net.JoinHostPort(text, "80"), nil); (err == nil) != allowed || err != nil && !errors.As(err, &refused) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if err := p.control("tcp", "nowhere", nil); err == nil {
		t.Error("what is no address is allowed")
	}
	rec := receive(t, nil)
	o, _ := options(t, newHistory(), Hook{URL: address(t, fmt.Sprintf("http://localhost:%s/hook", rec.url.Port()))})
	start(t, o)
	rec.wait("a.0.resync")
}

// TestNoProxy: a proxy of the environment would connect where it may not.
func TestNoProxy(t *testing.T) {
	p := newPoster(Hook{URL: address(t, "http://receiver.example.com/")}, Options{}.withDefaults())
	if transport, ok := p.client.Transport.(*http.Transport); !ok || transport.Proxy != nil {
		t.Error("a proxy is asked")
	}
}
