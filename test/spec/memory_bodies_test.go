package spec

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

// TestBodiesMemory sends manifests of 4 MiB, all but the last byte.
func TestBodiesMemory(t *testing.T) {
	const bodies, size, most = 80, 4 << 20, 128 << 20
	s := specified(t)
	grows(t, s.b, most, func() {
		answers := make(chan string, bodies)
		for range bodies {
			conn, err := net.Dial("tcp", s.b.Host)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
			go func() {
				_, _ = fmt.Fprintf(conn, "PUT /v2/alice/app/manifests/v1 HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", harness.OCIManifest, size)
				// It fails once berth has refused it.
				_, err := conn.Write([]byte(strings.Repeat(" ", size-1)))
				if err == nil {
					answers <- ""
				}
				response, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					return // the test is over
				}
				body, _ := io.ReadAll(response.Body)
				answers <- fmt.Sprint(response.StatusCode, " ", response.Header.Get("Retry-After") != "", " ", string(body))
			}()
		}
		refused := ""
		for refused == "" {
			select {
			case refused = <-answers:
			case <-time.After(20 * time.Second):
				t.Error("all are taken, none is refused")
				return
			}
		}
		if !strings.HasPrefix(refused, "503 true ") || !strings.Contains(refused, `"errors":[{"code":"`) {
			t.Errorf("refused with %.300s", refused)
		}
		// Small manifests do not wait for the large ones.
		small := harness.NewImage("k", "small")
		if _, err := s.Push("good/app", "v1", small); err != nil {
			t.Error(err)
		}
		if list, err := s.Listed("?namespace=good", `{"tag":"good/app:v1"}`); err != nil || len(list) != 1 {
			t.Errorf("a lookup: %v, %v", list, err)
		}
	})
	if a := s.ask(200, "GET", "/metrics", nil); !strings.Contains(string(a.Body), "\nberth_memory_held_bytes") {
		t.Error("no metric of the memory that is held")
	}
}
