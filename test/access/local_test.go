package access

import (
	"testing"

	"github.com/berth-oci/berth/registry/access"
	"github.com/berth-oci/berth/test/harness"
)

// TestLocalTokenForwarded signs a token of a local command, as who has got hold of
// the secret could: it is good on this machine, and not through a proxy on it,
// trusted or not.
func TestLocalTokenForwarded(t *testing.T) {
	t.Parallel()
	const secret = "0f8e3c1d9a7b5264f1e0d3c2b5a49687786950413223140516f7e8d9cabbac9d"
	for _, proxies := range []string{"", "127.0.0.1"} {
		b := harness.Start(t, harness.WithEnv("BERTH_HTTP_SECRET="+secret, "BERTH_HTTP_TRUSTED_PROXIES="+proxies))
		harness.AddAccount(t, b, "alice")
		c := harness.NewClient(b.URL)
		authorization := "Bearer " + access.NewGate(nil, access.GateOptions{Secret: []byte(secret)}).SignLocal("alice")
		for header, want := range map[string]int{
			"": 200, "X-Forwarded-For": 401, "X-Forwarded-Proto": 401, "Forwarded": 401, "Via": 401, "X-Real-Ip": 401, "X-Forwarded-Server": 401,
		} {
			headers := []string{"Authorization", authorization}
			if header != "" {
				headers = append(headers, header, "192.0.2.1")
			}
			a, err := c.Do("GET", "/v1/users/quotas", nil, headers...)
			if err != nil {
				t.Fatal(err)
			}
			if a.Status != want {
				t.Errorf("trusted proxies %q, with %q: %d, want %d", proxies, header, a.Status, want)
			}
		}
	}
}
