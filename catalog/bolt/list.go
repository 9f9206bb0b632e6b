package bolt

import (
	"time"

	"github.com/opencontainers/go-digest"
	bbolt "go.etcd.io/bbolt"

	"github.com/berth-oci/berth/catalog/image"
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

// entry reads an image by any of its digests, and says how many bytes it takes
// in the index.
func (r *repoTx) entry(d digest.Digest) (e index.Entry, size int, err error) {
	d = r.canonical(d)
	value := r.data().Get(r.by(kindManifest, d))
	if value == nil {
		return index.Entry{}, 0, index.ErrNotFound
	}
	m, err := r.decode(d, value)
	if err != nil {
		return index.Entry{}, 0, err
	}
	size = len(value)
	i := m.Image
	if m.composed && m.standing.Found {
		if i, err = image.Compose(&m.Description, func(child digest.Digest) (*image.Description, error) {
			found, err := r.manifest(r.canonical(child))
			if found == nil || err != nil {
				return nil, err
			}
			size += found.stored
			return &found.Description, nil
		}); err != nil {
			return index.Entry{}, 0, err
		}
	}
	if i == nil {
		return index.Entry{}, 0, index.ErrNotFound
	}
	names, err := r.names(d)
	e = index.Entry{Repository: r.repository, Digest: d, Aliases: names[1:], Tags: r.tagsOf(d), Image: *i}
	for _, tag := range e.Tags {
		size += len(r.repository) + len(tag)
	}
	return e, size, err
}
