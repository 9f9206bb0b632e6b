package server

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const uploadPath = "/v2/a/b/blobs/uploads/x"

// within checks that something took from least to most.
func within(t *testing.T, what string, begin time.Time, least, most time.Duration) {
	t.Helper()
	if took := time.Since(begin); took < least || took > most {
		t.Errorf("%s took %v, want between %v and %v", what, took, least, most)
	}
}

// TestStalledBody sends nothing of a body, a little of it, or too little at a
// time, in the form of each API.
func TestStalledBody(t *testing.T) {
	silent := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	for _, test := range []struct {
		what, path, sent string
		every            time.Duration // a byte more
		handler          http.Handler
		want             string
	}{
		{"nothing", uploadPath, "", 0, readAll, `{"errors":[{"code":"SIZE_INVALID","message":"the body`},
		{"a little", uploadPath, "abc", 0, readAll, `{"errors":[{"code":"SIZE_INVALID"`},
		{"too little", uploadPath, "", time.Second, readAll, `{"errors":[{"code":"SIZE_INVALID"`},
		{"a form", "/token", "a=", 0, readAll, `{"errors":[{"code":"SIZE_INVALID"`},
		{"a form, trickling", "/token", "a=", 7 * time.Second, readAll, `{"errors":[{"code":"SIZE_INVALID"`},
		{"a body of the images API", "/v1/images", "{", 0, readAll, `{"status":"error","message":"the body`},
		{"a handler that says nothing", uploadPath, "", 0, silent, `{"errors":[{"code":"SIZE_INVALID"`},
	} {
		t.Run(test.what, func(t *testing.T) {
			inBubble(t, testOptions(test.handler), func(t *testing.T, p *pipes) {
				c, begin := p.dial("192.0.2.1:1"), time.Now()
				defer c.Close()
				send(t, c, "PUT", test.path, 1000, test.sent)
				if test.every > 0 {
					p.clients.Go(func() {
						for {
							if _, err := c.Write([]byte("x")); err != nil {
								return
							}
							time.Sleep(test.every)
						}
					})
				}
				a, body := receive(t, c)
				if a.StatusCode != http.StatusRequestTimeout || !strings.HasPrefix(body, test.want) || !strings.HasSuffix(body, "}\n") || !a.Close {
					t.Errorf("%d %q", a.StatusCode, body)
				}
				within(t, "it", begin, 29*time.Second, 31*time.Second)
				if _, err := c.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("the connection: %v", err)
				}
			})
		})
	}
}

// TestSlowBody uploads slowly, but steadily, for much longer than a stall may
// be; what berth takes itself does not count against the client.
func TestSlowBody(t *testing.T) {
	slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for buf := make([]byte, 1<<20); ; {
			if _, err := r.Body.Read(buf); err == io.EOF {
				break
			} else if err != nil {
				t.Error(err)
				return
			}
			time.Sleep(time.Minute)
		}
		fmt.Fprint(w, "all")
	})
	for what, handler := range map[string]http.Handler{"a slow client": readAll, "a slow server": slow} {
		t.Run(what, func(t *testing.T) {
			inBubble(t, testOptions(handler), func(t *testing.T, p *pipes) {
				c := p.dial("192.0.2.1:1")
				defer c.Close()
				const seconds, rate = 600, 16 << 10
				send(t, c, "PATCH", uploadPath, seconds*rate, "")
				p.clients.Go(func() {
					chunk := make([]byte, rate)
					for range seconds {
						time.Sleep(time.Second)
						if _, err := c.Write(chunk); err != nil {
							t.Error(err)
							return
						}
					}
				})
				if a, body := receive(t, c); a.StatusCode != http.StatusOK {
					t.Errorf("%d %q", a.StatusCode, body)
				}
			})
		})
	}
}

// TestShortBody sends the body of a short request at a rate that an upload may
// have, but for longer than such a request may take.
func TestShortBody(t *testing.T) {
	inBubble(t, testOptions(readAll), func(t *testing.T, p *pipes) {
		c, begin := p.dial("192.0.2.1:1"), time.Now()
		defer c.Close()
		send(t, c, "PUT", "/v2/a/b/manifests/x", 4<<20, "")
		p.clients.Go(func() {
			for {
				if _, err := c.Write(make([]byte, 16<<10)); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
		if a, body := receive(t, c); a.StatusCode != http.StatusRequestTimeout {
			t.Errorf("%d %q", a.StatusCode, body)
		}
		within(t, "it", begin, 59*time.Second, 61*time.Second)
	})
}

// large answers with size bytes.
func large(size int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(size))
		_, _ = io.Copy(w, io.LimitReader(zeros{}, int64(size)))
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestStalledReader asks for a long answer and does not take it, or too slowly.
func TestStalledReader(t *testing.T) {
	const size = 64 << 20
	for _, rate := range []int{0, 1 << 10} {
		for _, path := range []string{"/v1/images", "/v2/a/b/blobs/sha256:0", "/v2/a/b/manifests/x"} {
			t.Run(fmt.Sprint(path, " at ", rate), func(t *testing.T) {
				inBubble(t, testOptions(large(size)), func(t *testing.T, p *pipes) {
					c, begin := p.dial("192.0.2.1:1"), time.Now()
					defer c.Close()
					send(t, c, "GET", path, 0, "")
					if rate == 0 {
						time.Sleep(2 * time.Minute)
						synctest.Wait()
					}
					n, buf := 0, make([]byte, 1024)
					var err error
					for err == nil {
						var m int
						m, err = c.Read(buf)
						n += m
						time.Sleep(time.Duration(rate) * time.Second / 1024)
					}
					if err != io.EOF && !errors.Is(err, io.ErrClosedPipe) || n >= size {
						t.Errorf("%d bytes, %v", n, err)
					}
					within(t, "it", begin, 29*time.Second, 3*time.Minute)
				})
			})
		}
	}
}

// TestSlowReader takes a long answer slowly, but steadily.
func TestSlowReader(t *testing.T) {
	const size, rate = 10 << 20, 16 << 10
	inBubble(t, testOptions(large(size)), func(t *testing.T, p *pipes) {
		c, begin := p.dial("192.0.2.1:1"), time.Now()
		defer c.Close()
		send(t, c, "GET", "/v1/images", 0, "")
		if a, body := receive(t, &throttled{c, rate}); a.StatusCode != http.StatusOK || len(body) != size {
			t.Errorf("%d and %d bytes", a.StatusCode, len(body))
		}
		within(t, "it", begin, 10*time.Minute, 12*time.Minute)
	})
}

// throttled reads so many bytes a second.
type throttled struct {
	net.Conn
	rate int
}

func (c *throttled) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p[:min(len(p), 1024)])
	time.Sleep(time.Duration(n) * time.Second / time.Duration(c.rate))
	return n, err
}

// TestConnectionKept sends requests on one connection, with long pauses: the
// deadlines of one request must not end the next.
func TestConnectionKept(t *testing.T) {
	inBubble(t, testOptions(readAll), func(t *testing.T, p *pipes) {
		c := p.dial("192.0.2.1:1")
		defer c.Close()
		for i := range 5 {
			if a, body := func() (*http.Response, string) {
				send(t, c, "PUT", uploadPath, 3, "abc")
				return receive(t, c)
			}(); a.StatusCode != http.StatusOK || body != "3" {
				t.Errorf("request %d: %d %q", i, a.StatusCode, body)
			}
			time.Sleep(100 * time.Second)
		}
		// An answer of net/http's own.
		if _, err := io.WriteString(c, "no request\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if a, _ := receive(t, c); a.StatusCode != http.StatusBadRequest {
			t.Errorf("no request: %d", a.StatusCode)
		}
	})
}

// TestSlowHandler does something else for longer than any limit before and
// after the body: nothing of that is the client's fault, and its going away is
// still seen.
func TestSlowHandler(t *testing.T) {
	var gone chan bool
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(5 * time.Minute)
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		select {
		case <-r.Context().Done():
			gone <- true
		case <-time.After(5 * time.Minute):
			gone <- false
		}
		fmt.Fprint(w, len(body))
	})
	inBubble(t, testOptions(handler), func(t *testing.T, p *pipes) {
		gone = make(chan bool, 2) // of the bubble
		c := p.dial("192.0.2.1:1")
		defer c.Close()
		send(t, c, "PUT", uploadPath, 3, "")
		p.clients.Go(func() { _, _ = io.WriteString(c, "abc") })
		if a, body := receive(t, c); a.StatusCode != http.StatusOK || body != "3" || <-gone {
			t.Errorf("%d %q", a.StatusCode, body)
		}
		send(t, c, "PUT", uploadPath, 3, "")
		p.clients.Go(func() { _, _ = io.WriteString(c, "abc"); time.Sleep(time.Minute); c.Close() })
		if !<-gone {
			t.Error("the client went away unseen")
		}
	})
}
