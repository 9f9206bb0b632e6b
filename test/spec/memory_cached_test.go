package spec

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

// TestCachedManifestMemory reads a large manifest that has been read before, and
// takes nothing of it: as long as it is held for a client it counts, also when
// others have driven it out of the cache.
func TestCachedManifestMemory(t *testing.T) {
	s := specified(t)
	image := s.image("alice/app", "large")
	large := strings.Replace(string(image), "{", `{"annotations":`+manyMembers(true, 900<<10)+",", 1)
	s.put("alice/app", "v1", []byte(large))
	s.got("alice/app", "v1", []byte(large))
	conn, err := net.Dial("tcp", s.b.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	if _, err := fmt.Fprint(conn, "GET /v2/alice/app/manifests/v1 HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	held := 0.0
	for deadline := time.Now().Add(10 * time.Second); held < float64(len(large)) && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		held, _ = strconv.ParseFloat(harness.Metrics(t, s.b)["berth_memory_held_bytes"], 64)
	}
	if held < float64(len(large)) {
		t.Errorf("%.0f bytes are held, and a client is being served %d", held, len(large))
	}
}
