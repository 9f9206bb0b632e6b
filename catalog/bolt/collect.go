package bolt

import (
	"bytes"
	"context"
	"encoding/binary"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
	"github.com/berth-oci/berth/storage/reference"
)

// IdleBefore implements index.Idler.
func (i *Index) IdleBefore(ctx context.Context, kind index.IdleKind, before index.Uptime, after string, n int) (all []index.Idle, err error) {
	err = i.viewAll(ctx, "idle_before", func(s *session) error {
		for k := range behind(s.at(tableIdle), []byte{byte(idleKinds[kind])}, []byte(after)) {
			if len(all) >= n {
				break
			}
			found, err := s.idle(kind, k)
			if err != nil {
				return err
			}
			if found.Since >= before {
				break
			}
			found.Position = string(k)
			all = append(all, found)
		}
		return nil
	})
	return all, err
}

// idle is what a key of the bucket stands for.
func (s *session) idle(kind index.IdleKind, k []byte) (index.Idle, error) {
	found := index.Idle{Kind: kind}
	if len(k) < uptimeLength+numberLength {
		return found, errValue
	}
	found.Since = index.Uptime(binary.BigEndian.Uint64(k)) //nolint:gosec // as written
	number := binary.BigEndian.Uint32(k[uptimeLength:])
	d, err := restDigest(k[uptimeLength+numberLength:])
	if err != nil {
		return found, err
	}
	found.Digest = d
	if kind == index.IdleBytes || kind == index.IdleKept {
		m, _, err := s.remnantOf(d, number)
		found.Size = m.bytes
		if number != nobody {
			found.Namespace = string(s.at(tableNamespaces).Get(numbered(number, kindName)))
		}
		return found, err
	}
	r, err := s.openNumber(number)
	if err != nil {
		return found, err
	}
	found.Repository = r.repository
	if kind == index.IdleLink {
		l, _, err := r.link(d)
		if err != nil {
			return found, err
		}
		found.Size, found.Aliased = l.size, r.linksByOthers()
	}
	return found, nil
}

// linksByOthers reports whether the repository links blobs by other digests than
// the canonical ones.
func (r *repoTx) linksByOthers() bool {
	canonical, _ := numberOf(digest.Canonical.FromBytes(nil))
	for n := range algorithms {
		if byte(n) != canonical && anyBelow(r.data(), append(r.key(kindLink), byte(n))) { //nolint:gosec // small
			return true
		}
	}
	return false
}

// isHeld reports whether a repository links bytes, or has them as a manifest.
func (s *session) isHeld(d digest.Digest) (held bool, err error) {
	for _, t := range []table{tableHolders, tableDigests} {
		prefix := short(d)
		c := s.at(t).Cursor()
		for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix) && !held; k, _ = c.Next() {
			r, err := s.open(string(k[len(prefix):]))
			if err != nil {
				return false, err
			}
			// Another digest may begin alike.
			if t == tableDigests {
				held = r.has(d)
			} else if _, held, err = r.link(d); err != nil {
				return false, err
			}
		}
	}
	return held, nil
}

// Loose implements index.Idler.
func (i *Index) Loose(ctx context.Context, digests []digest.Digest, before index.Uptime, kept bool) (loose, held []digest.Digest, err error) {
	err = i.viewAll(ctx, "loose", func(s *session) error {
		for _, d := range digests {
			isHeld := false
			if !kept {
				if isHeld, err = s.isHeld(d); err != nil {
					return err
				}
			}
			remnants, err := s.remnantsOf(d)
			if err != nil {
				return err
			}
			some, old := false, true // whoever had them last had them until then
			for _, m := range remnants {
				if m.kept == kept {
					some, old = true, old && m.since < before
				}
			}
			switch {
			case isHeld:
				held = append(held, d)
			case some && old:
				loose = append(loose, d)
			}
		}
		return nil
	})
	return loose, held, err
}

// Dispose implements index.Idler.
func (i *Index) Dispose(_ context.Context, digests []digest.Digest, kept bool) (held []digest.Digest, err error) {
	err = i.update("dispose", func(s *session) error {
		held = nil // it may run again
		for _, d := range digests {
			isHeld, err := s.isHeld(d)
			if err != nil {
				return err
			}
			if isHeld {
				held = append(held, d)
			}
			remnants, err := s.remnantsOf(d)
			if err != nil {
				return err
			}
			for space, old := range remnants {
				if old.kept && (!kept || isHeld) {
					continue // it is emptied
				}
				if err := s.dispose(d, space, old, kept && !isHeld); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return held, err
}

// dispose notes that what is left of something in a namespace is kept, or gone.
func (s *session) dispose(d digest.Digest, space uint32, old remnant, kept bool) error {
	if kept {
		now := remnant{bytes: old.bytes, since: s.now, kept: true}
		return s.putRemnant(d, space, &old, &now)
	}
	if err := s.putRemnant(d, space, &old, nil); err != nil {
		return err
	}
	if err := s.addTo(keyRemains, -old.bytes); err != nil || space == nobody {
		return err
	}
	name := string(s.at(tableNamespaces).Get(numbered(space, kindName)))
	known, err := s.spaceOf(name)
	if err != nil {
		return err
	}
	if known.number != space {
		return errValue
	}
	known.remains -= old.bytes
	return s.putSpaceOf(name, known)
}

// Emptied implements index.Idler.
func (i *Index) Emptied(_ context.Context, digests []digest.Digest, before index.Uptime) error {
	return i.update("emptied", func(s *session) error {
		for _, d := range digests {
			remnants, err := s.remnantsOf(d)
			if err != nil {
				return err
			}
			for space, old := range remnants {
				if !old.kept || old.since >= before {
					continue
				}
				if err := s.dispose(d, space, old, false); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// Strays implements index.Idler.
func (i *Index) Strays(ctx context.Context, stored []digest.Digest, kept bool) (strays []digest.Digest, err error) {
	err = i.view(ctx, "strays", func(s *session) error {
		for _, d := range stored {
			is, err := s.isStray(d, kept)
			if err != nil {
				return err
			}
			if is {
				strays = append(strays, d)
			}
		}
		return nil
	})
	return strays, err
}

func (s *session) isStray(d digest.Digest, kept bool) (bool, error) {
	if !kept {
		if held, err := s.isHeld(d); err != nil || held {
			return false, err
		}
	}
	remnants, err := s.remnantsOf(d)
	for space, m := range remnants {
		// What is nobody's in one place is found once more when it is in one alone.
		if m.kept == kept || space == nobody {
			return false, err
		}
	}
	return err == nil, err
}

// Adopt implements index.Idler.
func (i *Index) Adopt(_ context.Context, strays map[digest.Digest]int64, kept bool) error {
	return i.update("adopt", func(s *session) error {
		for d, size := range strays {
			if is, err := s.isStray(d, kept); err != nil || !is {
				if err != nil {
					return err
				}
				continue
			}
			now := remnant{bytes: storage.Counted(size), since: s.now, kept: kept}
			if err := s.addTo(keyRemains, now.bytes); err != nil {
				return err
			}
			if err := s.putRemnant(d, nobody, nil, &now); err != nil {
				return err
			}
		}
		return nil
	})
}

// Left implements index.Idler.
func (i *Index) Left(ctx context.Context, namespace string, d digest.Digest) (left bool, err error) {
	err = i.view(ctx, "left", func(s *session) error {
		known, err := s.spaceOf(reference.Namespace(namespace))
		if err == nil && known.number != 0 {
			_, left, err = s.remnantOf(d, known.number)
		}
		return err
	})
	return left, err
}

// Kept implements index.Idler.
func (i *Index) Kept(ctx context.Context) (n int64, err error) {
	err = i.view(ctx, "kept", func(s *session) error {
		n, err = s.sum(keyKept)
		return err
	})
	return n, err
}
