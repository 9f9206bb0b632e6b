package catalog

import (
	"context"
	"time"
)

const (
	// upkeepEvery is how often the feed is trimmed, and noted how far it has come.
	upkeepEvery = time.Minute
	// trimStep is how many records one transaction forgets.
	trimStep = 1000
	// DefaultKeepChanges and DefaultKeepAge are how many changes the feed keeps, and
	// how long, unless KeepChanges says otherwise.
	DefaultKeepChanges = 1_000_000
	DefaultKeepAge     = 30 * 24 * time.Hour
)

// KeepChanges says how many changes the feed keeps, and how long. It is called
// before there are any.
func (c *Catalog) KeepChanges(n int64, age time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep, c.keepAge = n, age
}

// upkeep looks after the feed.
func (c *Catalog) upkeep(ctx context.Context) {
	if err := c.trim(ctx); err != nil && ctx.Err() == nil {
		c.log.Error("old changes are not forgotten", "error", err)
	}
	if now := time.Now(); now.Sub(c.pulls.last) >= flushPulls {
		if err := c.writePulls(ctx, now); err != nil && ctx.Err() == nil {
			c.log.Error("pulls are not counted", "error", err)
		}
	}
	if err := c.noteRevision(ctx); err != nil && ctx.Err() == nil {
		c.log.Error("how far the index has come is not noted in storage", "error", err)
	}
}

// trim forgets what is kept no longer, in steps that nobody waits for long.
func (c *Catalog) trim(ctx context.Context) error {
	c.mu.Lock()
	keep, before := c.keep, time.Now().Add(-c.keepAge)
	c.mu.Unlock()
	for more := true; more && ctx.Err() == nil; {
		var err error
		if more, err = c.index.Trim(ctx, keep, before, trimStep); err != nil {
			return err
		}
	}
	return nil
}
