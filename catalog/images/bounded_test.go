package images

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/berth-oci/berth/registry/budget"
)

// TestBusy: where there is no room for what is read, the client is told to try
// again, and after that it is answered.
func TestBusy(t *testing.T) {
	t.Parallel()
	if !strings.Contains(os.Getenv("TEST_REQUIRE"), "stalling") {
		t.Skip("skipped: it waits until berth gives up; TEST_REQUIRE=stalling runs it")
	}
	const limit = 64 << 20
	m := budget.New(budget.Options{Limit: limit})
	server := serve(t, shop(), Options{Memory: m})
	busy := func(what, body string) {
		t.Helper()
		a := get(t, server.URL+"/v1/images", body)
		wantFailure(t, a, http.StatusServiceUnavailable, "try again")
		if a.header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", what)
		}
	}
	free, err := m.Work(t.Context(), limit)
	if err != nil {
		t.Fatal(err)
	}
	busy("a list", "")
	busy("a lookup", `{"tag":"bob/app"}`)
	free()
	large := m.Hold()
	if err := large.Grow(t.Context(), limit/4+64<<10); err != nil {
		t.Fatal(err)
	}
	busy("a large body", `{"tag":"bob/app"}`+strings.Repeat(" ", 512<<10))
	if a := get(t, server.URL+"/v1/images", `{"tag":"bob/app"}`); a.code != http.StatusOK {
		t.Errorf("a small body: %d %s", a.code, a.raw)
	}
	large.Release()
	if a := get(t, server.URL+"/v1/images", `{"tag":"bob/app"}`+strings.Repeat(" ", 512<<10)); a.code != http.StatusOK {
		t.Errorf("a large body after that: %d %s", a.code, a.raw)
	}
	if m.Used() != 0 {
		t.Errorf("%d bytes are held by nobody", m.Used())
	}
}
