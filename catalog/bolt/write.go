package bolt

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"
	bbolt "go.etcd.io/bbolt"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage/reference"
)

// Recall implements image.Memory.
func (x *Index) Recall(d digest.Digest) (parts image.Parts, found bool) {
	_ = x.view(context.Background(), "recall", func(tx *bbolt.Tx) error {
		if v := tx.Bucket(bucketLayers).Get([]byte(d)); len(v) == 1 {
			parts, found = image.Parts(v[0]), true
		}
		return nil
	})
	return parts, found
}

// Remember implements image.Memory. It does not wait for the write, which
// then shares the sync of the push it belongs to; that it is lost costs no more
// than looking into the layer again.
func (x *Index) Remember(d digest.Digest, parts image.Parts) {
	x.w.later(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketLayers).Put([]byte(d), []byte{byte(parts)})
	})
}

// Publish implements index.Index.
func (x *Index) Publish(_ context.Context, l index.Lease, u index.Update) (revision index.Revision, err error) {
	err = x.reservations.ending(reference.Namespace(l.Repository), u.Reservation, func() error {
		return x.update("publish", func(tx *bbolt.Tx) error {
			if err := x.leases.check(l); err != nil {
				return err
			}
			t := newRepoTx(tx, l.Repository)
			if err := t.checkMissing(u); err != nil {
				return err
			}
			// The number is taken here, since this may run again.
			n, err := tx.Bucket(bucketMeta).NextSequence()
			if err != nil {
				return err
			}
			revision = index.Revision(n)
			return t.publish(u)
		})
	})
	return revision, err
}

// Link implements index.Index.
func (x *Index) Link(_ context.Context, repository string, blobs map[digest.Digest]int64) error {
	return x.update("link", func(tx *bbolt.Tx) error {
		t := newRepoTx(tx, repository)
		for d := range blobs {
			if anyBelow(tx.Bucket(bucketReferences), prefix(repository, d.String())) {
				return index.ErrReferenced
			}
		}
		return t.relink(blobs, nil)
	})
}

// repoTx is one update of one repository in a transaction.
type repoTx struct {
	tx         *bbolt.Tx
	repository string
	// affected are the manifests that may have become an entry of the list, or
	// ceased to be one.
	affected map[digest.Digest]bool
	// unlisted are the images taken off the list, with the creation time that
	// they had there.
	unlisted map[digest.Digest]time.Time
}

func newRepoTx(tx *bbolt.Tx, repository string) *repoTx {
	return &repoTx{
		tx: tx, repository: repository,
		affected: make(map[digest.Digest]bool), unlisted: make(map[digest.Digest]time.Time),
	}
}

// checkMissing returns ErrLinked if a description says that a blob is missing
// which the repository links: a blob is linked without a lease, and may have
// come after it was looked for.
func (t *repoTx) checkMissing(u index.Update) error {
	for _, m := range u.Put {
		for _, blob := range m.Blobs {
			if blob.Size > 0 || slices.Contains(u.Unlink, blob.Digest) {
				continue
			}
			if v := t.tx.Bucket(bucketLinks).Get(t.key(blob.Digest.String())); v != nil && string(v) != "0" {
				return index.ErrLinked
			}
		}
	}
	return nil
}

func (t *repoTx) publish(u index.Update) error {
	for _, d := range u.Delete {
		if err := t.removeManifest(d); err != nil {
			return err
		}
	}
	if err := t.rename(u.Alias, u.Unalias); err != nil {
		return err
	}
	for _, m := range u.Put {
		if err := t.putManifest(m); err != nil {
			return err
		}
	}
	for _, tag := range u.Untag {
		if err := t.untag(tag); err != nil {
			return err
		}
	}
	for tag, d := range u.Tag {
		if err := t.tag(tag, d); err != nil {
			return err
		}
	}
	for d := range t.affected {
		if err := t.relist(d); err != nil {
			return err
		}
	}
	if err := t.relink(u.Link, u.Unlink); err != nil {
		return err
	}
	if u.Done {
		return t.tx.Bucket(bucketPending).Delete([]byte(t.repository))
	}
	return nil
}

func (t *repoTx) key(parts ...string) []byte {
	return key(append([]string{t.repository}, parts...)...)
}

// putManifest writes a description. The bytes of a digest never change, so what
// a manifest refers to is written once, however often it is described again.
func (t *repoTx) putManifest(m image.Description) error {
	var old image.Description
	found, err := get(t.tx.Bucket(bucketManifests), t.key(m.Digest.String()), &old)
	if err != nil {
		return err
	}
	old.Digest = m.Digest
	if found {
		if err := t.unlist(old); err != nil {
			return err
		}
	}
	if err := put(t.tx.Bucket(bucketManifests), t.key(m.Digest.String()), m); err != nil {
		return err
	}
	t.affected[m.Digest] = true
	if err := t.setUUID(m); err != nil {
		return err
	}
	if found && sameReferences(old, m) {
		return t.reuse(old.Blobs, m.Blobs)
	}
	if found {
		if err := t.unrefer(old); err != nil {
			return err
		}
	}
	return t.refer(m)
}

// setUUID makes a manifest found by its UUID if, and only if, it is an image.
func (t *repoTx) setUUID(m image.Description) error {
	id := index.ImageUUID(t.repository, m.Digest)
	if m.Image == nil {
		return t.tx.Bucket(bucketUUIDs).Delete(id[:])
	}
	return t.tx.Bucket(bucketUUIDs).Put(id[:], t.key(m.Digest.String()))
}

// sameReferences reports whether two descriptions of the same bytes refer to
// the same things, as they do unless berth has learned to read more of them.
func sameReferences(a, b image.Description) bool {
	return a.Subject == b.Subject && slices.Equal(a.Children, b.Children) &&
		slices.EqualFunc(a.Blobs, b.Blobs, func(x, y image.Blob) bool { return x.Digest == y.Digest })
}

// refer writes what a manifest refers to, and counts it; unrefer takes that
// away again.
func (t *repoTx) refer(m image.Description) error {
	if err := t.tx.Bucket(bucketDigests).Put(key(m.Digest.String(), t.repository), nil); err != nil {
		return err
	}
	err := t.references(m, func(b *bbolt.Bucket, k []byte) error { return b.Put(k, nil) })
	if err != nil {
		return err
	}
	if err := t.use(m.Blobs, +1); err != nil {
		return err
	}
	return t.countManifest(+1)
}

func (t *repoTx) unrefer(m image.Description) error {
	if err := t.tx.Bucket(bucketDigests).Delete(key(m.Digest.String(), t.repository)); err != nil {
		return err
	}
	if err := t.references(m, (*bbolt.Bucket).Delete); err != nil {
		return err
	}
	if err := t.use(m.Blobs, -1); err != nil {
		return err
	}
	return t.countManifest(-1)
}

// references calls fn with the key of everything that a manifest refers to.
func (t *repoTx) references(m image.Description, fn func(*bbolt.Bucket, []byte) error) error {
	for _, child := range m.Children {
		if err := fn(t.tx.Bucket(bucketParents), t.key(child.String(), m.Digest.String())); err != nil {
			return err
		}
		t.affected[t.canonical(child)] = true
	}
	for _, blob := range m.Blobs {
		if err := fn(t.tx.Bucket(bucketReferences), t.key(blob.Digest.String(), m.Digest.String())); err != nil {
			return err
		}
	}
	if m.Subject == "" {
		return nil
	}
	return fn(t.tx.Bucket(bucketReferrers), t.key(m.Subject.String(), m.Digest.String()))
}

// removeManifest takes a manifest out for good, if it is there, and with it the
// tags that still point to it.
func (t *repoTx) removeManifest(d digest.Digest) error {
	for _, tag := range t.tagsOf(d) {
		if err := t.untag(tag); err != nil {
			return err
		}
	}
	var old image.Description
	found, err := get(t.tx.Bucket(bucketManifests), t.key(d.String()), &old)
	if err != nil || !found {
		return err
	}
	old.Digest = d
	if err := t.unlist(old); err != nil {
		return err
	}
	id := index.ImageUUID(t.repository, d)
	if err := t.tx.Bucket(bucketUUIDs).Delete(id[:]); err != nil {
		return err
	}
	if err := t.tx.Bucket(bucketManifests).Delete(t.key(d.String())); err != nil {
		return err
	}
	return t.unrefer(old)
}

func (t *repoTx) tagsOf(d digest.Digest) (tags []string) {
	_ = below(t.tx.Bucket(bucketTagged), prefix(t.repository, d.String()), func(tag string, _ []byte) error {
		tags = append(tags, tag)
		return nil
	})
	return tags
}

func (t *repoTx) tag(tag string, d digest.Digest) error {
	if err := t.untag(tag); err != nil {
		return err
	}
	canonical := t.canonical(d)
	t.affected[canonical] = true
	if err := t.tx.Bucket(bucketTags).Put(t.key(tag), []byte(d)); err != nil {
		return err
	}
	return t.tx.Bucket(bucketTagged).Put(t.key(canonical.String(), tag), nil)
}

func (t *repoTx) untag(tag string) error {
	tags := t.tx.Bucket(bucketTags)
	old := bytes.Clone(tags.Get(t.key(tag)))
	if old == nil {
		return nil
	}
	canonical := t.canonical(digest.Digest(old))
	t.affected[canonical] = true
	if err := t.tx.Bucket(bucketTagged).Delete(t.key(canonical.String(), tag)); err != nil {
		return err
	}
	return tags.Delete(t.key(tag))
}

func (t *repoTx) relink(link map[digest.Digest]int64, unlink []digest.Digest) error {
	links, holders := t.tx.Bucket(bucketLinks), t.tx.Bucket(bucketHolders)
	for d, size := range link {
		if err := links.Put(t.key(d.String()), strconv.AppendInt(nil, size, 10)); err != nil {
			return err
		}
		if err := holders.Put(key(d.String(), t.repository), nil); err != nil {
			return err
		}
	}
	for _, d := range unlink {
		if err := links.Delete(t.key(d.String())); err != nil {
			return err
		}
		if err := holders.Delete(key(d.String(), t.repository)); err != nil {
			return err
		}
	}
	return nil
}
