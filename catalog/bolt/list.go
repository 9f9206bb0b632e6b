package bolt

import (
	"github.com/opencontainers/go-digest"
	bbolt "go.etcd.io/bbolt"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage/reference"
)

// relist makes the list hold a manifest if, and only if, it is an entry: an
// image that belongs to no index of the repository, or has a tag of its own.
func (t *repoTx) relist(d digest.Digest) error {
	var m image.Description
	found, err := get(t.tx.Bucket(bucketManifests), t.key(d.String()), &m)
	if err != nil || !found {
		return err
	}
	m.Digest = d
	entry := m.Image != nil &&
		(!t.isChild(d) || anyBelow(t.tx.Bucket(bucketTagged), prefix(t.repository, d.String())))
	if !entry {
		return t.unlist(m)
	}
	if t.listed(m) {
		return nil
	}
	if err := t.tx.Bucket(bucketByName).Put(byNameKey(t.repository, m.Image.Created, d), []byte{}); err != nil {
		return err
	}
	err = t.byTime(m, func(b *bbolt.Bucket, k []byte) error { return b.Put(k, t.key(d.String())) })
	if err != nil {
		return err
	}
	if was, moved := t.unlisted[d]; moved && !was.Equal(m.Image.Created) {
		if err := recordReorder(t.tx, reorder{listed{t.repository, d}, was, m.Image.Created}); err != nil {
			return err
		}
	}
	return t.countImage(m.Image, +1)
}

func (t *repoTx) unlist(m image.Description) error {
	if m.Image == nil || !t.listed(m) {
		return nil
	}
	t.unlisted[m.Digest] = m.Image.Created
	if err := t.tx.Bucket(bucketByName).Delete(byNameKey(t.repository, m.Image.Created, m.Digest)); err != nil {
		return err
	}
	err := t.byTime(m, func(b *bbolt.Bucket, k []byte) error { return b.Delete(k) })
	if err != nil {
		return err
	}
	return t.countImage(m.Image, -1)
}

func (t *repoTx) listed(m image.Description) bool {
	return t.tx.Bucket(bucketByName).Get(byNameKey(t.repository, m.Image.Created, m.Digest)) != nil
}

// byTime calls fn with both keys of an image in the order by time.
func (t *repoTx) byTime(m image.Description, fn func(*bbolt.Bucket, []byte) error) error {
	id := index.ImageUUID(t.repository, m.Digest)
	for _, namespace := range []string{"", reference.Namespace(t.repository)} {
		if err := fn(t.tx.Bucket(bucketByTime), byTimeKey(namespace, m.Image.Created, id)); err != nil {
			return err
		}
	}
	return nil
}
