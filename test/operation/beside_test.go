package operation

import (
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// TestAccountBesideServe adds an account while berth runs: the command leaves
// alone what that is writing, and it ends well.
func TestAccountBesideServe(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	if _, err := b.Push("alice/app", "v1", harness.NewImage("k", "before")); err != nil {
		t.Fatal(err)
	}
	alice := harness.AddAccount(t, b, "alice")
	if _, err := alice.On(b).Push("alice/app", "v2", harness.NewSizedImage("k", "after", 1<<20)); err != nil {
		t.Errorf("after the command: %v", err)
	}
	b.Stop()
	b.Restart()
	for _, tag := range []string{"v1", "v2"} {
		if d, err := alice.On(b).DigestOf("alice/app", tag); err != nil || d == "" {
			t.Errorf("%s is %q, %v", tag, d, err)
		}
	}
}
