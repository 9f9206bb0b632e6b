package harness

import (
	"testing"
)

func TestUUIDV5(t *testing.T) {
	// The example of RFC 9562, appendix A.4.
	if got := uuidV5("6ba7b810-9dad-11d1-80b4-00c04fd430c8", "www.example.com"); got != "2ed6657d-e927-568b-95e1-2665a8aea6a2" {
		t.Errorf("got %s", got)
	}
	const want = "051a49b9-f1fe-5b87-87e5-5fbdb6286b70"
	if got := UUIDOf("alice/hello", HelloDigest); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
