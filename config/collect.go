package config

import "time"

// Collect configures how what nothing refers to any more is removed.
type Collect struct {
	Enabled bool
	// Lease is how long something stays that nothing refers to, Quarantine how long
	// its bytes are kept after that, Uploads how long an upload stays that nobody goes
	// on with.
	Lease      time.Duration
	Quarantine time.Duration
	Uploads    time.Duration
	// Interval is the time between two sweeps, Search that between two searches for
	// bytes that nobody knows of.
	Interval time.Duration
	Search   time.Duration
	// Rate is in bytes a second, Operations in things a second.
	Rate       Size
	Operations int
	// Share is the part of the time, in percent, that a sweep is at work while clients
	// write.
	Share int
}

func defaultCollect() Collect {
	return Collect{
		Enabled: true, Lease: time.Hour, Quarantine: 24 * time.Hour, Uploads: 24 * time.Hour,
		Interval: time.Minute, Search: 24 * time.Hour, Rate: 256 << 20, Operations: 500, Share: 10,
	}
}

func (g *Collect) settings() []setting {
	return []setting{
		{path: "collect.enabled", field: &g.Enabled,
			doc: "Remove what nothing refers to any more, in the background. Without it, only `berth gc` does."},
		{path: "collect.lease", field: &g.Lease,
			doc: "How long a blob stays that nothing refers to: longer than any client takes from its first blob to its manifest, and than the URL of a redirect lives. Only time in which berth runs counts."},
		{path: "collect.quarantine", field: &g.Quarantine,
			doc: "How long the bytes are kept after that, out of the way, from where a late push or `berth fsck --repair` brings them back; 0 frees them at once."},
		{path: "collect.uploads", field: &g.Uploads,
			doc: "How long an upload stays that nobody goes on with; a restart begins it anew."},
		{path: "collect.interval", field: &g.Interval,
			doc: "Time between two sweeps; one that finds nothing costs a look into the index."},
		{path: "collect.search", field: &g.Search,
			doc: "Time between two searches, through the names of all that is stored, for bytes that the index knows nothing of; the first is after the index was built."},
		{path: "collect.rate", field: &g.Rate,
			doc: "Bytes a second that are removed, on average."},
		{path: "collect.operations", field: &g.Operations,
			doc: "Blobs and links a second that are removed, on average."},
		{path: "collect.share", field: &g.Share,
			doc: "Percent of the time that a sweep is at work at most while clients write to local files, so that they wait no longer for it; 100 for as fast as it may."},
	}
}

// redirectLife is how long the URL lives to which a bucket's blobs are redirected.
const redirectLife = 20 * time.Minute

func (c *Config) checkCollect(p *problems) {
	g := &c.Collect
	if g.Lease < time.Second {
		c.problem(p, "collect.lease", "%s is too short: what clients are pushing would be removed; at least 1s, and an hour is right for most", formatDuration(g.Lease))
	}
	redirects := c.Storage.Driver == "s3" && (c.Storage.Redirect.Disable == nil || !*c.Storage.Redirect.Disable)
	if redirects && g.Lease < redirectLife {
		c.problem(p, "collect.lease", "%s is shorter than the %s that a URL lives which clients were redirected to; make it longer, or set storage.redirect.disable", formatDuration(g.Lease), formatDuration(redirectLife))
	}
	if g.Quarantine < 0 {
		c.problem(p, "collect.quarantine", "%s is negative; 0 keeps nothing", formatDuration(g.Quarantine))
	}
	if g.Uploads < time.Minute {
		c.problem(p, "collect.uploads", "%s is too short: uploads that are still running would be removed; at least 1m", formatDuration(g.Uploads))
	}
	if g.Interval < time.Second {
		c.problem(p, "collect.interval", "%s is too short; at least 1s", formatDuration(g.Interval))
	}
	if g.Search < time.Minute {
		c.problem(p, "collect.search", "%s is too short; at least 1m", formatDuration(g.Search))
	}
	if g.Rate < 1<<10 {
		c.problem(p, "collect.rate", "%s is less than 1KiB; collect.enabled turns it off", g.Rate)
	}
	if g.Operations < 1 {
		c.problem(p, "collect.operations", "%d is less than 1; collect.enabled turns it off", g.Operations)
	}
	if g.Share < 1 || g.Share > 100 {
		c.problem(p, "collect.share", "%d is no percentage from 1 to 100; collect.enabled turns it off", g.Share)
	}
}
