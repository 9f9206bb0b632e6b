package test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestHostileSpellings asks for one image in many ways.
func TestHostileSpellings(t *testing.T) {
	s := specified(t)
	text := strings.Repeat("x", 240<<10)
	config := s.blob("alice/app", string(configOf(0, `["x=`+text+`"]`, `{"x":"`+text+`"}`)))
	config.MediaType = rawOCIConfig
	kernel := s.blob("alice/app", "kernel")
	kernel.MediaType = rawOCILayer
	m := rawManifestOf(config, kernel.marked("org.unikraft.kernel.image", "/unikraft/bin/kernel"))
	s.put("alice/app", "latest", m)
	var items []string
	for i := range 150 {
		items = append(items, fmt.Sprintf(`{"tag":"x:%d/alice/app"}`, i))
	}
	for _, path := range []string{"/v1/images", "/v1/images/list"} {
		begin := time.Now()
		a := s.ask(200, "GET", path, "["+strings.Join(items, ",")+"]")
		t.Logf("%d bytes asked, %d KiB answered in %v", len(strings.Join(items, ",")), len(a.body)>>10, time.Since(begin))
		if len(a.body) > 3<<20 {
			t.Errorf("%s: %d MiB of answer", path, len(a.body)>>20)
		}
		if n := strings.Count(string(a.body), rawDigest(m)+`"`); n != 1 && path == "/v1/images/list" {
			t.Errorf("%s: the image is there %d times", path, n)
		}
	}
}
