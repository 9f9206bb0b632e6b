package catalog

import (
	"context"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
)

// Tx is one change of one repository, from its lease to its revision. While it
// is open no other change of the repository happens. It is used by one
// goroutine.
type Tx struct {
	catalog *Catalog
	lease   index.Lease
	sizes   map[digest.Digest]int64 // of blobs that were looked at, see Size
}

// Begin waits until the repository is free, and takes it; what an earlier change
// left unfinished is completed first. The caller closes the Tx in any case.
func (c *Catalog) Begin(ctx context.Context, repository string) (*Tx, error) {
	lease, err := c.index.Acquire(ctx, repository)
	if err != nil {
		return nil, failed("take", repository, err)
	}
	tx := &Tx{catalog: c, lease: lease}
	if err := tx.settle(ctx); err != nil {
		tx.Close()
		return nil, failed("complete an earlier change of", repository, err)
	}
	return tx, nil
}

// Close frees the repository.
func (t *Tx) Close() {
	// A lease that cannot be given up ends by itself; nothing here depends on it.
	if err := t.catalog.index.Release(context.Background(), t.lease); err != nil {
		t.catalog.log.Warn("the lease of a repository ends late", "repository", t.lease.Repository, "error", err)
	}
}

// Resolve returns what a tag points to now, or storage.ErrNotFound.
func (t *Tx) Resolve(ctx context.Context, tag string) (digest.Digest, error) {
	return t.catalog.Resolve(ctx, t.lease.Repository, tag)
}

// target returns the canonical digest of what a tag points to now, or
// storage.ErrNotFound.
func (t *Tx) target(ctx context.Context, tag string) (digest.Digest, error) {
	d, err := t.Resolve(ctx, tag)
	if err != nil || d.Algorithm() == digest.Canonical {
		return d, err
	}
	return t.catalog.Canonical(ctx, t.lease.Repository, d)
}

// move looks at what the tags of a push point to now: it refuses to move an
// immutable one, and notes which manifests lose a tag.
func (t *Tx) move(ctx context.Context, intent *storage.Intent) error {
	for _, tag := range intent.Tags {
		current, err := t.target(ctx, tag)
		if notFound(err) || err == nil && current == intent.Put {
			continue
		}
		if err != nil {
			return err
		}
		if t.catalog.immutable != nil && t.catalog.immutable(t.lease.Repository, tag) {
			return &storage.Error{Code: storage.Immutable, Message: "the tag " + tag + " is immutable and points to " + current.String() + "; push under another tag"}
		}
		if !slices.Contains(intent.Touch, current) {
			intent.Touch = append(intent.Touch, current)
		}
	}
	return nil
}

// Size is the size in bytes of a blob that the repository links, or
// storage.ErrNotFound: what storage says. It is asked once, since no link goes
// while the change is open.
func (t *Tx) Size(ctx context.Context, d digest.Digest) (int64, error) {
	if size, known := t.sizes[d]; known {
		return size, nil
	}
	size, err := t.stored().Size(ctx, d)
	if err != nil {
		return 0, err
	}
	if t.sizes == nil {
		t.sizes = make(map[digest.Digest]int64)
	}
	t.sizes[d] = size
	return size, nil
}

// Put stores a manifest with its tags, as intent has them, and publishes it:
// when it returns without an error, the next answer has it. m is the manifest as
// it came, so that nobody reads it again; its Bytes may be nil. write stores the
// bytes and links them, with the context that it gets, and is called once the
// intent is durable; reservation, if it is not "", is what was set aside for it in
// the namespace (see [index.Index] Reserve), and ends with it. An error of write is
// returned as it is. A tag that is immutable and points to something else is an
// error of the code storage.Immutable.
func (t *Tx) Put(ctx context.Context, intent storage.Intent, m image.Manifest, reservation string, write func(context.Context) error) error {
	if err := t.fits(ctx, intent.Put, m); err != nil {
		return err
	}
	if err := t.move(ctx, &intent); err != nil {
		return err
	}
	t.fill(ctx, &intent)
	note := t.catalog.store.ChangeNote(intent)
	if note == nil {
		if err := t.prepare(ctx, intent); err != nil {
			return err
		}
	}
	var refused error
	undone := false
	err := t.catalog.store.Together(ctx, func(ctx context.Context) error {
		err := t.store(ctx, intent, note, func(ctx context.Context) error {
			refused = write(ctx)
			return refused
		})
		undone = err != nil && note != nil // with what else it has changed
		return err
	})
	if err == nil {
		// What has happened in storage is published also if the client is gone.
		err = t.publish(context.WithoutCancel(ctx), intent, m, reservation)
	}
	switch {
	case note == nil:
	case err == nil || undone:
		note.Forget()
	default:
		t.catalog.leave(note, "")
	}
	if refused != nil {
		t.catalog.wakeUp()
		return refused
	}
	return t.completed(err)
}

// store does in storage what a push does.
func (t *Tx) store(ctx context.Context, intent storage.Intent, note *storage.Note, write func(context.Context) error) error {
	s := t.catalog.store
	if note != nil {
		if err := s.WriteNote(ctx, note); err != nil {
			return err
		}
	}
	if err := write(ctx); err != nil {
		return err
	}
	if err := s.Touch(context.WithoutCancel(ctx), intent); err != nil {
		return err
	}
	return s.Complete(context.WithoutCancel(ctx), intent)
}

// remove does an intent that only takes away.
func (t *Tx) remove(ctx context.Context, intent storage.Intent) error {
	t.fill(ctx, &intent)
	if err := t.prepare(ctx, intent); err != nil {
		return err
	}
	// From here on it is done to the end, whether the client waits or not.
	return t.complete(context.WithoutCancel(ctx), intent, image.Manifest{}, "")
}

// complete does in storage whatever of an intent is not done yet, and publishes
// it. Manifests and tags go off the index before they go out of storage, so that
// whatever is shown is there.
func (t *Tx) complete(ctx context.Context, intent storage.Intent, pushed image.Manifest, reservation string) error {
	err := t.catalog.store.Touch(ctx, intent)
	if err == nil {
		err = t.unpublish(ctx, intent)
	}
	if err == nil {
		err = t.catalog.store.Together(ctx, func(ctx context.Context) error { return t.catalog.store.Complete(ctx, intent) })
	}
	if err == nil {
		err = t.publish(ctx, intent, pushed, reservation)
	}
	return t.completed(err)
}

// publish publishes an intent that is done in storage; what it deletes is off
// the index already.
func (t *Tx) publish(ctx context.Context, intent storage.Intent, pushed image.Manifest, reservation string) error {
	rest := intent
	rest.Untag, rest.Delete = nil, nil
	p := publication{tx: t, pushed: pushed, update: updateOf(rest), last: index.Update{Done: true}, by: intent.By, at: intent.At}
	p.update.Reservation = reservation
	return p.run(ctx, intent)
}

// completed has a change that failed be completed later.
func (t *Tx) completed(err error) error {
	if err == nil {
		return nil
	}
	t.catalog.wakeUp()
	return failed("complete the change of", t.lease.Repository, err)
}

// unpublish takes off the index the tags and manifests that an intent is about to
// delete.
func (t *Tx) unpublish(ctx context.Context, intent storage.Intent) error {
	if len(intent.Untag)+len(intent.Delete) == 0 {
		return nil
	}
	updates, err := t.removals(ctx, intent)
	if err != nil {
		return err
	}
	for _, u := range updates {
		u.By, u.At = intent.By, intent.At
		if _, err := t.catalog.index.Publish(ctx, t.lease, u); err != nil {
			return err
		}
	}
	return nil
}

// fill says of an intent where, for whom and when.
func (t *Tx) fill(ctx context.Context, intent *storage.Intent) {
	intent.Repository, intent.By, intent.At = t.lease.Repository, storage.Asker(ctx), time.Now().UTC()
}

// prepare notes what is about to happen. If that fails, nothing has happened and
// nothing will: should the note have become durable all the same, it is
// withdrawn.
func (t *Tx) prepare(ctx context.Context, intent storage.Intent) error {
	if err := t.catalog.index.Prepare(ctx, t.lease, intent); err != nil {
		t.catalog.refuse(t.lease)
		return failed("note the change of", t.lease.Repository, err)
	}
	return nil
}

// updateOf is what an intent that has happened does to the index, but for the
// descriptions.
func updateOf(intent storage.Intent) index.Update {
	u := index.Update{Untag: intent.Untag, Unlink: intent.Unlink}
	for _, d := range intent.Delete {
		if d.Algorithm() == digest.Canonical {
			u.Delete = append(u.Delete, d)
		} else {
			u.Unalias = append(u.Unalias, d)
		}
	}
	if intent.As != "" {
		u.Alias = map[digest.Digest]digest.Digest{intent.As: intent.Put}
	}
	if len(intent.Tags) > 0 {
		u.Tag = make(map[string]digest.Digest, len(intent.Tags))
	}
	for _, tag := range intent.Tags {
		u.Tag[tag] = intent.Named()
	}
	return u
}
