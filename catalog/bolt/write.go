package bolt

import (
	"bytes"
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"
	bbolt "go.etcd.io/bbolt"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
)

// Begin implements index.Index.
func (x *Index) Begin(_ context.Context, c storage.Intent) error {
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return x.update("begin", func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketPending).Put([]byte(c.Repository), data)
	})
}

// Touch implements index.Index.
func (x *Index) Touch(_ context.Context, repository string) error {
	return x.update("touch", func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketTouched).Put([]byte(repository), nil)
	})
}

// Settle implements index.Index.
func (x *Index) Settle(_ context.Context, repositories []string) error {
	return x.update("settle", func(tx *bbolt.Tx) error {
		for _, repository := range repositories {
			if err := tx.Bucket(bucketTouched).Delete([]byte(repository)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Pending implements index.Index.
func (x *Index) Pending(ctx context.Context) (changes []storage.Intent, err error) {
	err = x.view(ctx, "pending", func(tx *bbolt.Tx) error {
		begun := make(map[string]bool)
		err := tx.Bucket(bucketPending).ForEach(func(k, v []byte) error {
			var c storage.Intent
			if err := json.Unmarshal(v, &c); err != nil {
				return err
			}
			begun[string(k)] = true
			changes = append(changes, c)
			return nil
		})
		if err != nil {
			return err
		}
		return tx.Bucket(bucketTouched).ForEach(func(k, _ []byte) error {
			if !begun[string(k)] {
				changes = append(changes, storage.Intent{Repository: string(k)})
			}
			return nil
		})
	})
	return changes, err
}

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

// Apply implements index.Index.
func (x *Index) Apply(_ context.Context, u index.Update) error {
	return x.update("apply", func(tx *bbolt.Tx) error {
		a := &applying{
			tx: tx, repository: u.Repository,
			affected: make(map[digest.Digest]bool), unlisted: make(map[digest.Digest]time.Time),
		}
		return a.apply(u)
	})
}

// applying is one update of one repository in a transaction.
type applying struct {
	tx         *bbolt.Tx
	repository string
	// affected are the manifests that may have become an entry of the list, or
	// ceased to be one.
	affected map[digest.Digest]bool
	// unlisted are the images taken off the list, with the creation time that
	// they had there.
	unlisted map[digest.Digest]time.Time
}

func (a *applying) apply(u index.Update) error {
	for _, d := range u.Delete {
		if err := a.removeManifest(d, true); err != nil {
			return err
		}
	}
	if err := a.rename(u.Alias, u.Unalias); err != nil {
		return err
	}
	for _, m := range u.Put {
		if err := a.putManifest(m); err != nil {
			return err
		}
	}
	for _, tag := range u.Untag {
		if err := a.untag(tag); err != nil {
			return err
		}
	}
	for tag, d := range u.Tag {
		if err := a.tag(tag, d); err != nil {
			return err
		}
	}
	for d := range a.affected {
		if err := a.relist(d); err != nil {
			return err
		}
	}
	if err := a.relink(u.Link, u.Unlink); err != nil {
		return err
	}
	if u.Done {
		return a.tx.Bucket(bucketPending).Delete([]byte(a.repository))
	}
	return nil
}

func (a *applying) key(parts ...string) []byte {
	return key(append([]string{a.repository}, parts...)...)
}

func (a *applying) putManifest(m image.Description) error {
	if err := a.removeManifest(m.Digest, false); err != nil {
		return err
	}
	if err := put(a.tx.Bucket(bucketManifests), a.key(m.Digest.String()), m); err != nil {
		return err
	}
	if err := a.tx.Bucket(bucketDigests).Put(key(m.Digest.String(), a.repository), nil); err != nil {
		return err
	}
	if m.Image != nil {
		id := index.ImageUUID(a.repository, m.Digest)
		if err := a.tx.Bucket(bucketUUIDs).Put(id[:], a.key(m.Digest.String())); err != nil {
			return err
		}
	}
	for _, child := range m.Children {
		if err := a.tx.Bucket(bucketParents).Put(a.key(child.String(), m.Digest.String()), nil); err != nil {
			return err
		}
		a.affected[a.canonical(child)] = true
	}
	if m.Subject != "" {
		if err := a.tx.Bucket(bucketReferrers).Put(a.key(m.Subject.String(), m.Digest.String()), nil); err != nil {
			return err
		}
	}
	a.affected[m.Digest] = true
	for _, blob := range m.Blobs {
		if err := a.tx.Bucket(bucketReferences).Put(a.key(blob.Digest.String(), m.Digest.String()), nil); err != nil {
			return err
		}
	}
	if err := a.use(m.Blobs, +1); err != nil {
		return err
	}
	return a.countManifest(+1)
}

// removeManifest takes a manifest out, if it is there; with it, if it is gone
// for good, the tags that still point to it.
func (a *applying) removeManifest(d digest.Digest, gone bool) error {
	if gone {
		for _, tag := range a.tagsOf(d) {
			if err := a.untag(tag); err != nil {
				return err
			}
		}
	}
	var old image.Description
	found, err := get(a.tx.Bucket(bucketManifests), a.key(d.String()), &old)
	if err != nil || !found {
		return err
	}
	old.Digest = d
	if err := a.unlist(old); err != nil {
		return err
	}
	for _, child := range old.Children {
		if err := a.tx.Bucket(bucketParents).Delete(a.key(child.String(), d.String())); err != nil {
			return err
		}
		a.affected[a.canonical(child)] = true
	}
	if old.Subject != "" {
		if err := a.tx.Bucket(bucketReferrers).Delete(a.key(old.Subject.String(), d.String())); err != nil {
			return err
		}
	}
	for _, blob := range old.Blobs {
		if err := a.tx.Bucket(bucketReferences).Delete(a.key(blob.Digest.String(), d.String())); err != nil {
			return err
		}
	}
	id := index.ImageUUID(a.repository, d)
	if err := a.tx.Bucket(bucketUUIDs).Delete(id[:]); err != nil {
		return err
	}
	if err := a.tx.Bucket(bucketDigests).Delete(key(d.String(), a.repository)); err != nil {
		return err
	}
	if err := a.tx.Bucket(bucketManifests).Delete(a.key(d.String())); err != nil {
		return err
	}
	if err := a.use(old.Blobs, -1); err != nil {
		return err
	}
	return a.countManifest(-1)
}

func (a *applying) tagsOf(d digest.Digest) (tags []string) {
	_ = below(a.tx.Bucket(bucketTagged), prefix(a.repository, d.String()), func(tag string, _ []byte) error {
		tags = append(tags, tag)
		return nil
	})
	return tags
}

func (a *applying) tag(tag string, d digest.Digest) error {
	if err := a.untag(tag); err != nil {
		return err
	}
	canonical := a.canonical(d)
	a.affected[canonical] = true
	if err := a.tx.Bucket(bucketTags).Put(a.key(tag), []byte(d)); err != nil {
		return err
	}
	return a.tx.Bucket(bucketTagged).Put(a.key(canonical.String(), tag), nil)
}

func (a *applying) untag(tag string) error {
	tags := a.tx.Bucket(bucketTags)
	old := bytes.Clone(tags.Get(a.key(tag)))
	if old == nil {
		return nil
	}
	canonical := a.canonical(digest.Digest(old))
	a.affected[canonical] = true
	if err := a.tx.Bucket(bucketTagged).Delete(a.key(canonical.String(), tag)); err != nil {
		return err
	}
	return tags.Delete(a.key(tag))
}

func (a *applying) relink(link map[digest.Digest]int64, unlink []digest.Digest) error {
	links, holders := a.tx.Bucket(bucketLinks), a.tx.Bucket(bucketHolders)
	for d, size := range link {
		if err := links.Put(a.key(d.String()), strconv.AppendInt(nil, size, 10)); err != nil {
			return err
		}
		if err := holders.Put(key(d.String(), a.repository), nil); err != nil {
			return err
		}
	}
	for _, d := range unlink {
		if err := links.Delete(a.key(d.String())); err != nil {
			return err
		}
		if err := holders.Delete(key(d.String(), a.repository)); err != nil {
			return err
		}
	}
	return nil
}
