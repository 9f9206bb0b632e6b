package harness

import (
	"encoding/json"
	"testing"
	"time"
)

// WantCollected waits until berth gc status says that nothing waits to be collected.
func WantCollected(t testing.TB, b *Berth) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		stdout, stderr, code := CommandLine(t, b.Env, "gc", "status", "--data", b.Data, "--output", "json")
		var status struct {
			Uncollected int64 `json:"uncollected_bytes"`
		}
		if err := json.Unmarshal([]byte(stdout), &status); err != nil || code != 0 {
			t.Fatalf("gc status: %d %q %q", code, stdout, stderr)
		}
		if status.Uncollected == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("it is never collected: %s\n%s", stdout, b.Log)
		}
	}
}
