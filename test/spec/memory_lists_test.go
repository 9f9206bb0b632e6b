package spec

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

// configOf is a config whose four fields have so many bytes each.
func configOf(salt int, array, object string) []byte {
	return fmt.Appendf(nil, `{"author":"%d","config":{"Env":%s,"Entrypoint":%s,"Cmd":%s,"Labels":%s}}`, salt, array, array, array, object)
}

// listMemory has slow readers of a list of images that have such configs, and
// none of whom takes more than the beginning.
func listMemory(t *testing.T, count int, config func(i int) []byte) {
	const readers, most = 15, 128 << 20
	s := specified(t)
	kernel := s.blob("alice/large", "kernel")
	kernel.MediaType = harness.OCILayer
	kernel = kernel.Marked("org.unikraft.kernel.image", "/unikraft/bin/kernel")
	for i := range count {
		content := config(i)
		d := s.blob("alice/large", string(content))
		d.MediaType = harness.OCIConfig
		m := harness.ManifestOf(d, kernel)
		s.put("alice/large", harness.Digest(m), m)
	}
	grows(t, s.b, most, func() {
		for range readers {
			conn, err := net.Dial("tcp", s.b.Host)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
			_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
			if _, err := io.WriteString(conn, "GET /v1/images HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			// Once something has come, the first batch has been read.
			if line, err := bufio.NewReaderSize(conn, 16).ReadString(' '); err != nil || line != "HTTP/1.1 " {
				t.Fatalf("%q, %v", line, err)
			}
		}
		if list, err := s.Listed("", ""); err != nil || len(list) != count {
			t.Errorf("%d images, %v; want %d", len(list), err, count)
		}
	})
}

// TestListMemory lists images whose configs have a great many tiny
// elements: in memory, each is many times what it was.
func TestListMemory(t *testing.T) {
	array, object := manyMembers(false, 240<<10), manyMembers(true, 240<<10)
	listMemory(t, 12, func(i int) []byte { return configOf(i, array, object) })
}

// TestSlowReadersMemory lists images whose configs are merely large.
func TestSlowReadersMemory(t *testing.T) {
	text := strings.Repeat("x", 240<<10)
	listMemory(t, 40, func(i int) []byte { return configOf(i, `["x=`+text+`"]`, `{"x":"`+text+`"}`) })
}
