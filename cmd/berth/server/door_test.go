package server

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// gone reports whether the server has closed the connection.
func gone(c net.Conn) bool {
	synctest.Wait()
	_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := c.Read(make([]byte, 1))
	return err == io.EOF
}

// busyOr answers /v2/busy after an hour, unless the client goes, and else as
// readAll.
var busyOr = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v2/busy" {
		select {
		case <-r.Context().Done():
		case <-time.After(time.Hour):
		}
	}
	readAll(w, r)
})

// served wants a connection to be served.
func served(t *testing.T, c net.Conn) {
	t.Helper()
	send(t, c, "GET", "/v2/", 0, "")
	if a, body := receive(t, c); a.StatusCode != http.StatusOK {
		t.Errorf("%d %q", a.StatusCode, body)
	}
}

// refused wants a connection to be answered with 503 and closed.
func refused(t *testing.T, c net.Conn, message string) {
	t.Helper()
	begin := time.Now()
	a, body := receive(t, c)
	if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") != "1" || !strings.Contains(body, message) {
		t.Errorf("%d %v %q", a.StatusCode, a.Header, body)
	}
	within(t, "refusing", begin, 0, patience+time.Second)
}

// TestConnectionLimit fills the house, of one client and of many.
func TestConnectionLimit(t *testing.T) {
	for what, test := range map[string]struct {
		limits  Limits
		address func(i int) string
		message string
	}{
		"one client": {Limits{Connections: 100, PerClient: 3, Requests: 50, Uploads: 50}, func(int) string { return "192.0.2.1:1" }, "from this address"},
		"one network": {Limits{Connections: 100, PerClient: 3, Requests: 50, Uploads: 50}, func(i int) string {
			return "[2001:db8::" + string(rune('a'+i)) + "]:1"
		}, "from this address"},
		"many clients": {Limits{Connections: 3, PerClient: 3, Requests: 50, Uploads: 50}, func(i int) string {
			return "192.0.2." + string(rune('1'+i)) + ":1"
		}, "too many connections"},
		"a trusted proxy": {Limits{Connections: 3, PerClient: 1, Requests: 50, Uploads: 50}, func(int) string { return "198.51.100.7:1" }, "too many connections"},
	} {
		t.Run(what, func(t *testing.T) {
			o := testOptions(busyOr)
			o.Limits, o.TrustedProxies = test.limits, Networks{netip.MustParsePrefix("198.51.100.0/24")}
			inBubble(t, o, func(t *testing.T, p *pipes) {
				dial := func(i int) net.Conn {
					c := p.dial(test.address(i))
					t.Cleanup(func() { c.Close() })
					return c
				}
				busy, stalled, idle := dial(0), dial(1), dial(2)
				send(t, busy, "GET", "/v2/busy", 0, "")
				send(t, stalled, "PUT", uploadPath, 3, "a")
				time.Sleep(5 * time.Second)
				served(t, idle)
				time.Sleep(2 * time.Second)
				// The idle one makes room, then the one that stalls, then none.
				next := dial(3)
				defer next.Close()
				served(t, next)
				if !gone(idle) || gone(stalled) || gone(busy) {
					t.Error("it was not the idle connection that made room")
				}
				send(t, next, "GET", "/v2/busy", 0, "")
				last := dial(4)
				defer last.Close()
				served(t, last)
				if !gone(stalled) || gone(busy) || gone(next) {
					t.Error("it was not the stalled connection that made room")
				}
				send(t, last, "GET", "/v2/busy", 0, "")
				outside := dial(5)
				defer outside.Close()
				refused(t, outside, test.message)
				// One that leaves makes room for one that waits.
				waiting := dial(6)
				defer waiting.Close()
				synctest.Wait()
				_ = busy.Close()
				served(t, waiting)
			})
		})
	}
}

// TestLobbyFull sends more than can wait: they are closed at once.
func TestLobbyFull(t *testing.T) {
	o := testOptions(busyOr)
	o.Limits = Limits{Connections: 1, PerClient: 1, Requests: 8, Uploads: 8}
	inBubble(t, o, func(t *testing.T, p *pipes) {
		busy := p.dial("192.0.2.1:1")
		defer busy.Close()
		send(t, busy, "GET", "/v2/busy", 0, "")
		synctest.Wait()
		var conns []net.Conn
		for range 10 {
			conns = append(conns, p.dial("192.0.2.1:1"))
		}
		synctest.Wait()
		closed := 0
		for _, c := range conns {
			if gone(c) {
				closed++
			}
			c.Close()
		}
		if want := 10 - o.Limits.lobby()/2; closed != want {
			t.Errorf("%d were closed at once, want %d", closed, want)
		}
		busy.Close()
	})
}

// TestFairness has one client take all places, of connections and of requests,
// and come again as fast as it can: another has a place at once.
func TestFairness(t *testing.T) {
	for what, limits := range map[string]Limits{
		"connections": {Connections: 8, PerClient: 8, Requests: 50, Uploads: 50}, "requests": {Connections: 50, PerClient: 40, Requests: 8, Uploads: 8},
	} {
		t.Run(what, func(t *testing.T) {
			o := testOptions(readAll)
			o.Limits = limits
			inBubble(t, o, func(t *testing.T, p *pipes) {
				for range 8 {
					c := p.dial("192.0.2.1:1")
					defer c.Close()
					send(t, c, "PUT", uploadPath, 3, "a")
				}
				time.Sleep(time.Millisecond)
				begin, c := time.Now(), p.dial("192.0.2.2:1")
				defer c.Close()
				served(t, c)
				within(t, "a place", begin, 0, 0)
			})
		})
	}
}

// TestFewKeepTheirs has a crowd of clients with many connections, or requests,
// ask for more all the time: who has one keeps it, though it waits for longest.
func TestFewKeepTheirs(t *testing.T) {
	for what, limits := range map[string]Limits{
		"connections": {Connections: 17, PerClient: 8, Requests: 50, Uploads: 50}, "requests": {Connections: 80, PerClient: 40, Requests: 17, Uploads: 17},
	} {
		t.Run(what, func(t *testing.T) {
			o := testOptions(readAll)
			o.Limits = limits
			inBubble(t, o, func(t *testing.T, p *pipes) {
				mine := p.dial("192.0.2.1:1")
				defer mine.Close()
				send(t, mine, "PUT", uploadPath, 3, "a")
				time.Sleep(2 * time.Second)
				for i := range 36 {
					c := p.dial([]string{"192.0.2.2:1", "192.0.2.3:1"}[i%2])
					defer c.Close()
					send(t, c, "PUT", uploadPath, 3, "a")
					if i > 16 {
						time.Sleep(500 * time.Millisecond)
					}
				}
				if _, err := io.WriteString(mine, "bc"); err != nil {
					t.Fatal(err)
				}
				if a, body := receive(t, mine); a.StatusCode != http.StatusOK {
					t.Errorf("%d %q", a.StatusCode, body)
				}
			})
		})
	}
}

// TestWithin checks that the limits fit into what may be open.
func TestWithin(t *testing.T) {
	for _, files := range []int{256, 1024, 4096, 20_000, 1 << 20} {
		l := Limits{}.Within(files, 1<<40)
		if open := l.Connections + l.lobby() + 2*l.Requests; open > files*24/25 || l.Connections < 100 || l.PerClient < 8 || l.Requests < 8 || l.Uploads < 4 || l.AccountRequests < 4 || l.AccountUploads < 2 {
			t.Errorf("%d files: %+v may open %d", files, l, open)
		}
	}
	// Connections that have sent no more than headers take memory.
	if l := (Limits{}).Within(1<<20, 256<<20); l.Connections != 2048 || l.PerClient != 512 {
		t.Errorf("with 256 MiB of memory there are %d connections, %d of a client", l.Connections, l.PerClient)
	}
	if l := (Limits{7, 6, 5, 4, 3, 2, 1, 1}).Within(1024, 64<<20); l != (Limits{7, 6, 5, 4, 3, 2, 1, 1}) {
		t.Errorf("%+v", l)
	}
}

// fromFile counts how a file reaches it.
type fromFile struct {
	net.Conn
	files, bytes atomic.Int64
}

func (c *fromFile) ReadFrom(r io.Reader) (int64, error) {
	l, limited := r.(*io.LimitedReader)
	if limited {
		if _, ok := l.R.(*os.File); ok {
			c.files.Add(1)
		}
	}
	n, err := io.Copy(struct{ io.Writer }{c.Conn}, r)
	c.bytes.Add(n)
	return n, err
}

// TestSendFile serves a file: it reaches the connection as a file, through all
// that stands between.
func TestSendFile(t *testing.T) {
	path, size := filepath.Join(t.TempDir(), "blob"), int64(1<<20+5)
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	s := New(testOptions(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, path) })))
	client, server := net.Pipe()
	seen := &fromFile{Conn: server}
	p := newPipes()
	done := make(chan error, 1)
	go func() { done <- s.Serve(t.Context(), p) }()
	p.conns <- seen
	send(t, client, "GET", "/v2/a/b/blobs/sha256:0", 0, "")
	if a, body := receive(t, client); a.StatusCode != http.StatusOK || int64(len(body)) != size {
		t.Errorf("%d and %d bytes", a.StatusCode, len(body))
	}
	client.Close()
	if files, bytes := seen.files.Load(), seen.bytes.Load(); files < size/piece || bytes < size-piece {
		t.Errorf("%d pieces of a file, %d bytes", files, bytes)
	}
	_ = s.main.Close()
	<-done
}
