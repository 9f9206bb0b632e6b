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
type link struct {
	size int64
	// idle says that no manifest of the repository has referred to it since then.
	idle  bool
	since index.Uptime
}

func (l link) encode() []byte {
	e := newEncoder()
	e.uint(uint64(max(l.size, 0)))
	if l.idle {
		e.uint(uint64(l.since) + 1) //nolint:gosec // not negative
	}
	return e.b
}

func decodeLink(value []byte) (link, error) {
	d := newDecoder(value)
	l := link{size: d.size()}
	if since := d.size(); since > 0 {
		l.idle, l.since = true, index.Uptime(since-1)
	}
	return l, d.err
}

func (r *repoTx) link(d digest.Digest) (l link, found bool, err error) {
	value := r.data().Get(r.by(kindLink, d))
	if value == nil {
		return link{}, false, nil
	}
	l, err = decodeLink(value)
	return l, true, err
}

func (r *repoTx) relink(links map[digest.Digest]int64, unlink []digest.Digest) error {
	for d, size := range links {
		old, linked, err := r.link(d)
		if err != nil {
			return err
		}
		if err := r.countLink(d, size, linked); err != nil {
			return err
		}
		now := old
		now.size = size
		r.restAs(d, &now, true)
		if err := r.putLink(d, old, now, !linked); err != nil {
			return err
		}
		if linked {
			continue
		}
		if err := r.at(tableHolders).Put(shortKey(d, r.repository), nil); err != nil {
			return err
		}
	}
	for _, d := range unlink {
		if err := r.unlink(d); err != nil {
			return err
		}
	}
	return nil
}

// unlink takes a link away, if it is there.
func (r *repoTx) unlink(d digest.Digest) error {
	old, linked, err := r.link(d)
	if err != nil || !linked {
		return err
	}
	if err := r.countUnlink(d); err != nil {
		return err
	}
	if err := r.setIdle(idleLink, d, old.idle, old.since, false, 0); err != nil {
		return err
	}
	if err := r.data().Delete(r.by(kindLink, d)); err != nil {
		return err
	}
	return r.forget(tableHolders, d)
}

// putLink writes a link.
func (r *repoTx) putLink(d digest.Digest, old, now link, isNew bool) error {
	if now == old && !isNew {
		return nil
	}
	if err := r.setIdle(idleLink, d, old.idle, old.since, now.idle, now.since); err != nil {
		return err
	}
	return r.data().Put(r.by(kindLink, d), now.encode())
}

// restLink makes a link idle, or not, as what refers to it says; of one that is
// idle, that begins anew if it is renewed.
func (r *repoTx) restLink(d digest.Digest, renewed bool) error {
	old, linked, err := r.link(d)
	if err != nil || !linked {
		return err
	}
	now := old
	r.restAs(d, &now, renewed)
	return r.putLink(d, old, now, false)
}

func (r *repoTx) restAs(d digest.Digest, l *link, renewed bool) {
	switch {
	case anyBelow(r.data(), r.by(kindReference, d)):
		l.idle, l.since = false, 0
	case !l.idle, renewed && r.isOld(l.since):
		l.idle, l.since = true, r.now
	}
}
