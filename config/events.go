package config

import "time"

// Events configures who is told of changes.
type Events struct {
	// InternalNetworks are those inside the network to which webhooks may send.
	InternalNetworks Networks
	// Timeout is how long a webhook's receiver may take for an event.
	Timeout time.Duration
	// Webhooks are the receivers, by names of the operator's.
	Webhooks map[string]*Webhook
}

func (e *Events) settings() []setting {
	return append([]setting{
		{path: "events.internal_networks", field: &e.InternalNetworks,
			doc: "Addresses and networks to which webhooks may send although they are inside the network: loopback, private, link-local. Names are looked at once they are resolved."},
		{path: "events.timeout", field: &e.Timeout,
			doc: "How long the receiver of a webhook may take for an event, with its answer, from 1s to 1m."},
	}, e.webhookSettings()...)
}
