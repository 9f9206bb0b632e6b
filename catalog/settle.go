package catalog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
)

// A change that ends without being published leaves its intent in the index. It
// is completed by whoever takes the repository next: its next change, or the
// task in the background, which looks for such intents when a change has
// failed, now and then, and after the start. Until then nobody sees any of it.
//
// Where storage makes changes at once, the put of a manifest leaves no intent, but
// a note, which storage got with the manifest (see storage.Store ChangeNote): all
// of it is there, or nothing. What has become of it is then looked at.
//
// Two more things are kept here: that a blob has been linked in storage and could
// not be published, of which there is a note as well (NoteLink), and that an intent
// was refused, so that it must not be completed, should it be durable all the same.

// unsettled is what has to be done in a repository before its next change. The
// fields are guarded by Catalog.mu.
type unsettled struct {
	// refused is the fence of the change whose intent may be durable although
	// its owner was told that it is not.
	refused uint64
	// whole says that all of the repository has to be read again.
	whole bool
	// blobs have to be looked up again.
	blobs map[digest.Digest]struct{}
	// notes are those that say so, and are of no use once it is done.
	notes []*storage.Note
}

// at returns what is unsettled in a repository, made if needed. The caller holds
// mu.
func (c *Catalog) at(repository string) *unsettled {
	u := c.unsettled[repository]
	if u == nil {
		u = &unsettled{blobs: make(map[digest.Digest]struct{})}
		c.unsettled[repository] = u
	}
	return u
}

// refuse notes that the intent of a change must not happen.
func (c *Catalog) refuse(l index.Lease) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at(l.Repository).refused = l.Fence
	c.wakeUp()
}

// leave has what a note is about be looked at again, and if that is a blob, also by
// another digest of its bytes, unless that is "".
func (c *Catalog) leave(note *storage.Note, other digest.Digest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.wakeUp()
	u := c.at(note.Repository)
	u.notes = append(u.notes, note)
	if note.Change != nil {
		return
	}
	for _, d := range []digest.Digest{note.Digest, other} {
		if d != "" {
			u.blobs[d] = struct{}{}
		}
	}
	u.whole = u.whole || note.Digest == ""
}

// leaveWhole has all of a repository be read again.
func (c *Catalog) leaveWhole(repository string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at(repository).whole = true
	c.wakeUp()
}

// wakeUp has the background look for what is unfinished.
func (c *Catalog) wakeUp() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// settle completes what was begun in the repository, and does what is unsettled.
func (t *Tx) settle(ctx context.Context) error {
	c, repository := t.catalog, t.lease.Repository
	c.mu.Lock()
	u := c.unsettled[repository]
	delete(c.unsettled, repository) // what goes wrong meanwhile puts it on again
	c.settling++
	c.mu.Unlock()
	defer c.settled()
	if u == nil && t.lease.Left == nil {
		return nil
	}
	if u == nil {
		u = &unsettled{}
	}
	err := c.store.DoOwed()
	if err == nil {
		err = t.settleLeft(ctx, u.refused)
	}
	if err == nil {
		err = t.settlePuts(ctx, u.notes)
	}
	if err == nil {
		err = t.settleBlobs(ctx, u)
	}
	if err != nil {
		c.restore(repository, u)
	}
	return err
}

// settlePuts publishes the puts of manifests that have happened, as notes say, and
// are not published.
func (t *Tx) settlePuts(ctx context.Context, notes []*storage.Note) error {
	for _, n := range notes {
		if n.Change == nil {
			continue
		}
		happened, err := t.isLast(ctx, *n.Change)
		if err == nil && happened {
			err = t.publish(ctx, *n.Change, image.Manifest{}, "")
		}
		if err != nil {
			return failed("publish a put to", t.lease.Repository, err)
		}
	}
	return nil
}

// isLast reports whether the put of a manifest is the last that happened to it and
// to its tags, and may not be published. A note that is old is of what is long
// published, and maybe undone.
func (t *Tx) isLast(ctx context.Context, put storage.Intent) (bool, error) {
	stored := t.stored()
	there, err := stored.HasManifest(ctx, put.Put)
	if err != nil || !there {
		return false, err
	}
	if put.As != "" {
		canonical, err := stored.AliasOf(ctx, put.As)
		if notFound(err) || err == nil && canonical != put.Put {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	shown := len(put.Tags) > 0
	for _, tag := range put.Tags {
		d, moved, err := stored.Tag(ctx, tag)
		if notFound(err) || err == nil && d != put.Named() {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		known, err := t.catalog.TagTime(ctx, t.lease.Repository, tag)
		if err != nil && !notFound(err) {
			return false, err
		}
		shown = shown && err == nil && known.Equal(moved)
	}
	return !shown, nil
}

// settleBlobs reads again from storage what is unsettled: the links that notes
// name, or all of the repository.
func (t *Tx) settleBlobs(ctx context.Context, u *unsettled) error {
	c, repository := t.catalog, t.lease.Repository
	if u.whole {
		if err := t.reconcile(ctx); err != nil {
			return err
		}
		if err := c.index.ClearDirty(ctx, repository); err != nil {
			return failed("note that all has been read of", repository, err)
		}
		c.log.Info("repository read again from storage", "repository", repository)
	}
	for d := range u.blobs {
		if u.whole {
			break
		}
		if err := t.relinkNoted(ctx, d); err != nil {
			return err
		}
	}
	for _, n := range u.notes {
		n.Forget()
	}
	if err := c.store.RemoveNotes(ctx, u.notes); err != nil {
		// They are looked at once more after the next start, which does no harm.
		c.log.Warn("notes of an earlier run stay", "repository", repository, "error", err)
	}
	return nil
}

// relinkNoted makes the index say of one blob what storage says. By another digest
// than the canonical one it may have come with that.
func (t *Tx) relinkNoted(ctx context.Context, d digest.Digest) error {
	if d.Algorithm() != digest.Canonical {
		canonical, err := t.stored().Canonical(ctx, d)
		if err == nil {
			err = t.relink(ctx, canonical, "")
		}
		if err != nil && !notFound(err) {
			return err
		}
	}
	return t.relink(ctx, d, "")
}

// settleLeft completes the intent that an earlier owner left, or withdraws it if
// that owner was told that it would not happen.
func (t *Tx) settleLeft(ctx context.Context, refused uint64) error {
	left := t.lease.Left
	if left == nil {
		return nil
	}
	if left.Fence == refused {
		_, err := t.catalog.index.Publish(ctx, t.lease, index.Update{Done: true})
		return err
	}
	return t.complete(ctx, left.Intent, image.Manifest{}, "")
}

// restore puts back what could not be done.
func (c *Catalog) restore(repository string, u *unsettled) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.at(repository)
	now.whole, now.notes = now.whole || u.whole, append(now.notes, u.notes...)
	if now.refused == 0 {
		now.refused = u.refused
	}
	maps.Copy(now.blobs, u.blobs)
	c.wakeUp()
}

// Recover takes up what an earlier process left unfinished. It returns once it
// knows what that is, which is little; it is done in the background, and before
// the next change of each repository. Answers are those from before the
// unfinished changes until then.
func (c *Catalog) Recover(ctx context.Context) error {
	for intent, err := range c.index.Abandoned(ctx) {
		if err != nil {
			return fmt.Errorf("read unfinished changes: %w", err)
		}
		if intent.Reread {
			c.leaveWhole(intent.Repository)
		}
	}
	left, err := c.store.LeftNotes(ctx)
	if err != nil {
		return err
	}
	for _, note := range left {
		c.leave(note, "")
	}
	if err := c.recoverDamage(ctx); err != nil {
		return fmt.Errorf("read what is in quarantine: %w", err)
	}
	c.wakeUp()
	return nil
}

const (
	// firstRetry and lastRetry are how long the background waits after it could
	// not settle something: longer and longer.
	firstRetry = 250 * time.Millisecond
	lastRetry  = 10 * time.Second
	// lookEvery is how often it looks without having been told to.
	lookEvery = 10 * time.Second
)

// background settles what is unsettled.
func (c *Catalog) background(ctx context.Context) {
	defer close(c.done)
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	upkeep := time.NewTicker(upkeepEvery)
	defer upkeep.Stop()
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	wait := firstRetry
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		case <-upkeep.C:
			c.upkeep(ctx)
		case <-c.wake:
		case <-retry.C:
		}
		if err := c.settleAll(ctx); err == nil || ctx.Err() != nil {
			wait = firstRetry
			continue
		} else if wait == firstRetry {
			c.log.Error("a change cannot be completed yet; it is tried again", "error", err)
		}
		// Failing again has woken this task, and must not keep it busy.
		select {
		case <-c.wake:
		default:
		}
		retry.Reset(wait)
		wait = min(2*wait, lastRetry)
	}
}

// settleAll settles every repository that somebody has left unfinished, and
// returns the errors of those that it could not.
func (c *Catalog) settleAll(ctx context.Context) error {
	c.mu.Lock()
	repositories := slices.Sorted(maps.Keys(c.unsettled))
	c.mu.Unlock()
	for intent, err := range c.index.Abandoned(ctx) {
		if err != nil {
			return err
		}
		if !slices.Contains(repositories, intent.Repository) {
			repositories = append(repositories, intent.Repository)
		}
	}
	var errs []error
	for _, repository := range repositories {
		if ctx.Err() != nil {
			break
		}
		tx, err := c.Begin(ctx, repository)
		if err == nil {
			tx.Close()
		}
		errs = append(errs, err)
	}
	if ctx.Err() == nil {
		errs = append(errs, c.settleDamage(ctx))
	}
	return errors.Join(errs...)
}

// withdrawAll tries once more, before the end, to take back what was refused: a
// later process could not know.
func (c *Catalog) withdrawAll() {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c.mu.Lock()
	var refused []string
	for repository, u := range c.unsettled {
		if u.refused != 0 {
			refused = append(refused, repository)
		}
	}
	c.mu.Unlock()
	for _, repository := range refused {
		tx, err := c.Begin(ctx, repository)
		if err != nil {
			c.log.Error("a change that was refused may still happen after the next start", "repository", repository, "error", err)
			continue
		}
		tx.Close()
	}
}
