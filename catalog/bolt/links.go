package bolt

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage/reference"
)

// Link implements index.Index.
func (i *Index) Link(ctx context.Context, repository string, blobs map[digest.Digest]int64, reservation string) error {
	namespace := reference.Namespace(repository)
	if there, err := i.counts(ctx, repository, blobs); there || err != nil {
		if err == nil {
			i.reservations.end(namespace, reservation)
		}
		return err
	}
	return i.ending(namespace, reservation, "link", func(s *session) error {
		r, err := s.change(repository)
		if err != nil {
			return err
		}
		for d, size := range blobs {
			l, found, err := r.link(d)
			if err != nil {
				return err
			}
			if !(found && l.size == size) && anyBelow(r.data(), r.by(kindReference, d)) {
				return index.ErrReferenced
			}
		}
		if err := r.create(); err != nil {
			return err
		}
		if err := r.relink(blobs, nil); err != nil {
			return err
		}
		if err := r.refresh(blobs); err != nil {
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
		_, linked, err := r.link(d)
		if err != nil {
			return err
		}
		if err := r.countLink(d, size, linked); err != nil {
			return err
		}
		e := newEncoder()
		e.uint(uint64(max(size, 0)))
		if err := r.data().Put(r.by(kindLink, d), e.b); err != nil {
			return err
		}
		if err := r.at(tableHolders).Put(shortKey(d, r.repository), nil); err != nil {
			return err
		}
	}
	for _, d := range unlink {
		_, linked, err := r.link(d)
		if err != nil {
			return err
		}
		if !linked {
			continue
		}
		if err := r.countUnlink(d); err != nil {
			return err
		}
		if err := r.data().Delete(r.by(kindLink, d)); err != nil {
			return err
		}
		if err := r.forget(tableHolders, d); err != nil {
			return err
		}
	}
	return nil
}
