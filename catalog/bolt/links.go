package bolt

import (
	"context"
	"maps"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage/reference"
)

// Link implements index.Index.
func (i *Index) Link(ctx context.Context, repository string, blobs map[digest.Digest]int64, reservation string, written func(error)) error {
	namespace := reference.Namespace(repository)
	turn, quiet := i.arrivals.turn(repository)
	mayArrive, there := written != nil && quiet, false
	err := i.read(ctx, "linked", repository, func(r *repoTx) (err error) {
		if there, err = i.counts(r, blobs); err != nil || there || !mayArrive {
			return err
		}
		return r.unreferred(blobs)
	})
	if err != nil {
		return err
	}
	if there {
		i.reservations.end(namespace, reservation)
		if written != nil {
			written(nil)
		}
		return nil
	}
	if mayArrive {
		n := &arrival{repository, namespace, maps.Clone(blobs), written}
		if arrived, err := i.arrive(n, reservation, turn); arrived || err != nil {
			return err
		}
	}
	err = i.ending(namespace, reservation, "link", func(s *session) error { return s.links(repository, blobs) })
	if err == nil && written != nil {
		written(nil)
	}
	return err
}

// arrive shows what is linked, and has it be written later; false if it has to be
// written now. That no manifest refers to it was seen in that turn. Both the end of
// the reservation and what it was for are seen in one instant: who counts has the
// lock.
func (i *Index) arrive(n *arrival, reservation string, turn int) (arrived bool, err error) {
	if err := i.health.error(); err != nil {
		return false, err
	}
	set, leave := i.reservations.enter(n.namespace)
	defer leave()
	set.mu.Lock()
	defer set.mu.Unlock()
	if !i.arrivals.add(n, turn, i.w.wake) {
		return false, nil
	}
	if reservation != "" {
		set.set(reservation, ended)
	}
	return true, nil
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
