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
func (a *applying) relist(d digest.Digest) error {
	var m image.Description
	found, err := get(a.tx.Bucket(bucketManifests), a.key(d.String()), &m)
	if err != nil || !found {
		return err
	}
	m.Digest = d
	entry := m.Image != nil &&
		(!a.isChild(d) || anyBelow(a.tx.Bucket(bucketTagged), prefix(a.repository, d.String())))
	if !entry {
		return a.unlist(m)
	}
	if a.listed(m) {
		return nil
	}
	if err := a.tx.Bucket(bucketByName).Put(byNameKey(a.repository, m.Image.Created, d), []byte{}); err != nil {
		return err
	}
	err = a.byTime(m, func(b *bbolt.Bucket, k []byte) error { return b.Put(k, a.key(d.String())) })
	if err != nil {
		return err
	}
	if was, moved := a.unlisted[d]; moved && !was.Equal(m.Image.Created) {
		if err := recordMove(a.tx, move{listed{a.repository, d}, was, m.Image.Created}); err != nil {
			return err
		}
	}
	return a.countImage(m.Image, +1)
}

func (a *applying) unlist(m image.Description) error {
	if m.Image == nil || !a.listed(m) {
		return nil
	}
	a.unlisted[m.Digest] = m.Image.Created
	if err := a.tx.Bucket(bucketByName).Delete(byNameKey(a.repository, m.Image.Created, m.Digest)); err != nil {
		return err
	}
	err := a.byTime(m, func(b *bbolt.Bucket, k []byte) error { return b.Delete(k) })
	if err != nil {
		return err
	}
	return a.countImage(m.Image, -1)
}

func (a *applying) listed(m image.Description) bool {
	return a.tx.Bucket(bucketByName).Get(byNameKey(a.repository, m.Image.Created, m.Digest)) != nil
}

// byTime calls fn with both keys of an image in the order by time.
func (a *applying) byTime(m image.Description, fn func(*bbolt.Bucket, []byte) error) error {
	id := index.ImageUUID(a.repository, m.Digest)
	for _, namespace := range []string{"", reference.Namespace(a.repository)} {
		if err := fn(a.tx.Bucket(bucketByTime), byTimeKey(namespace, m.Image.Created, id)); err != nil {
			return err
		}
	}
	return nil
}
