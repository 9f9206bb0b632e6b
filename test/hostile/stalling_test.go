package hostile

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

// TestStallingClients has a thousand clients stall in every way, against a berth
// that may open 1024 files, while one that behaves well lists and pulls: it
// never fails.
func TestStallingClients(t *testing.T) {
	harness.Long(t, "stalling", "it takes a minute")
	b := harness.Start(t, harness.WithEnv("BERTH_LOG_ACCESS=false"), harness.WithFiles(1024))
	digest := fillList(t, b)
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	var clients sync.WaitGroup
	var dialed, answered atomic.Int64
	defer clients.Wait()
	for i := range 1000 {
		clients.Go(func() {
			for ctx.Err() == nil {
				stall(ctx, b.Host, i, &dialed)
			}
		})
	}
	for ctx.Err() == nil {
		for _, path := range []string{"/v1/images", "/v2/", "/v2/alice/app/tags/list", "/v2/alice/app/manifests/" + digest, "/readyz"} {
			if got := get(t, b.URL+path); got != http.StatusOK {
				t.Fatalf("%s: %d after %d answers", path, got, answered.Load())
			}
			answered.Add(1)
		}
		time.Sleep(20 * time.Millisecond)
	}
	shed := harness.Metrics(t, b)
	t.Logf("%d answers beside %d connections; ended as stalled: %s, refused: %s", answered.Load(), dialed.Load(),
		shed[`berth_shed_requests_total{reason="stalled"}`], shed[`berth_shed_requests_total{reason="connections"}`])
	if answered.Load() < 100 || dialed.Load() < 1000 {
		t.Errorf("%d answers beside %d connections", answered.Load(), dialed.Load())
	}
	if limit := shed[`process_max_fds`]; limit != "1024" {
		t.Errorf("berth may open %s files", limit)
	}
}

// fillList pushes so many images that a list is long, and returns the digest
// of one.
func fillList(t *testing.T, b *harness.Berth) (digest string) {
	t.Helper()
	const all = 100
	for i := range all {
		var err error
		if digest, err = b.Push("alice/app", fmt.Sprintf("v%d", i), harness.NewImage("k", fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	return digest
}

// patient is for requests that berth must answer soon.
var patient = &http.Client{Timeout: 30 * time.Second}

// get is a client that gives up after a time that no answer should take,
// and does not try again.
func get(t *testing.T, url string) int {
	t.Helper()
	a, err := patient.Get(url)
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

// stall connects from one of several addresses, and does as one of
// several kinds of clients until berth has enough of it.
func stall(ctx context.Context, host string, i int, dialed *atomic.Int64) {
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
