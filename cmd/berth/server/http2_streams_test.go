package server

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// rawStreams is a client of HTTP/2 that takes no byte of any answer: it gives
// streams no window.
type rawStreams struct {
	net.Conn
	next  uint32
	mu    sync.Mutex
	reset map[uint32]bool // streams that the server has ended; guarded by mu
}

// Frame types of RFC 9113, section 6.
const (
	frameHeaders, frameReset, frameSettings = 1, 3, 4
	endStream, endHeaders                   = 1, 4
)

func (r *rawStreams) frame(kind, flags byte, stream uint32, payload []byte) {
	head := make([]byte, 9, 9+len(payload))
	binary.BigEndian.PutUint32(head, uint32(len(payload))<<8|uint32(kind))
	head[4] = flags
	binary.BigEndian.PutUint32(head[5:], stream)
	_, _ = r.Write(append(head, payload...))
}

// get asks for a path and returns the stream's number.
func (r *rawStreams) get(path string) uint32 {
	const method, scheme, authority, literalPath = 0x82, 0x87, 0x41, 0x44 // RFC 7541, appendix A
	block := append([]byte{method, scheme, authority, 1, 'x', literalPath, byte(len(path))}, path...)
	stream := r.next
	r.next += 2
	r.frame(frameHeaders, endStream|endHeaders, stream, block)
	return stream
}

// ended is how many streams the server has ended by a reset.
func (r *rawStreams) ended() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.reset)
}

func (r *rawStreams) read() {
	head := make([]byte, 9)
	for {
		if _, err := io.ReadFull(r, head); err != nil {
			return
		}
		if _, err := io.CopyN(io.Discard, r, int64(binary.BigEndian.Uint32(head)>>8)); err != nil {
			return
		}
		switch kind, flags := head[3], head[4]; {
		case kind == frameSettings && flags == 0:
			go r.frame(frameSettings, 1, 0, nil)
		case kind == frameReset:
			r.mu.Lock()
			r.reset[binary.BigEndian.Uint32(head[5:])] = true
			r.mu.Unlock()
		}
	}
}

// withoutWindow runs a server with TLS, and fn with a client that takes nothing.
func withoutWindow(t *testing.T, o Options, fn func(c *rawStreams)) {
	certificate, key := writePair(t, t.TempDir(), "x.test")
	loaded, err := LoadCertificate(certificate, key, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	o.TLS = loaded.Config()
	inBubble(t, o, func(t *testing.T, p *pipes) {
		encrypted := tls.Client(p.dial("192.0.2.1:1"), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		if err := encrypted.Handshake(); err != nil {
			t.Fatal(err)
		}
		c := &rawStreams{Conn: encrypted, next: 1, reset: map[uint32]bool{}}
		p.clients.Go(c.read)
		_, _ = io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
		const initialWindow = 4
		c.frame(frameSettings, 0, 0, []byte{0, initialWindow, 0, 0, 0, 0})
		fn(c)
		_ = c.Close()
	})
}

// TestHTTP2NoWindow asks for answers that fit into a buffer and takes none of
// them: they do not stay for ever, and until then each has a request's place.
func TestHTTP2NoWindow(t *testing.T) {
	const all = 5
	for _, path := range []string{"/v2/", "/healthz", "/nothing"} {
		t.Run(path, func(t *testing.T) {
			o := testOptions(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "small") }))
			o.Metrics = NewMetrics()
			withoutWindow(t, o, func(c *rawStreams) {
				for range all {
					c.get(path)
				}
				time.Sleep(time.Second)
				if n := counted(t, o, "berth_requests_in_flight", "request"); path != "/healthz" && n != all {
					t.Errorf("%v requests are in flight, want %d: the answers have not been taken", n, all)
				}
				time.Sleep(o.Pace.Stall + time.Second)
				if n := c.ended(); n != all {
					t.Errorf("after %v %d streams were ended, want %d", o.Pace.Stall, n, all)
				}
			})
		})
	}
}

// TestHTTP2TurnedAway takes none of the answers that there are too many requests:
// such a stream is let go at once.
func TestHTTP2TurnedAway(t *testing.T) {
	var asked atomic.Int64
	o := testOptions(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		<-r.Context().Done()
	}))
	o.Limits.Requests, o.Limits.Uploads = 2, 2
	withoutWindow(t, o, func(c *rawStreams) {
		for range 4 {
			c.get("/v2/")
		}
		synctest.Wait()
		if n := asked.Load(); n != 2 {
			t.Fatalf("%d requests were let in, want 2", n)
		}
		time.Sleep(patience + time.Second)
		if n := c.ended(); n != 2 {
			t.Errorf("%d streams were ended a second after they were refused, want 2", n)
		}
	})
}

// TestHTTP2Crowd opens more streams than there may be, waiting ones included:
// what is above that is ended unanswered, and nothing of it is kept.
func TestHTTP2Crowd(t *testing.T) {
	o := testOptions(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	o.Limits.Requests, o.Limits.Uploads = 3, 3
	o.Metrics = NewMetrics()
	withoutWindow(t, o, func(c *rawStreams) {
		for range 8 {
			c.get("/v2/")
		}
		synctest.Wait()
		if n := counted(t, o, "berth_http_requests_total", "503"); n != 2 {
			t.Errorf("%v requests are counted as 503, want 2", n)
		}
		if n := c.ended(); n != 2 {
			t.Errorf("%d of 8 streams were ended at once, want 2: three may be in flight and three may wait", n)
		}
	})
}
