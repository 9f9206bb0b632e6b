package operation

import (
	"net/http"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// TestProfiles asks a berth for profiles that serves them, one that does not,
// and starts one that would show them to others.
func TestProfiles(t *testing.T) {
	t.Parallel()
	address := harness.FreeAddress(t)
	b := harness.Start(t, harness.WithEnv("BERTH_DEBUG_LISTEN="+address))
	debug := harness.NewClient("http://" + address)
	if got := string(debug.Get(t, "/debug/pprof/goroutine?debug=1", "")); !strings.Contains(got, "goroutine profile: total") {
		t.Errorf("got %.300s", got)
	}
	if got := string(debug.Get(t, "/metrics", "")); !strings.Contains(got, "go_sched_latencies_seconds") {
		t.Errorf("got %.300s", got)
	}
	b.Must(t, http.StatusNotFound, http.MethodGet, "/debug/pprof/", nil)

	_, stderr, code := harness.CommandLine(t, []string{"BERTH_DEBUG_LISTEN=0.0.0.0:6060"}, "serve", "--listen", harness.FreeAddress(t))
	if code == 0 || !strings.Contains(stderr, "debug.listen: 0.0.0.0:6060 can be reached from other machines") {
		t.Errorf("profiles for others: exited with %d and said %s", code, stderr)
	}
}
