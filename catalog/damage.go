package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage"
)

// What was stored under a digest and did not have it is in quarantine, and not
// stored any more. The index then says of every repository that has the digest
// what storage says: the blob, or the manifest with its tags, is missing. Once
// the right bytes have come, with a push to any repository, it is there again
// for all that had it. Both are done in the background, and go on after a
// restart: who has the digest is noted in quarantine before the index forgets.

// watchDamage has what becomes of damage told to the index.
func (c *Catalog) watchDamage() {
	c.store.Watch(func(f storage.Finding) {
		c.mu.Lock()
		c.damaged[f.Digest] = struct{}{}
		c.mu.Unlock()
		c.wakeUp()
	})
}

// recoverDamage takes up what earlier processes knew of damage, and hears of what
// comes. The catalog of an index that is only being built does neither.
func (c *Catalog) recoverDamage(ctx context.Context) error {
	c.watchDamage()
	left, err := c.store.Unhealed(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range left {
		c.damaged[f.Digest] = struct{}{}
	}
	return nil
}

// settleDamage tells the index of every digest whose bytes went or came.
func (c *Catalog) settleDamage(ctx context.Context) error {
	c.mu.Lock()
	var all []digest.Digest
	for d := range c.damaged {
		all = append(all, d)
		delete(c.damaged, d) // what happens meanwhile puts it on again
	}
	c.mu.Unlock()
	var errs []error
	for _, d := range all {
		if err := c.settleDigest(ctx, d); err != nil {
			c.mu.Lock()
			c.damaged[d] = struct{}{}
			c.mu.Unlock()
			errs = append(errs, fmt.Errorf("tell the index of %s: %w", d, err))
		}
	}
	return errors.Join(errs...)
}

// SettleDamage tells the index what has become of the bytes of a digest, for who does
// not want to wait for the background.
func (c *Catalog) SettleDamage(ctx context.Context, d digest.Digest) error {
	return c.settleDigest(ctx, d)
}

func (c *Catalog) settleDigest(ctx context.Context, d digest.Digest) error {
	// Bytes that come while the holders are read may have come too late for some.
	missing := c.store.Quarantined(d)
	holders, err := c.holdersOf(ctx, d)
	if err != nil {
		return err
	}
	for _, repository := range holders {
		if err := c.read(ctx, repository); err != nil {
			return err
		}
	}
	if missing || c.store.Quarantined(d) {
		return nil
	}
	return c.store.NoteHealed(ctx, d)
}

// linkedSize is the size of a blob that a repository links in storage, given what
// the index has, or storage.ErrNotFound. One that has another size than the index
// knows is looked at, since bytes of a digest do not change by themselves: the error
// is storage.ErrDamaged if they did.
func (c *Catalog) linkedSize(ctx context.Context, repository string, d digest.Digest, was int64, linked bool) (size int64, err error) {
	stored := c.store.Repository(repository)
	size, err = stored.Size(ctx, d)
	if err != nil || !linked || was == size {
		return size, err
	}
	canonical, err := stored.Canonical(ctx, d)
	if err != nil {
		return 0, err
	}
	return c.store.Examine(ctx, canonical, storage.ByRead)
}

// holdersOf returns the repositories for which a digest in quarantine matters,
// and notes them.
func (c *Catalog) holdersOf(ctx context.Context, d digest.Digest) ([]string, error) {
	left, err := c.store.Unhealed(ctx)
	if err != nil {
		return nil, err
	}
	var holders []string
	known := true
	for _, f := range left {
		if f.Digest == d {
			known = known && f.Holders != nil
			holders = append(holders, f.Holders...)
		}
	}
	if !known {
		now, err := c.store.Holding(ctx, d)
		if err != nil {
			return nil, err
		}
		holders = append(holders, now...)
	}
	slices.Sort(holders)
	holders = slices.Compact(holders)
	if known {
		return holders, nil
	}
	return holders, c.store.NoteHolders(ctx, d, append([]string{}, holders...))
}
