package bolt

import (
	"time"

	"github.com/opencontainers/go-digest"
	bbolt "go.etcd.io/bbolt"

	"github.com/berth-oci/berth/catalog/index"
)

// relistAll makes the list hold what the update has affected as it has to.
func (r *repoTx) relistAll() error {
	for d := range r.affected {
		if err := r.relist(d); err != nil {
			return err
		}
	}
	return nil
}

// relist makes the list hold a manifest if, and only if, it is an entry: an
// image that belongs to no index of the repository, or has a tag of its own.
func (r *repoTx) relist(d digest.Digest) error {
	value := r.data().Get(r.by(kindManifest, d))
	if value == nil {
		return nil
	}
	m, err := decodeRecord(d, value, nil)
	if err != nil {
		return err
	}
	child, err := r.isChild(d)
	if err != nil {
		return err
	}
	is := r.isListed(m)
	if !m.standing.Found || child && !anyBelow(r.data(), r.by(kindTagged, d)) {
		r.changed[d] = r.changed[d] || is
		return r.unlist(m)
	}
	if is {
		return nil
	}
	if _, was := r.unlisted[d]; !was {
		r.changed[d] = true
	}
	created := m.standing.Created
	if err := r.data().Put(listedKey(r.known.number, created, d), []byte{}); err != nil {
		return err
	}
	value = target(r.known.number, d)
	if err := r.byTime(d, created, func(b *bbolt.Bucket, k []byte) error { return b.Put(k, value) }); err != nil {
		return err
	}
	if was, moved := r.unlisted[d]; moved && !was.Equal(created) {
		if err := r.recordReorder(reorder{listed{r.repository, d}, was, created}); err != nil {
			return err
		}
	}
	r.countImage(m.standing, +1)
	return nil
}

// unlist takes a manifest off the list, if it is there.
func (r *repoTx) unlist(m *record) error {
	if !m.standing.Found || !r.isListed(m) {
		return nil
	}
	created := m.standing.Created
	r.unlisted[m.Digest] = created
	if err := r.data().Delete(listedKey(r.known.number, created, m.Digest)); err != nil {
		return err
	}
	if err := r.byTime(m.Digest, created, (*bbolt.Bucket).Delete); err != nil {
		return err
	}
	r.countImage(m.standing, -1)
	return nil
}

func (r *repoTx) isListed(m *record) bool {
	return r.data().Get(listedKey(r.known.number, m.standing.Created, m.Digest)) != nil
}

// byTime calls fn with both keys of an image in the order by time.
func (r *repoTx) byTime(d digest.Digest, created time.Time, fn func(*bbolt.Bucket, []byte) error) error {
	k := byTimeKey(created, index.ImageUUID(r.repository, d))
	if err := fn(r.at(tableTimes), k); err != nil {
		return err
	}
	return fn(r.at(tableNamespaces), append(numbered(r.space.number, kindTime), k...))
}
