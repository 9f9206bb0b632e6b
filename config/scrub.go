package config

import "time"

// Scrub configures the reading of all stored bytes in the background.
type Scrub struct {
	// Enabled is nil for what suits the driver.
	Enabled *bool
	// Rate is in bytes a second, Operations in blobs a second.
	Rate       Size
	Operations int
	// Interval is from the beginning of one pass to that of the next.
	Interval time.Duration
}

func (s *Scrub) settings() []setting {
	return []setting{
		{path: "scrub.enabled", field: &s.Enabled, byDefault: "true for filesystem, else false",
			doc: "Read all stored bytes again, slowly, in the background, and move what is damaged into quarantine. A bucket may have its reads paid for."},
		{path: "scrub.rate", field: &s.Rate,
			doc: "Bytes a second that are read so, on average."},
		{path: "scrub.operations", field: &s.Operations,
			doc: "Blobs a second that are read so, on average."},
		{path: "scrub.interval", field: &s.Interval,
			doc: "Time from the beginning of one pass over everything to that of the next, at least 1h."},
	}
}

func (c *Config) checkScrub(p *problems) {
	if n := c.Scrub.Rate; n < 1<<10 {
		c.problem(p, "scrub.rate", "%s is less than 1KiB; scrub.enabled turns it off", n)
	}
	if n := c.Scrub.Operations; n < 1 {
		c.problem(p, "scrub.operations", "%d is less than 1; scrub.enabled turns it off", n)
	}
	if n := c.Scrub.Interval; n < time.Hour {
		c.problem(p, "scrub.interval", "%s is too short; at least 1h", formatDuration(n))
	}
}
