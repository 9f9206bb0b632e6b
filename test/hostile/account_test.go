package hostile

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

// TestAccountAtItsLimit has one account ask for all it can: requests, uploads and
// memory. It is refused what is too much as its own fault, while another one
// pushes, lists, pulls, and polls as fast as it can, and is never refused.
func TestAccountAtItsLimit(t *testing.T) {
	harness.Long(t, "stalling", "it waits for what stalls")
	b := harness.Start(t, harness.WithEnv("BERTH_LOG_ACCESS=false", "BERTH_LIMITS_MEMORY=64MiB",
		"BERTH_HTTP_LIMITS_REQUESTS=60", "BERTH_HTTP_LIMITS_UPLOADS=30", "BERTH_HTTP_LIMITS_UPLOADS_PER_ACCOUNT=1"))
	mallory, alice := harness.AddAccount(t, b, "mallory"), harness.AddAccount(t, b, "alice")
	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	defer clients.Wait()
	defer stop()
	// Bodies that never come to an end: uploads, what waits in no memory, and
	// manifests that hold nearly all that they say.
	for i := range 40 {
		request := "POST /v2/mallory/a/blobs/uploads/?digest=" + harness.NoDigest + " HTTP/1.1\r\n"
		body := "a"
		switch i % 4 {
		case 1:
			request = "POST /v1/images HTTP/1.1\r\n"
		case 2, 3:
			request = "PUT /v2/mallory/a/manifests/x HTTP/1.1\r\n"
			body = strings.Repeat(" ", 4<<20-1)
		}
		request += "Host: " + b.Host + "\r\nAuthorization: " + mallory.Basic() + "\r\n" +
			fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)+1)
		clients.Go(func() {
			for ctx.Err() == nil {
				sendAndWait(ctx, b.Host, request+body)
			}
		})
	}

	polite, answers := alice.On(b), 0
	var slowest time.Duration
	reasons := map[string]bool{"account_requests": false, "account_uploads": false, "account_memory": false}
	for begin, round := time.Now(), 0; round < 5 || len(reasons) > 0; round++ {
		if time.Since(begin) > 2*time.Minute {
			t.Fatalf("nobody was refused for %v", reasons)
		}
		tag := fmt.Sprint("v", round)
		if _, err := polite.Push("alice/app", tag, harness.NewImage("k", tag)); err != nil {
			t.Fatalf("a push: %v", err)
		}
		for range 100 {
			for _, path := range []string{"/v1/images?namespace=alice", "/v2/alice/app/manifests/" + tag} {
				asked := time.Now()
				a, err := polite.Do("GET", path, nil)
				if err != nil || a.Status != 200 {
					t.Fatalf("%s: %v, %v", path, a, err)
				}
				slowest = max(slowest, time.Since(asked))
				answers++
			}
		}
		shed := harness.Metrics(t, b)
		for _, ofAll := range []string{"requests", "uploads", "memory"} {
			if n := shed[`berth_shed_requests_total{reason="`+ofAll+`"}`]; n != "0" {
				t.Fatalf("%s were refused because of the %s of all", n, ofAll)
			}
		}
		for reason := range reasons {
			if n := shed[`berth_shed_requests_total{reason="`+reason+`"}`]; n != "0" {
				delete(reasons, reason)
			}
		}
	}
	t.Logf("%d answers, the slowest after %v", answers, slowest)
}

// sendAndWait connects, sends a request, and waits until berth has enough of it.
func sendAndWait(ctx context.Context, host, request string) {
	dialer := net.Dialer{Timeout: 10 * time.Second}
	c, err := dialer.DialContext(ctx, "tcp", host)
	if err != nil {
		time.Sleep(100 * time.Millisecond)
		return
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	if _, err := io.WriteString(c, request); err == nil {
		_, _ = io.Copy(io.Discard, c)
	}
}
