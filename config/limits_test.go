package config

import (
	"strings"
	"testing"
)

// TestLimitsRefused sets limits that would be none.
func TestLimitsRefused(t *testing.T) {
	for _, line := range []string{
		"HTTP_TIMEOUTS_STALL=0s", "HTTP_TIMEOUTS_STALL=999ms", "HTTP_TIMEOUTS_REQUEST=0s", "HTTP_LIMITS_MINIMUM_RATE=0",
		"HTTP_LIMITS_MINIMUM_RATE=2MiB", "HTTP_LIMITS_CONNECTIONS=-1", "HTTP_LIMITS_CONNECTIONS_PER_CLIENT=-1",
		"HTTP_LIMITS_REQUESTS=-1", "HTTP_LIMITS_UPLOADS=-1", "HTTP_LIMITS_REQUESTS_PER_ACCOUNT=-1",
		"HTTP_LIMITS_UPLOADS_PER_ACCOUNT=-1", "HTTP_LIMITS_STREAMS=-1", "HTTP_LIMITS_STREAMS_PER_ACCOUNT=-1", "EVENTS_KEEP=999", "EVENTS_AGE=59m", "LIMITS_MEMORY_PER_ACCOUNT=7MiB", "LIMITS_OPEN_UPLOADS=-1", "LOG_FILE=" + t.TempDir(),
	} {
		c, err := Load("", []string{EnvPrefix + line})
		if err != nil {
			t.Fatal(err)
		}
		name, _, _ := strings.Cut(EnvPrefix+line, "=")
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", line, err)
		}
	}
	c, err := Load("", []string{"BERTH_HTTP_LIMITS_CONNECTIONS=0", "BERTH_HTTP_TIMEOUTS_STALL=1s", "BERTH_HTTP_LIMITS_MINIMUM_RATE=1"})
	if err != nil || c.Validate() != nil {
		t.Errorf("%v, %v", err, c.Validate())
	}
}
