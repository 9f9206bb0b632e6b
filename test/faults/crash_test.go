// Package faults has berth killed, stopped and out of space, and its clients all at
// once: what was acknowledged must be there, whole, and in the next answer.
package faults

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
	"github.com/berth-oci/berth/test/writers"
)

// TestKilledAtAnyMoment pushes, re-tags and deletes, and kills berth in the
// middle of it, again and again.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	rounds := harness.Rounds("crash", 3, 50)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	b := harness.Start(t, harness.WithArgs("--log-level", "warn"))
	crew := writers.NewCrew(b, seed)
	pulled := map[string]bool{}
	for round := range rounds {
		wait := crew.Work(t)
		time.Sleep(time.Duration(rnd.IntN(700)) * time.Millisecond)
		b.Kill()
		wait()
		crew.Client.HTTP.CloseIdleConnections()
		b.Restart()
		crew.Verify(t)
		crew.PullBlobs(t, pulled)
		if t.Failed() {
			t.Fatalf("in round %d\n%s", round, b.Log)
		}
	}
	crew.PullBlobs(t, map[string]bool{})
	t.Logf("%d steps in %d rounds", crew.Steps, rounds)
	harness.CompareRebuilt(t, b)
}
