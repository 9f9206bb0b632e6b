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
func (i *Index) Recall(d digest.Digest) (parts image.Parts, found bool) {
	_ = i.view(context.Background(), "recall", func(tx *bbolt.Tx) error {
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
func (i *Index) Remember(d digest.Digest, parts image.Parts) {
	i.w.later(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketLayers).Put([]byte(d), []byte{byte(parts)})
	})
}

// Publish implements index.Index.
func (i *Index) Publish(_ context.Context, l index.Lease, u index.Update) (revision index.Revision, err error) {
	err = i.ending(reference.Namespace(l.Repository), u.Reservation, "publish", func(tx *bbolt.Tx) error {
		if err := i.leases.check(l); err != nil {
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
	return revision, err
}

// Link implements index.Index.
func (i *Index) Link(ctx context.Context, repository string, blobs map[digest.Digest]int64, reservation string) error {
	namespace := reference.Namespace(repository)
	if there, err := i.counts(ctx, repository, blobs); there || err != nil {
		if err == nil {
			i.reservations.end(namespace, reservation)
		}
		return err
	}
	return i.ending(namespace, reservation, "link", func(tx *bbolt.Tx) error {
		t := newRepoTx(tx, repository)
		for d, size := range blobs {
			if !t.linkedWith(d, size) && anyBelow(tx.Bucket(bucketReferences), prefix(repository, d.String())) {
				return index.ErrReferenced
			}
		}
		if err := t.relink(blobs, nil); err != nil {
			return err
		}
		return t.refresh(blobs)
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
func (r *repoTx) checkMissing(u index.Update) error {
	for _, m := range u.Put {
		for _, blob := range m.Blobs {
			if blob.Size > 0 || slices.Contains(u.Unlink, blob.Digest) {
				continue
			}
			if v := r.tx.Bucket(bucketLinks).Get(r.key(blob.Digest.String())); v != nil && string(v) != "0" {
				return index.ErrLinked
			}
		}
	}
	return nil
}

func (r *repoTx) publish(u index.Update) error {
	for _, d := range u.Delete {
		if err := r.removeManifest(d); err != nil {
			return err
		}
	}
	if err := r.rename(u.Alias, u.Unalias); err != nil {
		return err
	}
	for _, m := range u.Put {
		if err := r.putManifest(m); err != nil {
			return err
		}
	}
	for _, tag := range u.Untag {
		if err := r.untag(tag); err != nil {
			return err
		}
	}
	for tag, d := range u.Tag {
		if err := r.tag(tag, d); err != nil {
			return err
		}
	}
	for d := range r.affected {
		if err := r.relist(d); err != nil {
			return err
		}
	}
	if err := r.relink(u.Link, u.Unlink); err != nil {
		return err
	}
	if u.Done {
		return r.tx.Bucket(bucketPending).Delete([]byte(r.repository))
	}
	return nil
}

func (r *repoTx) key(parts ...string) []byte {
	return key(append([]string{r.repository}, parts...)...)
}

// putManifest writes a description. The bytes of a digest never change, so what
// a manifest refers to is written once, however often it is described again.
func (r *repoTx) putManifest(m image.Description) error {
	var old image.Description
	found, err := get(r.tx.Bucket(bucketManifests), r.key(m.Digest.String()), &old)
	if err != nil {
		return err
	}
	old.Digest = m.Digest
	if found {
		if err := r.unlist(old); err != nil {
			return err
		}
	}
	if err := put(r.tx.Bucket(bucketManifests), r.key(m.Digest.String()), m); err != nil {
		return err
	}
	r.affected[m.Digest] = true
	if err := r.setUUID(m); err != nil {
		return err
	}
	if err := r.takeManifest(m.Digest, found); err != nil {
		return err
	}
	if found && sameReferences(old, m) {
		return r.reuse(old, m)
	}
	if found {
		if err := r.unrefer(old); err != nil {
			return err
		}
	}
	return r.refer(m)
}

// setUUID makes a manifest found by its UUID if, and only if, it is an image.
func (r *repoTx) setUUID(m image.Description) error {
	id := index.ImageUUID(r.repository, m.Digest)
	if m.Image == nil {
		return r.tx.Bucket(bucketUUIDs).Delete(id[:])
	}
	return r.tx.Bucket(bucketUUIDs).Put(id[:], r.key(m.Digest.String()))
}

// sameReferences reports whether two descriptions of the same bytes refer to
// the same things, as they do unless berth has learned to read more of them.
func sameReferences(a, b image.Description) bool {
	return a.Subject == b.Subject && slices.Equal(a.Children, b.Children) &&
		slices.EqualFunc(a.Blobs, b.Blobs, func(x, y image.Blob) bool { return x.Digest == y.Digest })
}

// refer writes what a manifest refers to, and counts it; unrefer takes that
// away again.
func (r *repoTx) refer(m image.Description) error {
	if err := r.tx.Bucket(bucketDigests).Put(key(m.Digest.String(), r.repository), nil); err != nil {
		return err
	}
	err := r.references(m, func(b *bbolt.Bucket, k []byte) error { return b.Put(k, nil) })
	if err != nil {
		return err
	}
	if err := r.putReferrer(m); err != nil {
		return err
	}
	if err := r.use(m.Blobs, +1); err != nil {
		return err
	}
	return r.countManifest(m.Size, +1)
}

func (r *repoTx) unrefer(m image.Description) error {
	if err := r.tx.Bucket(bucketDigests).Delete(key(m.Digest.String(), r.repository)); err != nil {
		return err
	}
	if err := r.references(m, (*bbolt.Bucket).Delete); err != nil {
		return err
	}
	if err := r.deleteReferrer(m); err != nil {
		return err
	}
	if err := r.use(m.Blobs, -1); err != nil {
		return err
	}
	return r.countManifest(m.Size, -1)
}

// references calls fn with the key of everything that a manifest refers to, but
// for its subject.
func (r *repoTx) references(m image.Description, fn func(*bbolt.Bucket, []byte) error) error {
	for _, child := range m.Children {
		if err := fn(r.tx.Bucket(bucketParents), r.key(child.String(), m.Digest.String())); err != nil {
			return err
		}
		r.affected[r.canonical(child)] = true
	}
	for _, blob := range m.Blobs {
		if err := fn(r.tx.Bucket(bucketReferences), r.key(blob.Digest.String(), m.Digest.String())); err != nil {
			return err
		}
	}
	return nil
}

// removeManifest takes a manifest out for good, if it is there, and with it the
// tags that still point to it.
func (r *repoTx) removeManifest(d digest.Digest) error {
	for _, tag := range r.tagsOf(d) {
		if err := r.untag(tag); err != nil {
			return err
		}
	}
	var old image.Description
	found, err := get(r.tx.Bucket(bucketManifests), r.key(d.String()), &old)
	if err != nil || !found {
		return err
	}
	old.Digest = d
	if err := r.unlist(old); err != nil {
		return err
	}
	id := index.ImageUUID(r.repository, d)
	if err := r.tx.Bucket(bucketUUIDs).Delete(id[:]); err != nil {
		return err
	}
	if err := r.tx.Bucket(bucketManifests).Delete(r.key(d.String())); err != nil {
		return err
	}
	if err := r.unrefer(old); err != nil {
		return err
	}
	return r.leaveManifest(d, old.Size)
}

func (r *repoTx) tagsOf(d digest.Digest) (tags []string) {
	_ = below(r.tx.Bucket(bucketTagged), prefix(r.repository, d.String()), func(tag string, _ []byte) error {
		tags = append(tags, tag)
		return nil
	})
	return tags
}

func (r *repoTx) tag(tag string, d digest.Digest) error {
	if err := r.untag(tag); err != nil {
		return err
	}
	canonical := r.canonical(d)
	r.affected[canonical] = true
	if err := r.tx.Bucket(bucketTags).Put(r.key(tag), []byte(d)); err != nil {
		return err
	}
	if err := r.tx.Bucket(bucketTagged).Put(r.key(canonical.String(), tag), nil); err != nil {
		return err
	}
	return r.countName(+1)
}

func (r *repoTx) untag(tag string) error {
	tags := r.tx.Bucket(bucketTags)
	old := bytes.Clone(tags.Get(r.key(tag)))
	if old == nil {
		return nil
	}
	canonical := r.canonical(digest.Digest(old))
	r.affected[canonical] = true
	if err := r.tx.Bucket(bucketTagged).Delete(r.key(canonical.String(), tag)); err != nil {
		return err
	}
	if err := tags.Delete(r.key(tag)); err != nil {
		return err
	}
	return r.countName(-1)
}

func (r *repoTx) relink(link map[digest.Digest]int64, unlink []digest.Digest) error {
	links, holders := r.tx.Bucket(bucketLinks), r.tx.Bucket(bucketHolders)
	for d, size := range link {
		if err := r.link(d, size); err != nil {
			return err
		}
		if err := links.Put(r.key(d.String()), strconv.AppendInt(nil, size, 10)); err != nil {
			return err
		}
		if err := holders.Put(key(d.String(), r.repository), nil); err != nil {
			return err
		}
	}
	for _, d := range unlink {
		if err := r.unlink(d); err != nil {
			return err
		}
		if err := links.Delete(r.key(d.String())); err != nil {
			return err
		}
		if err := holders.Delete(key(d.String(), r.repository)); err != nil {
			return err
		}
	}
	return nil
}
