package catalog

import "context"

// Upkeep is what the background does once a minute.
func (c *Catalog) Upkeep(ctx context.Context) { c.upkeep(ctx) }
