package bolt

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/index"
)

// Link implements index.Index.
func (i *Index) Link(_ context.Context, repository string, blobs map[digest.Digest]int64) error {
	return i.update("link", func(s *session) error {
		r, err := s.change(repository)
		if err != nil {
			return err
		}
		for d := range blobs {
			if anyBelow(r.data(), r.by(kindReference, d)) {
				return index.ErrReferenced
			}
		}
		if err := r.create(); err != nil {
			return err
		}
		if err := r.relink(blobs, nil); err != nil {
			return err
		}
		return r.count()
	})
}

// link is a blob that a repository may serve.
type link struct{ size int64 }

func (r *repoTx) link(d digest.Digest) (l link, found bool, err error) {
	value := r.data().Get(r.by(kindLink, d))
	if value == nil {
		return link{}, false, nil
	}
	l, err = decodeLink(value)
	return l, true, err
}

func decodeLink(value []byte) (link, error) {
	d := newDecoder(value)
	return link{size: d.size()}, d.err
}

func (r *repoTx) relink(links map[digest.Digest]int64, unlink []digest.Digest) error {
	for d, size := range links {
		k := r.by(kindLink, d)
		if r.data().Get(k) == nil {
			r.delta.links++
		}
		e := newEncoder()
		e.uint(uint64(max(size, 0)))
		if err := r.data().Put(k, e.b); err != nil {
			return err
		}
		if err := r.at(tableHolders).Put(shortKey(d, r.repository), nil); err != nil {
			return err
		}
	}
	for _, d := range unlink {
		k := r.by(kindLink, d)
		if r.data().Get(k) == nil {
			continue
		}
		r.delta.links--
		if err := r.data().Delete(k); err != nil {
			return err
		}
		if err := r.forget(tableHolders, d); err != nil {
			return err
		}
	}
	return nil
}
