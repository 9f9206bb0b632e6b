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
func (r *repoTx) relist(d digest.Digest) error {
	var m image.Description
	found, err := get(r.tx.Bucket(bucketManifests), r.key(d.String()), &m)
	if err != nil || !found {
		return err
	}
	m.Digest = d
	entry := m.Image != nil &&
		(!r.isChild(d) || anyBelow(r.tx.Bucket(bucketTagged), prefix(r.repository, d.String())))
	if !entry {
		return r.unlist(m)
	}
	if r.listed(m) {
		return nil
	}
	if err := r.tx.Bucket(bucketByName).Put(byNameKey(r.repository, m.Image.Created, d), []byte{}); err != nil {
		return err
	}
	err = r.byTime(m, func(b *bbolt.Bucket, k []byte) error { return b.Put(k, r.key(d.String())) })
	if err != nil {
		return err
	}
	if was, moved := r.unlisted[d]; moved && !was.Equal(m.Image.Created) {
		if err := recordReorder(r.tx, reorder{listed{r.repository, d}, was, m.Image.Created}); err != nil {
			return err
		}
	}
	return r.countImage(m.Image, +1)
}

func (r *repoTx) unlist(m image.Description) error {
	if m.Image == nil || !r.listed(m) {
		return nil
	}
	r.unlisted[m.Digest] = m.Image.Created
	if err := r.tx.Bucket(bucketByName).Delete(byNameKey(r.repository, m.Image.Created, m.Digest)); err != nil {
		return err
	}
	err := r.byTime(m, func(b *bbolt.Bucket, k []byte) error { return b.Delete(k) })
	if err != nil {
		return err
	}
	return r.countImage(m.Image, -1)
}

func (r *repoTx) listed(m image.Description) bool {
	return r.tx.Bucket(bucketByName).Get(byNameKey(r.repository, m.Image.Created, m.Digest)) != nil
}

// byTime calls fn with both keys of an image in the order by time.
func (r *repoTx) byTime(m image.Description, fn func(*bbolt.Bucket, []byte) error) error {
	id := index.ImageUUID(r.repository, m.Digest)
	for _, namespace := range []string{"", reference.Namespace(r.repository)} {
		if err := fn(r.tx.Bucket(bucketByTime), byTimeKey(namespace, m.Image.Created, id)); err != nil {
			return err
		}
	}
	return nil
}
