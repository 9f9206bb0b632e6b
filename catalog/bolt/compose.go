package bolt

import (
	"context"
	"encoding/binary"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// An index is put together when it is read; only its place in the lists is kept,
// and has to follow what comes and goes below it. That is cheap where a manifest
// comes: it is compared with the one that stands for the image. Where the one that
// stood for it goes, the index is looked at again, member by member. However many
// indexes refer to a manifest, one transaction looks at so many of them, and the
// rest are queued in the file: answers list them at their old places, or not yet,
// until they have been worked off, which Publish waits for.

// maxFollowed is how many indexes one transaction looks at again because of what
// they refer to.
const maxFollowed = 64

// parentValue is what an index says of a manifest: where it lists it, and as what.
type parentValue struct {
	// ordinal is its place among the members and one more, 0 if it is not among
	// those that are looked at, or more than once.
	ordinal int
	member  image.Member
}

func (p parentValue) encode() []byte {
	e := newEncoder()
	e.uint(uint64(max(p.ordinal, 0)))
	if p.ordinal > 0 {
		e.string(p.member.OS)
		e.string(p.member.Architecture)
	}
	return e.b
}

func decodeParent(child digest.Digest, value []byte) (parentValue, error) {
	d := newDecoder(value)
	p := parentValue{ordinal: int(d.size())}
	p.member = image.Member{Digest: child, OS: d.string(), Architecture: d.string()}
	return p, d.err
}

// putChildren writes what an index refers to.
func (r *repoTx) putChildren(m *image.Description) error {
	values := make(map[digest.Digest]parentValue, len(m.Children))
	for i, member := range m.Members {
		if _, again := values[member.Digest]; again || member.Index {
			values[member.Digest] = parentValue{}
			continue
		}
		values[member.Digest] = parentValue{ordinal: i + 1, member: member}
	}
	for _, child := range m.Children {
		if err := r.data().Put(r.by(kindParent, child, m.Digest), values[child].encode()); err != nil {
			return err
		}
		r.affected[r.canonical(child)] = true
	}
	return nil
}

// tell lets the indexes that refer to a manifest follow that it came or was
// described again.
func (r *repoTx) tell(m *record) error {
	names, err := r.names(m.Digest)
	if err != nil {
		return err
	}
	for _, name := range names {
		err := r.above(name, func(s image.Standing, index *record, p parentValue) (image.Standing, bool) {
			return s.With(&index.Description, p.ordinal-1, p.member, &m.Description)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// tellGone lets them follow that a manifest is gone.
func (r *repoTx) tellGone(d digest.Digest) error {
	return r.above(d, func(s image.Standing, _ *record, p parentValue) (image.Standing, bool) {
		return s, s.Flat && (!s.Found || s.Ordinal != p.ordinal-1)
	})
}

// tellOther lets them follow that a digest names another manifest, or none.
func (r *repoTx) tellOther(d digest.Digest) error {
	return r.above(d, func(s image.Standing, _ *record, _ parentValue) (image.Standing, bool) { return s, false })
}

// shortcut says what the place of an index is now, given what it says of the
// manifest that changed, and whether it could.
type shortcut func(image.Standing, *record, parentValue) (image.Standing, bool)

// above lets every index follow that refers to a digest.
func (r *repoTx) above(d digest.Digest, cut shortcut) error {
	type parent struct {
		digest.Digest
		parentValue
	}
	var parents []parent
	err := below(r.data(), r.by(kindParent, d), func(rest, value []byte) error {
		found, err := restDigest(rest)
		if err != nil {
			return err
		}
		p, err := decodeParent(d, value)
		parents = append(parents, parent{found, p})
		return err
	})
	if err != nil {
		return err
	}
	for _, p := range parents {
		if err := r.follow(p.Digest, p.parentValue, cut); err != nil {
			return err
		}
	}
	return nil
}

// follow brings the place of an index up to date. Where the shortcut cannot say
// what it is now, all of the index is looked at.
func (r *repoTx) follow(d digest.Digest, p parentValue, cut shortcut) error {
	value := r.data().Get(r.by(kindManifest, d))
	if value == nil {
		return nil
	}
	m, err := decodeRecord(d, value, nil)
	if err != nil || !m.composed {
		return err
	}
	if err := r.touch(d); err != nil {
		return err
	}
	now, ok := m.standing, false
	if p.ordinal > 0 {
		now, ok = cut(m.standing, m, p)
	}
	if ok && same(now, m.standing) {
		return nil
	}
	if r.followed >= maxFollowed {
		r.queued = true
		return r.at(tableQueue).Put(queueKey(r.known.number, d), nil)
	}
	r.followed++
	if !ok {
		if m, err = r.decode(d, value); err != nil {
			return err
		}
		if now, err = image.Stand(&m.Description, r.find); err != nil || same(now, m.standing) {
			return err
		}
	}
	return r.place(m, now)
}

// place gives an index another place, and lets those above it follow.
func (r *repoTx) place(m *record, now image.Standing) error {
	if err := r.unlist(m); err != nil {
		return err
	}
	m.standing = now
	r.affected[m.Digest], r.changed[m.Digest] = true, true
	if err := r.data().Put(r.by(kindManifest, m.Digest), m.encode()); err != nil {
		return err
	}
	if err := r.setUUID(m); err != nil {
		return err
	}
	names, err := r.names(m.Digest)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := r.tellOther(name); err != nil {
			return err
		}
	}
	return nil
}

// workOff looks at the indexes of a repository that are queued, some in each
// transaction.
func (i *Index) workOff(repository string) error {
	for more := true; more; {
		var number uint64
		err := i.update("work_off", func(s *session) (err error) {
			r, err := s.change(repository)
			if err == nil {
				more, err = r.workOff()
				number = r.number
			}
			return err
		})
		if err != nil {
			return err
		}
		i.feed.give(number)
	}
	return nil
}

// workOff looks at some, and reports whether there are more.
func (r *repoTx) workOff() (more bool, err error) {
	queue, err := digestsBelow(r.at(tableQueue), queueKey(r.known.number, "")[:numberLength])
	if err != nil {
		return false, err
	}
	more = len(queue) > maxFollowed
	queue = queue[:min(len(queue), maxFollowed)]
	for _, d := range queue {
		if err := r.at(tableQueue).Delete(queueKey(r.known.number, d)); err != nil {
			return false, err
		}
	}
	for _, d := range queue {
		if err := r.follow(d, parentValue{}, nil); err != nil {
			return false, err
		}
	}
	if err := r.relistAll(); err != nil {
		return false, err
	}
	if err := r.log(index.Update{}); err != nil {
		return false, err
	}
	return more || r.queued, r.count()
}

// workOffAll does that for what an earlier process left.
func (i *Index) workOffAll() error {
	for {
		left := ""
		err := i.view(context.Background(), "queue", func(s *session) (err error) {
			if k, _ := s.at(tableQueue).Cursor().First(); len(k) > numberLength {
				left, err = s.nameOf(binary.BigEndian.Uint32(k))
			}
			return err
		})
		if err != nil || left == "" {
			return err
		}
		if err := i.workOff(left); err != nil {
			return err
		}
	}
}
