package spec

import (
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// TestConformance runs the suite against berth, open and with accounts: as
// version 1.1, and as the next one with everything on. Where TEST_REQUIRE does not ask
// for conformance, 1.1 is tried open and the next one with accounts.
func TestConformance(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, version string
		atLeast       int
		settings      []string
		berth         []harness.Option
	}{
		{"1.1", "1.1", 840, nil, nil},
		{"dev", "dev", 1000, harness.ConformanceExtras, []harness.Option{harness.WithEnv("BERTH_REGISTRY_MISSING_LAYERS=true")}},
	} {
		for _, closed := range []bool{false, true} {
			name, settings, options := c.name+"/open", c.settings, c.berth
			if closed {
				name = c.name + "/accounts"
			}
			t.Run(name, func(t *testing.T) {
				if closed != (c.version == "dev") {
					harness.Long(t, "conformance", "the suite runs twice without it, once for each version")
				}
				t.Parallel()
				b := harness.Start(t, options...)
				if closed {
					secret := harness.AddAccount(t, b, "conformance").Secret
					settings = append([]string{"OCI_USERNAME=conformance", "OCI_PASSWORD=" + secret}, settings...)
				}
				harness.Conformance(t, b, c.version, c.atLeast, settings...)
			})
		}
	}
}
