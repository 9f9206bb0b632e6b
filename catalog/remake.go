package catalog

import (
	"context"
)

// Reread makes the index say of a repository what storage says, for what either
// has by name.
func (c *Catalog) Reread(ctx context.Context, repository string) error {
	return c.read(ctx, repository)
}

// Remake takes all of a repository off the index, and reads it anew from storage.
// For a moment the repository is not there.
func (c *Catalog) Remake(ctx context.Context, repository string) error {
	tx, err := c.Begin(ctx, repository)
	if err != nil {
		return err
	}
	defer tx.Close()
	// What remains to be done is found by the next start, should this one end here.
	if err := c.index.MarkDirty(ctx, repository); err != nil {
		return failed("note the change of", repository, err)
	}
	if err := tx.remake(ctx); err != nil {
		c.leaveWhole(repository)
		return err
	}
	return nil
}

func (t *Tx) remake(ctx context.Context) error {
	// What is off the index looks as if nobody needed it.
	t.catalog.mu.Lock()
	t.catalog.settling++
	t.catalog.mu.Unlock()
	defer t.catalog.settled()
	x, repository := t.catalog.index, t.lease.Repository
	if err := t.takeOff(ctx); err != nil {
		return err
	}
	if err := t.reconcile(ctx); err != nil {
		return err
	}
	if err := x.ClearDirty(ctx, repository); err != nil {
		return failed("note that all has been read of", repository, err)
	}
	return nil
}

// Alone runs fn while no other change of a repository happens, and what was left
// unfinished there has been completed.
func (c *Catalog) Alone(ctx context.Context, repository string, fn func() error) error {
	tx, err := c.Begin(ctx, repository)
	if err != nil {
		return err
	}
	defer tx.Close()
	return fn()
}
