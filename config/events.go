package config

import "time"

// Events configures the feed of changes.
type Events struct {
	// Keep is how many changes are kept, and Age how long.
	Keep int
	Age  time.Duration
}

func (e *Events) settings() []setting {
	return []setting{
		{path: "events.keep", field: &e.Keep,
			doc: "How many changes are kept for those who follow them, at least 1000; each takes about 150 bytes of the index. Who comes back later lists again."},
		{path: "events.age", field: &e.Age,
			doc: "How long changes are kept, at least 1h."},
	}
}

func (c *Config) checkEvents(p *problems) {
	if n := c.Events.Keep; n < 1000 {
		c.problem(p, "events.keep", "%d is less than 1000, which a busy minute may have", n)
	}
	if d := c.Events.Age; d < time.Hour {
		c.problem(p, "events.age", "%s is too short; at least 1h", formatDuration(d))
	}
}
