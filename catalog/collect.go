package catalog

import (
	"context"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage"
)

// What the collector takes away, it takes away here, so that index and storage go
// together. Whoever is about to use something relies on it (see storage.Store
// Rely), and what is relied on is left for another time; so is what has been
// renewed or referred to since it was listed, which is looked at once more when
// nobody can rely on it. The lease of a repository is taken before its digests, and
// nobody ever waits for those while something is taken away.

// errUnsettled is why nothing is swept.
var errUnsettled error = &storage.Error{Code: storage.Unavailable, Message: "a change is not completed yet: until then it is not known what refers to what"}

// Uptime is the time by which it is measured how long something is idle, see
// [storage.Uptime]. Tick writes it down.
func (c *Catalog) Uptime() storage.Uptime { return c.index.Uptime() }

// Tick is that of [index.Idler].
func (c *Catalog) Tick(ctx context.Context) error { return c.index.Tick(ctx) }

// IdleBefore is that of [index.Idler].
func (c *Catalog) IdleBefore(ctx context.Context, kind storage.IdleKind, before storage.Uptime, after string, n int) ([]storage.Idle, error) {
	return c.index.IdleBefore(ctx, kind, before, after, n)
}

// Renew is that of [index.Idler].
func (c *Catalog) Renew(ctx context.Context, repository string, d digest.Digest) error {
	return c.index.Renew(ctx, repository, d)
}

// Kept is that of [index.Idler].
func (c *Catalog) Kept(ctx context.Context) (int64, error) { return c.index.Kept(ctx) }

// Settled returns an error as long as a change is not completed: what the index
// says of references may then be less than storage does.
func (c *Catalog) Settled(ctx context.Context) error {
	c.mu.Lock()
	unsettled := len(c.unsettled) > 0 || c.settling > 0
	c.mu.Unlock()
	if unsettled {
		return errUnsettled
	}
	for _, err := range c.index.Abandoned(ctx) {
		if err == nil {
			err = errUnsettled
		}
		return err
	}
	return nil
}

// settled ends that a repository is being settled, or made anew.
func (c *Catalog) settled() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settling--
}

// aloneWith takes those digests alone that it can have.
func (c *Catalog) aloneWith(as storage.Guard, digests []digest.Digest) (mine []digest.Digest, release func()) {
	var all []func()
	for _, d := range digests {
		if slices.Contains(mine, d) || c.store.Settling(d) {
			continue // damage is not forgotten before it is healed
		}
		if one, ok := c.store.Alone(as, d); ok {
			mine, all = append(mine, d), append(all, one)
		}
	}
	return mine, func() {
		for _, one := range all {
			one()
		}
	}
}

// UnlinkIdle takes links off a repository that have been idle since before a time,
// and returns which: first off the index, then out of storage. One that a link by
// another digest needs stays.
func (c *Catalog) UnlinkIdle(ctx context.Context, repository string, links []storage.Idle, before storage.Uptime) ([]digest.Digest, error) {
	tx, err := c.Begin(ctx, repository)
	if err != nil {
		return nil, err
	}
	defer tx.Close()
	digests := make([]digest.Digest, 0, len(links))
	aliased := make(map[digest.Digest]bool)
	for _, l := range links {
		digests = append(digests, l.Digest)
		aliased[l.Digest] = l.Aliased && l.Digest.Algorithm() == digest.Canonical
	}
	mine, release := c.aloneWith(storage.GuardSweep, digests)
	defer release()
	var going []digest.Digest
	for _, d := range mine {
		needed := false
		if aliased[d] {
			if needed, err = tx.isAliased(ctx, d); err != nil {
				return nil, err
			}
		}
		if !needed {
			going = append(going, d)
		}
	}
	if len(going) == 0 {
		return nil, nil
	}
	return tx.unlinkIdle(ctx, going, before)
}

// isAliased reports whether a link by another digest needs that by the canonical
// one, which is then not idle.
func (t *Tx) isAliased(ctx context.Context, d digest.Digest) (bool, error) {
	aliases, err := t.stored().BlobAliases(ctx, d)
	if err != nil || len(aliases) == 0 {
		return false, err
	}
	return true, t.catalog.index.Renew(ctx, t.lease.Repository, d)
}

func (t *Tx) unlinkIdle(ctx context.Context, links []digest.Digest, before storage.Uptime) ([]digest.Digest, error) {
	c, repository := t.catalog, t.lease.Repository
	// What happens from here on is looked at again if it does not come to its end.
	notes, err := c.store.NoteLinks(ctx, repository, links)
	if err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx)
	gone, err := c.index.UnlinkIdle(ctx, t.lease, links, before)
	if err == nil && len(gone) > 0 {
		err = c.store.UnlinkBlobs(ctx, repository, gone)
	}
	for _, note := range notes {
		if err != nil {
			c.leave(note, "")
		} else {
			note.Forget()
		}
	}
	if err != nil {
		return nil, failed("take idle links off", repository, err)
	}
	return gone, nil
}

// DeleteIdle deletes a manifest of a repository that has been left behind since
// before a time, and reports whether it did.
func (c *Catalog) DeleteIdle(ctx context.Context, repository string, d digest.Digest, before storage.Uptime) (deleted bool, err error) {
	tx, err := c.Begin(ctx, repository)
	if err != nil {
		return false, err
	}
	defer tx.Close()
	names, err := c.index.Aliases(ctx, repository, d)
	if err != nil {
		return false, err
	}
	names = append(names, d)
	mine, release := c.aloneWith(storage.GuardSweep, names)
	defer release()
	if len(mine) < len(names) {
		return false, nil
	}
	if idle, err := c.index.IsIdle(ctx, repository, d, before); !idle || err != nil {
		return false, err
	}
	intent, err := tx.planDelete(ctx, d)
	if err != nil {
		return false, err
	}
	return true, tx.remove(ctx, intent)
}

// Sweep takes away those of some bytes that have been idle since before a time,
// with keep into quarantine, and returns the sizes of what went, in bytes.
func (c *Catalog) Sweep(ctx context.Context, digests []digest.Digest, before storage.Uptime, keep bool) (map[digest.Digest]int64, error) {
	mine, release := c.aloneWith(storage.GuardSweep, digests)
	defer release()
	// After that, since who is alone has also waited for who could not complete a
	// link.
	if err := c.Settled(ctx); err != nil {
		return nil, err
	}
	loose, held, err := c.index.Loose(ctx, mine, before, false)
	if err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx)
	if len(held) > 0 {
		if _, err := c.index.Dispose(ctx, held, false); err != nil {
			return nil, err
		}
	}
	if len(loose) == 0 {
		return nil, nil
	}
	sizes, err := c.store.Sweep(ctx, loose, keep)
	if err != nil {
		return nil, err
	}
	held, err = c.index.Dispose(ctx, loose, keep)
	if err != nil {
		return sizes, err
	}
	for _, d := range held { // nobody could, but to be wrong here would lose it
		c.log.Error("what was swept is linked: it is brought back", "digest", d)
		delete(sizes, d)
		if _, err := c.store.BringBack(ctx, d); err != nil {
			return sizes, err
		}
	}
	return sizes, nil
}

// Loose returns which of some bytes Sweep would take away.
func (c *Catalog) Loose(ctx context.Context, digests []digest.Digest, before storage.Uptime) ([]digest.Digest, error) {
	loose, _, err := c.index.Loose(ctx, digests, before, false)
	return loose, err
}

// Empty removes for good those of some bytes that have been in quarantine since
// before a time, and returns the sizes of what went, in bytes.
func (c *Catalog) Empty(ctx context.Context, digests []digest.Digest, before storage.Uptime) (map[digest.Digest]int64, error) {
	mine, release := c.aloneWith(storage.GuardEmpty, digests)
	defer release()
	old, _, err := c.index.Loose(ctx, mine, before, true)
	if err != nil || len(old) == 0 {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx)
	sizes, err := c.store.EmptyCollected(ctx, old)
	if err != nil {
		return nil, err
	}
	return sizes, c.index.Emptied(ctx, old, before)
}

// Adopt notes as idle those of the stored digests that nobody holds and nobody
// knows of; kept says that they are in quarantine.
func (c *Catalog) Adopt(ctx context.Context, digests []digest.Digest, kept bool) (n int, err error) {
	strays, err := c.index.Strays(ctx, digests, kept)
	if err != nil || len(strays) == 0 {
		return 0, err
	}
	sizes, err := c.store.SizesOf(ctx, strays, kept)
	if err != nil {
		return 0, err
	}
	return len(sizes), c.index.Adopt(ctx, sizes, kept)
}

// BringBack brings a blob back that was collected and is still in quarantine, and
// links it again, if the namespace had it last, and reports whether it did. The
// caller relies on the digest.
func (t *Tx) BringBack(ctx context.Context, d digest.Digest) (bool, error) {
	c, repository := t.catalog, t.lease.Repository
	if d.Algorithm() != digest.Canonical {
		return false, nil
	}
	left, err := c.index.Left(ctx, repository, d)
	if err != nil || !left {
		return false, err
	}
	there, err := c.store.BringBack(ctx, d)
	if err != nil || !there {
		return false, err
	}
	var note *storage.Note
	err = c.store.Together(ctx, func(ctx context.Context) (err error) {
		if note, err = c.store.NoteLink(ctx, repository, d); err != nil {
			return err
		}
		return c.store.LinkBlob(ctx, repository, d, d)
	})
	if err == nil {
		err = t.relink(context.WithoutCancel(ctx), d, "")
	}
	switch {
	case err == nil:
		note.Forget()
		c.log.Info("what was collected is referred to after all, and back", "repository", repository, "digest", d)
	case note != nil:
		c.leave(note, "")
	}
	return err == nil, err
}
