package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// overHTTP2 runs a server with TLS, and fn with two clients of HTTP/2 that have
// one connection to it each, from addresses of their own.
func overHTTP2(t *testing.T, o Options, fn func(t *testing.T, c, other *http.Client)) {
	t.Helper()
	certificate, key := writePair(t, t.TempDir(), "x.test")
	loaded, err := LoadCertificate(certificate, key, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(certificate)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	o.TLS = loaded.Config()
	inBubble(t, o, func(t *testing.T, p *pipes) {
		client := func(address string) (c *http.Client, end func()) {
			var dialed atomic.Int64
			transport := &http.Transport{
				ForceAttemptHTTP2: true,
				TLSClientConfig:   &tls.Config{RootCAs: roots, ServerName: "x.test", Time: func() time.Time { return loadedAt(loaded) }},
				DialContext: func(context.Context, string, string) (net.Conn, error) {
					dialed.Add(1)
					return p.dial(address), nil
				},
			}
			return &http.Client{Transport: transport}, func() {
				transport.CloseIdleConnections()
				synctest.Wait()
				if n := dialed.Load(); n > 1 {
					t.Errorf("%d connections of %s, want one", n, address)
				}
			}
		}
		c, end := client("192.0.2.1:1")
		other, otherEnd := client("192.0.2.2:1")
		fn(t, c, other)
		end()
		otherEnd()
	})
}

// loadedAt is a time at which a certificate is valid: that of a bubble is none.
func loadedAt(c *Certificate) time.Time {
	pair, err := c.get(nil)
	if err != nil {
		return time.Now()
	}
	return pair.Leaf.NotBefore.Add(time.Minute)
}

// well wants a request on the same connection to be answered.
func well(t *testing.T, c *http.Client) {
	t.Helper()
	a, err := c.Get("https://x.test/v2/")
	if err != nil {
		t.Errorf("another request on the connection: %v", err)
		return
	}
	defer a.Body.Close()
	if _, err := io.Copy(io.Discard, a.Body); err != nil || a.StatusCode != http.StatusOK || a.ProtoMajor != 2 {
		t.Errorf("another request on the connection: %d over HTTP/%d, %v", a.StatusCode, a.ProtoMajor, err)
	}
}

// TestHTTP2Body sends nothing of a body, too little, or slowly but steadily: of
// one stream, while others of the connection go on.
func TestHTTP2Body(t *testing.T) {
	for _, test := range []struct {
		what, path  string
		size, every int // bytes a second
		status      int
		least, most time.Duration
	}{
		{"nothing", uploadPath, 1000, 0, 408, 29 * time.Second, 31 * time.Second},
		{"too little", uploadPath, 100_000, 1, 408, 29 * time.Second, 31 * time.Second},
		{"a form, for too long", "/token", 10 << 20, 16 << 10, 408, 59 * time.Second, 62 * time.Second},
		{"slowly", uploadPath, 300 * 16 << 10, 16 << 10, 200, 299 * time.Second, 302 * time.Second},
	} {
		t.Run(test.what, func(t *testing.T) {
			overHTTP2(t, testOptions(readAll), func(t *testing.T, c, _ *http.Client) {
				well(t, c)
				begin := time.Now()
				body, in := io.Pipe()
				r, err := http.NewRequest("PUT", "https://x.test"+test.path, body)
				if err != nil {
					t.Fatal(err)
				}
				r.ContentLength = int64(test.size)
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					defer func() {
						if test.status == http.StatusOK {
							in.Close()
						}
					}()
					for sent := 0; sent < test.size && test.every > 0; sent += test.every {
						time.Sleep(time.Second)
						if _, err := in.Write(make([]byte, test.every)); err != nil {
							return
						}
					}
				}()
				a, err := c.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				text, _ := io.ReadAll(a.Body)
				a.Body.Close()
				if a.StatusCode != test.status || test.status == 408 && !strings.Contains(string(text), "did not come in time") {
					t.Errorf("%d %q", a.StatusCode, text)
				}
				within(t, "it", begin, test.least, test.most)
				well(t, c)
				in.Close()
				<-ended
			})
		})
	}
}

// TestHTTP2Reader does not take an answer, or slowly but steadily.
func TestHTTP2Reader(t *testing.T) {
	const size = 24 << 20 // more than a client takes unread
	for _, rate := range []int{0, 64 << 10} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			o := testOptions(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/v2/" {
					return
				}
				large(size).ServeHTTP(w, r)
			}))
			overHTTP2(t, o, func(t *testing.T, c, _ *http.Client) {
				a, err := c.Get("https://x.test/v1/images")
				if err != nil {
					t.Fatal(err)
				}
				defer a.Body.Close()
				if rate == 0 {
					time.Sleep(2 * time.Minute)
					if n, err := io.Copy(io.Discard, a.Body); err == nil || n >= size {
						t.Errorf("after two minutes there are %d bytes, %v", n, err)
					}
					well(t, c)
					return
				}
				n := 0
				for buf := make([]byte, rate); ; time.Sleep(time.Second) {
					m, err := io.ReadFull(a.Body, buf)
					if n += m; errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
						break
					} else if err != nil {
						t.Fatalf("after %d bytes: %v", n, err)
					}
				}
				if n != size {
					t.Errorf("%d bytes", n)
				}
				well(t, c)
			})
		})
	}
}

// TestHTTP2Streams has one connection stall as many requests as there may be:
// each stream counts as a request, and others have their places at once.
func TestHTTP2Streams(t *testing.T) {
	const all = 8
	o := testOptions(readAll)
	o.Limits = Limits{Connections: 20, PerClient: 10, Requests: all, Uploads: all}
	o.Metrics = NewMetrics()
	overHTTP2(t, o, func(t *testing.T, c, other *http.Client) {
		well(t, c)
		statuses := make(chan int, all)
		for range all {
			go func() {
				body, in := io.Pipe()
				defer in.Close()
				r, _ := http.NewRequest("PUT", "https://x.test"+uploadPath, body)
				r.ContentLength = 1000
				a, err := c.Do(r)
				if err != nil {
					statuses <- 0
					return
				}
				a.Body.Close()
				statuses <- a.StatusCode
			}()
		}
		time.Sleep(time.Millisecond)
		begin := time.Now()
		for range 5 {
			well(t, other)
		}
		within(t, "others", begin, 0, 0)
		shed := int(counted(t, o, "berth_shed_requests_total", string(tooFarBehind)))
		if shed == 0 {
			t.Error("streams do not count as requests: nobody had to go")
		}
		ended := 0
		for range all {
			switch status := <-statuses; status {
			case http.StatusRequestTimeout:
			case 0: // one that had to go
				ended++
			default:
				t.Errorf("a stream that stalls: %d", status)
			}
		}
		if ended > shed {
			t.Errorf("%d streams ended without an answer, where %d had to go", ended, shed)
		}
		well(t, c)
	})
}
