package test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestServerStalling has a thousand clients stall in every way, against a berth
// that may open 1024 files, while one that behaves well lists and pulls: it
// never fails. It takes a minute, so it is run where TEST_LONG is set.
func TestServerStalling(t *testing.T) {
	if os.Getenv("TEST_LONG") == "" {
		t.Skip("skipped: takes a minute; TEST_LONG=1 runs it")
	}
	b := start(t, withEnv("BERTH_LOG_ACCESS=false"), underLimit(1024))
	digest := serverFill(t, b)
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	var clients sync.WaitGroup
	var dialed, answered atomic.Int64
	defer clients.Wait()
	for i := range 1000 {
		clients.Go(func() {
			for ctx.Err() == nil {
				serverStall(ctx, b.Host, i, &dialed)
			}
		})
	}
	for ctx.Err() == nil {
		for _, path := range []string{"/v1/images", "/v2/", "/v2/alice/app/tags/list", "/v2/alice/app/manifests/" + digest, "/readyz"} {
			if got := serverGet(t, b.URL+path); got != http.StatusOK {
				t.Fatalf("%s: %d after %d answers", path, got, answered.Load())
			}
			answered.Add(1)
		}
		time.Sleep(20 * time.Millisecond)
	}
	shed := metricsOf(t, b)
	t.Logf("%d answers beside %d connections; ended as stalled: %s, refused: %s", answered.Load(), dialed.Load(),
		shed[`berth_shed_requests_total{reason="stalled"}`], shed[`berth_shed_requests_total{reason="connections"}`])
	if answered.Load() < 100 || dialed.Load() < 1000 {
		t.Errorf("%d answers beside %d connections", answered.Load(), dialed.Load())
	}
	if limit := shed[`process_max_fds`]; limit != "1024" {
		t.Errorf("berth may open %s files", limit)
	}
}

// underLimit starts berth with a limit of open files.
func underLimit(files int) option {
	return func(b *Berth) {
		b.wrap = []string{"sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, files)}
	}
}

// serverFill pushes so many images that a list is long, and returns the digest
// of one.
func serverFill(t *testing.T, b *Berth) (digest string) {
	t.Helper()
	c := newRawClient(b.URL)
	const all = 100
	for i := range all {
		var err error
		if digest, err = c.push("alice/app", fmt.Sprintf("v%d", i), newRawImage("k", fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	return digest
}

// serverGet is a client that gives up after a time that no answer should take,
// and does not try again.
func serverGet(t *testing.T, url string) int {
	t.Helper()
	a, err := client.Get(url)
	if err != nil {
		t.Errorf("%s: %v", url, err)
		return 0
	}
	defer a.Body.Close()
	if _, err := io.Copy(io.Discard, a.Body); err != nil {
		t.Errorf("%s: %v", url, err)
		return 0
	}
	return a.StatusCode
}

// serverStall connects from one of several addresses, and does as one of
// several kinds of clients until berth has enough of it.
func serverStall(ctx context.Context, host string, i int, dialed *atomic.Int64) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(10+i%20))}, Timeout: 10 * time.Second}
	c, err := dialer.DialContext(ctx, "tcp", host)
	if err != nil {
		time.Sleep(100 * time.Millisecond)
		return
	}
	dialed.Add(1)
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
	trickle := func(text string) {
		for ctx.Err() == nil {
			if _, err := io.WriteString(c, text); err != nil {
				return
			}
			time.Sleep(500 * time.Millisecond)
		}
	}
	head := "Host: " + host + "\r\n"
	switch i % 6 {
	case 0: // idle from the start
	case 1: // slow headers
		_, _ = io.WriteString(c, "GET /v2/ HTTP/1.1\r\n"+head)
		trickle("X-A: b\r\n")
		return
	case 2: // a slow form
		_, _ = io.WriteString(c, "POST /token HTTP/1.1\r\n"+head+"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 60000\r\n\r\n")
		trickle("a")
		return
	case 3: // a slow upload
		_, _ = io.WriteString(c, "POST /v2/alice/app/blobs/uploads/?digest=sha256:"+fmt.Sprintf("%064x", i)+" HTTP/1.1\r\n"+head+"Content-Length: 1000000\r\n\r\n")
		trickle("a")
		return
	case 4: // lists that nobody reads, many on one connection
		for range 50 {
			if _, err := io.WriteString(c, "GET /v1/images HTTP/1.1\r\n"+head+"\r\n"); err != nil {
				return
			}
		}
		<-ctx.Done()
		return
	case 5: // idle after a request
		_, _ = io.WriteString(c, "GET /v2/ HTTP/1.1\r\n"+head+"\r\n")
	}
	_, _ = io.Copy(io.Discard, c)
}

// wrapped is a command that starts another.
func wrapped(wrap []string, name string, args ...string) *exec.Cmd {
	if len(wrap) == 0 {
		return exec.Command(name, args...)
	}
	return exec.Command(wrap[0], append(append(wrap[1:len(wrap):len(wrap)], name), args...)...)
}
