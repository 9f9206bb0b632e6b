package spec

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

// TestSpellings asks for one image in many ways.
func TestSpellings(t *testing.T) {
	s := specified(t)
	text := strings.Repeat("x", 240<<10)
	config := s.blob("alice/app", string(configOf(0, `["x=`+text+`"]`, `{"x":"`+text+`"}`)))
	config.MediaType = harness.OCIConfig
	kernel := s.blob("alice/app", "kernel")
	kernel.MediaType = harness.OCILayer
	m := harness.ManifestOf(config, kernel.Marked("org.unikraft.kernel.image", "/unikraft/bin/kernel"))
	s.put("alice/app", "latest", m)
	var items []string
	for i := range 150 {
		items = append(items, fmt.Sprintf(`{"tag":"x:%d/alice/app"}`, i))
	}
	for _, path := range []string{"/v1/images", "/v1/images/list"} {
		begin := time.Now()
		a := s.ask(200, "GET", path, "["+strings.Join(items, ",")+"]")
		t.Logf("%d bytes asked, %d KiB answered in %v", len(strings.Join(items, ",")), len(a.Body)>>10, time.Since(begin))
		if len(a.Body) > 3<<20 {
			t.Errorf("%s: %d MiB of answer", path, len(a.Body)>>20)
		}
		if n := strings.Count(string(a.Body), harness.Digest(m)+`"`); n != 1 && path == "/v1/images/list" {
			t.Errorf("%s: the image is there %d times", path, n)
		}
	}
}
