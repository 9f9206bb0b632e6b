package faults

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
	"github.com/berth-oci/berth/test/writers"
)

// TestKilledWhileCollecting kills berth while clients work and collection and scrub
// run without a rest: what was acknowledged is there after every start, fsck finds
// nothing in the end, and what nobody needs is gone.
func TestKilledWhileCollecting(t *testing.T) {
	harness.Long(t, "collect", "20 rounds, or 200, of kills")
	t.Parallel()
	rounds := harness.Rounds("collect", 0, 20)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	// Only time in which berth runs counts, and no client takes as long as that from a
	// blob to its manifest.
	b := harness.Start(t, harness.WithArgs("--log-level", "warn"), harness.WithEnv(
		"BERTH_COLLECT_SHARE=100", "BERTH_COLLECT_LEASE=4s", "BERTH_COLLECT_QUARANTINE=1s", "BERTH_COLLECT_INTERVAL=1s", "BERTH_COLLECT_SEARCH=1m",
		"BERTH_SCRUB_ENABLED=true", "BERTH_SCRUB_RATE=64MiB", "BERTH_SCRUB_OPERATIONS=1000", "BERTH_SCRUB_INTERVAL=1h"))
	crew := writers.NewCrew(b, seed)
	var freed float64
	for round := range rounds {
		wait := crew.Work(t)
		time.Sleep(time.Duration(rnd.IntN(1500)) * time.Millisecond)
		n, err := strconv.ParseFloat(harness.Metrics(t, b)[`berth_collect_freed_bytes_total{reason="unreferenced"}`], 64)
		if err != nil {
			t.Fatal(err)
		}
		freed += n
		b.Kill()
		wait()
		crew.Client.HTTP.CloseIdleConnections()
		b.Restart()
		crew.Verify(t)
		crew.PullHeld(t)
		crew.ForgetBlobs()
		if t.Failed() {
			t.Fatalf("in round %d\n%s", round, b.Log)
		}
	}
	harness.WantCollected(t, b)
	crew.Verify(t)
	crew.PullHeld(t)
	if stdout, stderr, code := harness.CommandLine(t, b.Env, "fsck", "--deep", "--data", b.Data); code != 0 {
		t.Errorf("fsck exited with %d: %s%s", code, stdout, stderr)
	}
	b.Must(t, http.StatusOK, http.MethodGet, "/readyz", nil)
	t.Logf("%d steps in %d rounds, %.0f bytes freed meanwhile", crew.Steps, rounds, freed)
	harness.CompareRebuilt(t, b)
}
