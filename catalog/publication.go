package catalog

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
)

// publication is a change being published.
type publication struct {
	tx *Tx
	// content is what is known of blobs, nil for what storage says.
	content image.Content
	pushed  image.Manifest // the one that came, empty if it is in storage only
	update  index.Update   // what the next transaction publishes
	size    work           // what update.Put comes to
	// last is what only the last transaction publishes: the links that
	// descriptions follow from, with what was set aside for them, and the end of
	// the change.
	last index.Update
	// by is the account that asked for the change, "" for none, and at when; zero
	// if nobody has.
	by string
	at time.Time
}

// run describes what an intent changes, and publishes it.
func (p *publication) run(ctx context.Context, intent storage.Intent) error {
	var added []digest.Digest
	if intent.Put != "" {
		description, err := p.describePut(ctx, intent.Put)
		if errors.Is(err, storage.ErrNotFound) {
			// It never arrived, so the change did not happen.
			return p.publish(ctx, index.Update{Done: true, Reservation: p.update.Reservation})
		}
		if err != nil {
			return err
		}
		if err := p.add(ctx, description); err != nil {
			return err
		}
		if err := p.timeTags(ctx); err != nil {
			return err
		}
		added = append(added, intent.Put)
	}
	referring, err := p.tx.referring(ctx, index.Update{Unlink: intent.Unlink})
	if err != nil {
		return err
	}
	return p.describeAll(ctx, append(added, referring...), intent.Put)
}

// timeTags says when the tags of the update were set: what storage says, so that an
// index which is built from it says the same.
func (p *publication) timeTags(ctx context.Context) error {
	p.update.Moved = make(map[string]time.Time, len(p.update.Tag))
	for tag := range p.update.Tag {
		at, err := p.tx.stored().TagTime(ctx, tag)
		if err != nil && !notFound(err) {
			return err
		}
		p.update.Moved[tag] = at
	}
	return nil
}

// describePut describes the manifest that was pushed, from the bytes in hand if
// there are any.
func (p *publication) describePut(ctx context.Context, d digest.Digest) (image.Description, error) {
	if p.pushed.Bytes == nil {
		return p.describe(ctx, d)
	}
	info, err := p.tx.catalog.store.Content().Stat(ctx, d)
	if err != nil {
		return image.Description{}, err
	}
	m := p.pushed
	m.Digest, m.Modified = d, info.Modified
	return image.Describe(ctx, m, sizedContent{content{p.tx.stored()}, p.tx}, p.tx.catalog.index)
}

func (p *publication) describe(ctx context.Context, d digest.Digest) (image.Description, error) {
	if p.content == nil {
		p.content = content{p.tx.stored()}
	}
	return p.tx.describe(ctx, d, p.content)
}

// describeAll describes the manifests that are new, but for the one that has
// been described already, and publishes the rest. What the indexes above them are
// follows in the index by itself.
func (p *publication) describeAll(ctx context.Context, added []digest.Digest, described digest.Digest) error {
	seen := map[digest.Digest]bool{described: true}
	for _, d := range added {
		if seen[d] {
			continue
		}
		seen[d] = true
		description, err := p.describe(ctx, d)
		if errors.Is(err, storage.ErrNotFound) {
			continue // linked, but its bytes are not there: it cannot be pulled either
		}
		if err != nil {
			return err
		}
		if err := p.add(ctx, description); err != nil {
			return err
		}
	}
	p.update.Link, p.update.Unlink, p.update.Done = p.last.Link, append(p.update.Unlink, p.last.Unlink...), p.last.Done
	p.update.Reservation = cmp.Or(p.last.Reservation, p.update.Reservation)
	return p.publish(ctx, p.update)
}

// add takes a description up, and publishes what there is if both are too much
// for one transaction.
func (p *publication) add(ctx context.Context, d image.Description) error {
	size := workOf(d)
	if len(p.update.Put) > 0 && p.size.plus(size).tooMuch() {
		if err := p.publish(ctx, p.update); err != nil {
			return err
		}
		p.update, p.size = index.Update{}, work{}
	}
	p.update.Put = append(p.update.Put, d)
	p.size = p.size.plus(size)
	return nil
}

// maxRelinked bounds how often an update is described again because blobs have
// been linked meanwhile.
const maxRelinked = 10

// publish publishes one update. A blob that it says is missing may have been
// linked since it was looked for; it is then described again.
func (p *publication) publish(ctx context.Context, u index.Update) error {
	u.By, u.At = p.by, p.at
	for range maxRelinked {
		if err := p.unlinkMissing(ctx, &u); err != nil {
			return err
		}
		_, err := p.tx.catalog.index.Publish(ctx, p.tx.lease, u)
		if !errors.Is(err, index.ErrLinked) {
			return err
		}
		for i, old := range u.Put {
			if u.Put[i], err = p.describe(ctx, old.Digest); err != nil {
				return err
			}
		}
	}
	return index.ErrLinked
}

// unlinkMissing takes off the index the links of blobs that are not stored: of
// the two, storage is right.
func (p *publication) unlinkMissing(ctx context.Context, u *index.Update) error {
	for _, d := range u.Put {
		for _, blob := range d.Blobs {
			if blob.Size > 0 {
				continue
			}
			size, found, err := p.tx.catalog.index.Linked(ctx, p.tx.lease.Repository, blob.Digest)
			if err != nil {
				return err
			}
			if !found || size == 0 {
				continue
			}
			_, err = p.tx.stored().Size(ctx, blob.Digest)
			if errors.Is(err, storage.ErrNotFound) {
				u.Unlink = append(u.Unlink, blob.Digest)
			} else if err != nil {
				return err
			}
		}
	}
	return nil
}
