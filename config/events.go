package config

import "time"

// Events configures the feed of changes, and who is told of them.
type Events struct {
	// Keep is how many changes are kept, and Age how long.
	Keep int
	Age  time.Duration
	// InternalNetworks are those inside the network to which webhooks may send.
	InternalNetworks Networks
	// Timeout is how long a webhook's receiver may take for an event.
	Timeout time.Duration
	// Webhooks are the receivers, by names of the operator's.
	Webhooks map[string]*Webhook
}

func (e *Events) settings() []setting {
	return append([]setting{
		{path: "events.keep", field: &e.Keep,
			doc: "How many changes are kept for those who follow them, at least 1000; each takes about 150 bytes of the index. Who comes back later lists again."},
		{path: "events.age", field: &e.Age,
			doc: "How long changes are kept, at least 1h."},
		{path: "events.internal_networks", field: &e.InternalNetworks,
			doc: "Addresses and networks to which webhooks may send although they are inside the network: loopback, private, link-local. Names are looked at once they are resolved."},
		{path: "events.timeout", field: &e.Timeout,
			doc: "How long the receiver of a webhook may take for an event, with its answer, from 1s to 1m."},
	}, e.webhookSettings()...)
}

func (c *Config) checkEvents(p *problems) {
	if n := c.Events.Keep; n < 1000 {
		c.problem(p, "events.keep", "%d is less than 1000, which a busy minute may have", n)
	}
	if d := c.Events.Age; d < time.Hour {
		c.problem(p, "events.age", "%s is too short; at least 1h", formatDuration(d))
	}
	if d := c.Events.Timeout; d < time.Second || d > time.Minute {
		c.problem(p, "events.timeout", "%s is not between 1s and 1m", formatDuration(d))
	}
	c.checkWebhooks(p)
}
