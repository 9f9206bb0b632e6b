package bolt

import (
	"context"
	"encoding/binary"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// What nothing refers to is in the bucket idle, by kind and by the time since
// when, and that time is in its own value too, so that either leads to the other.

// idleKind begins a key of the bucket.
type idleKind byte

const (
	idleLink     idleKind = 'l'
	idleManifest idleKind = 'm'
	idleBytes    idleKind = 'b'
	idleKept     idleKind = 'k'
)

var idleKinds = map[index.IdleKind]idleKind{
	index.IdleLink: idleLink, index.IdleManifest: idleManifest, index.IdleBytes: idleBytes, index.IdleKept: idleKept,
}

// uptimeLength is that of a time in a key.
const uptimeLength = 8

// idleKey is a key of something that a repository or a namespace has.
func idleKey(k idleKind, since index.Uptime, number uint32, d digest.Digest) []byte {
	b := binary.BigEndian.AppendUint64([]byte{byte(k)}, uint64(max(since, 0)))
	return appendDigest(binary.BigEndian.AppendUint32(b, number), d)
}

// clock counts for how long the index has been open. It is not before any time
// that is written down.
type clock struct {
	base     index.Uptime // at began
	began    time.Time    // with the monotonic clock
	now      func() index.Uptime
	coalesce index.Uptime
}

// renewAfter is how long nothing is renewed that just was, unless SetIdle says
// otherwise.
const renewAfter = index.Uptime(6 * time.Minute)

// SetIdle sets how long what is idle is not renewed after it just was, and, unless
// now is nil, what the time is. It is called before the index is used.
func (i *Index) SetIdle(coalesce time.Duration, now func() index.Uptime) {
	i.clock.coalesce, i.clock.now = index.Uptime(coalesce), now
}

// Uptime implements index.Idler.
func (i *Index) Uptime() index.Uptime {
	if i.clock.now != nil {
		return i.clock.now()
	}
	return i.clock.base + index.Uptime(time.Since(i.clock.began))
}

// startClock goes on where the last process has left the time.
func (i *Index) startClock() error {
	return i.view(context.Background(), "uptime", func(s *session) error {
		n, err := s.sum(keyUptime)
		i.clock.base = index.Uptime(n)
		for _, k := range idleKinds {
			c := s.at(tableIdle).Cursor()
			key, _ := c.Seek([]byte{byte(k) + 1})
			if key == nil {
				key, _ = c.Last()
			} else {
				key, _ = c.Prev()
			}
			if len(key) > uptimeLength && key[0] == byte(k) {
				i.clock.base = max(i.clock.base, index.Uptime(binary.BigEndian.Uint64(key[1:]))) //nolint:gosec // as written
			}
		}
		i.clock.began = time.Now()
		return err
	})
}

// Tick implements index.Idler.
func (i *Index) Tick(context.Context) error {
	return i.update("tick", func(s *session) error {
		before, err := s.sum(keyUptime)
		if err != nil {
			return err
		}
		return s.addTo(keyUptime, max(0, int64(s.now)-before))
	})
}

// isOld reports whether something that is idle since then is worth to be renewed.
func (s *session) isOld(since index.Uptime) bool { return s.now-since >= s.coalesce }

func (i *Index) isOld(since index.Uptime) bool { return i.Uptime()-since >= i.clock.coalesce }

// setIdle notes since when something of the repository is idle.
func (r *repoTx) setIdle(k idleKind, d digest.Digest, was bool, before index.Uptime, is bool, since index.Uptime) error {
	if was == is && before == since {
		return nil
	}
	if was {
		if err := r.at(tableIdle).Delete(idleKey(k, before, r.known.number, d)); err != nil {
			return err
		}
	}
	if !is {
		return nil
	}
	return r.at(tableIdle).Put(idleKey(k, since, r.known.number, d), nil)
}

// orphaned is since when a manifest has been left behind.
func (r *repoTx) orphaned(d digest.Digest) (since index.Uptime, is bool, err error) {
	value := r.data().Get(r.by(kindOrphan, d))
	if value == nil {
		return 0, false, nil
	}
	e := newDecoder(value)
	return index.Uptime(e.size()), true, e.err
}

// setOrphan notes since when a manifest has been left behind.
func (r *repoTx) setOrphan(d digest.Digest, since index.Uptime) error {
	before, was, err := r.orphaned(d)
	if err != nil {
		return err
	}
	if err := r.setIdle(idleManifest, d, was, before, true, since); err != nil {
		return err
	}
	e := newEncoder()
	e.uint(uint64(max(since, 0)))
	return r.data().Put(r.by(kindOrphan, d), e.b)
}

// orphanAll notes which manifests have been left behind.
func (r *repoTx) orphanAll(all []digest.Digest) error {
	for _, d := range all {
		m, err := r.manifest(d)
		if err != nil {
			return err
		}
		if m == nil || len(r.tagsOf(d)) > 0 || m.Subject != "" && r.has(r.canonical(m.Subject)) {
			continue
		}
		listed, err := r.isChild(d)
		if err != nil {
			return err
		}
		if _, was, err := r.orphaned(d); err != nil {
			return err
		} else if was || listed {
			continue
		}
		if err := r.setOrphan(d, r.now); err != nil {
			return err
		}
	}
	return nil
}

// adopt notes that a manifest is not left behind, or not there, any more.
func (r *repoTx) adopt(d digest.Digest) error {
	since, is, err := r.orphaned(d)
	if err != nil || !is {
		return err
	}
	if err := r.setIdle(idleManifest, d, true, since, false, 0); err != nil {
		return err
	}
	return r.data().Delete(r.by(kindOrphan, d))
}

// adoptAll does so for a manifest that is put, for what it lists, and for what
// refers to it.
func (r *repoTx) adoptAll(m *image.Description) error {
	if r.known.number == 0 || !anyBelow(r.data(), r.key(kindOrphan)) {
		return nil
	}
	all := append([]digest.Digest{m.Digest}, m.Children...)
	names, err := r.names(m.Digest)
	if err != nil {
		return err
	}
	for _, named := range names {
		referrers, err := digestsBelow(r.data(), r.by(kindReferrer, named))
		if err != nil {
			return err
		}
		all = append(all, referrers...)
	}
	for _, d := range all {
		if err := r.adopt(r.canonical(d)); err != nil {
			return err
		}
	}
	return nil
}

// Renew implements index.Idler.
func (i *Index) Renew(ctx context.Context, repository string, d digest.Digest) error {
	old := false
	err := i.read(ctx, "idle_since", repository, func(r *repoTx) error {
		l, _, err := r.link(d)
		if err != nil {
			return err
		}
		since, orphaned, err := r.orphaned(r.canonical(d))
		old = l.idle && i.isOld(l.since) || orphaned && i.isOld(since)
		return err
	})
	if err != nil || !old {
		return err
	}
	return i.update("renew", func(s *session) error {
		r, err := s.change(repository)
		if err != nil || r.known.number == 0 {
			return err
		}
		if err := r.restLink(d, true); err != nil {
			return err
		}
		d := r.canonical(d)
		since, orphaned, err := r.orphaned(d)
		if err != nil || !orphaned || !s.isOld(since) {
			return err
		}
		return r.setOrphan(d, s.now)
	})
}

// IsIdle implements index.Idler.
func (i *Index) IsIdle(ctx context.Context, repository string, manifest digest.Digest, before index.Uptime) (is bool, err error) {
	err = i.read(ctx, "is_idle", repository, func(r *repoTx) error {
		since, orphaned, err := r.orphaned(manifest)
		is = orphaned && since < before
		return err
	})
	return is, err
}

// UnlinkIdle implements index.Idler.
func (i *Index) UnlinkIdle(_ context.Context, l index.Lease, links []digest.Digest, before index.Uptime) (unlinked []digest.Digest, err error) {
	err = i.update("unlink_idle", func(s *session) error {
		unlinked = nil // it may run again
		if err := i.leases.check(l); err != nil {
			return err
		}
		r, err := s.change(l.Repository)
		if err != nil || r.known.number == 0 {
			return err
		}
		for _, d := range links {
			link, linked, err := r.link(d)
			if err != nil {
				return err
			}
			if !linked || !link.idle || link.since >= before || slices.Contains(unlinked, d) || anyBelow(r.data(), r.by(kindReference, d)) {
				continue
			}
			r.idleSince = &link.since
			if err := r.unlink(d); err != nil {
				return err
			}
			unlinked = append(unlinked, d)
		}
		r.idleSince = nil
		return r.count()
	})
	return unlinked, err
}
