package bolt

import (
	"bytes"
	"context"
	"slices"

	"github.com/opencontainers/go-digest"
	bbolt "go.etcd.io/bbolt"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage/reference"
)

// Recall implements image.LayerCache.
func (i *Index) Recall(d digest.Digest) (parts image.Parts, found bool) {
	_ = i.view(context.Background(), "recall", func(s *session) error {
		if v := s.at(tableLayers).Get(digestKey(d)); len(v) == 1 {
			parts, found = image.Parts(v[0]), true
		}
		return nil
	})
	return parts, found
}

// Remember implements image.LayerCache. It is written with what the push that it
// belongs to writes; that it is lost costs no more than looking into the layer
// again.
func (i *Index) Remember(d digest.Digest, parts image.Parts) {
	i.w.withNext(func(tx *bbolt.Tx) error {
		s := session{tx: tx}
		return s.at(tableLayers).Put(digestKey(d), []byte{byte(parts)})
	})
}

// Publish implements index.Index.
func (i *Index) Publish(_ context.Context, l index.Lease, u index.Update) (revision index.Revision, err error) {
	if saysMissing(u) {
		defer i.arrivals.publishing(l.Repository)()
	}
	queued, number := false, uint64(0)
	err = i.ending(reference.Namespace(l.Repository), u.Reservation, "publish", func(s *session) error {
		if err := i.leases.check(l); err != nil {
			return err
		}
		r, err := s.change(l.Repository)
		if err != nil {
			return err
		}
		if err := r.checkMissing(u); err != nil {
			return err
		}
		err = r.publish(u)
		queued, number = r.queued, r.number
		return err
	})
	if err != nil {
		return index.Revision{}, err
	}
	i.feed.give(number)
	if revision = i.revision(number); number == 0 {
		revision = i.Last()
	}
	if queued {
		err = i.workOff(l.Repository)
	}
	return revision, err
}

// saysMissing reports whether a description says that a blob is missing.
func saysMissing(u index.Update) bool {
	for _, m := range u.Put {
		if slices.ContainsFunc(m.Blobs, func(b image.Blob) bool { return b.Size <= 0 }) {
			return true
		}
	}
	return false
}

// checkMissing returns ErrLinked if a description says that a blob is missing
// which the repository links: a blob is linked without a lease, and may have
// come after it was looked for.
func (r *repoTx) checkMissing(u index.Update) error {
	for _, m := range u.Put {
		for _, blob := range m.Blobs {
			if blob.Size > 0 || slices.Contains(u.Unlink, blob.Digest) {
				continue
			}
			if l, found, err := r.link(blob.Digest); err != nil || found && l.size != 0 {
				return cmpErr(err, index.ErrLinked)
			}
		}
	}
	return nil
}

// cmpErr is the first error that is one.
func cmpErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *repoTx) publish(u index.Update) error {
	if len(u.Put)+len(u.Tag)+len(u.Alias)+len(u.Link) > 0 {
		if err := r.create(); err != nil {
			return err
		}
	}
	for _, d := range u.Delete {
		if err := r.removeManifest(d); err != nil {
			return err
		}
	}
	if err := r.rename(u.Alias, u.Unalias); err != nil {
		return err
	}
	for _, m := range u.Put {
		if err := r.putManifest(m); err != nil {
			return err
		}
	}
	for _, tag := range u.Untag {
		if err := r.untag(tag); err != nil {
			return err
		}
	}
	if err := r.tagAll(u); err != nil {
		return err
	}
	if err := r.relistAll(); err != nil {
		return err
	}
	if err := r.orphanAll(u.Orphan); err != nil {
		return err
	}
	if err := r.relink(u.Link, u.Unlink); err != nil {
		return err
	}
	if u.Done {
		if err := r.at(tablePending).Delete([]byte(r.repository)); err != nil {
			return err
		}
	}
	if err := r.log(u); err != nil {
		return err
	}
	return r.count()
}

// putManifest writes a description. The bytes of a digest never change, so what
// a manifest refers to is written once, however often it is described again.
func (r *repoTx) putManifest(d image.Description) error {
	old, err := r.manifest(d.Digest)
	if err != nil {
		return err
	}
	var was []byte
	if old != nil {
		was = old.encode()
		if err := r.unlist(old); err != nil {
			return err
		}
	}
	m := newRecord(d)
	if m.composed {
		if m.standing, err = image.Stand(&m.Description, r.find); err != nil {
			return err
		}
	}
	if err := r.store(m, old); err != nil {
		return err
	}
	if err := r.setUUID(m); err != nil {
		return err
	}
	if old == nil {
		r.came = append(r.came, d.Digest)
		if err := r.takeRemains(d.Digest); err != nil {
			return err
		}
	}
	if err := r.adoptAll(&d); err != nil {
		return err
	}
	switch {
	case old != nil && sameReferences(old.Description, d):
		err = r.reuse(&old.Description, &d)
	case old != nil:
		if err = r.unrefer(&old.Description); err == nil {
			err = r.refer(&m.Description)
		}
	default:
		err = r.refer(&m.Description)
	}
	if err != nil {
		return err
	}
	if old != nil && bytes.Equal(was, m.encode()) {
		return nil // nothing has changed for those above it either
	}
	r.changed[d.Digest] = true
	return r.tell(m)
}

// store writes the value of a manifest, and what lies apart from it; old is what
// was there, nil for nothing.
func (r *repoTx) store(m, old *record) error {
	r.affected[m.Digest] = true
	if m.isApart() {
		e := newEncoder()
		m.encodeLists(e)
		if err := r.data().Put(r.by(kindMembers, m.Digest), e.b); err != nil {
			return err
		}
	} else if old != nil && old.isApart() {
		if err := r.data().Delete(r.by(kindMembers, m.Digest)); err != nil {
			return err
		}
	}
	return r.data().Put(r.by(kindManifest, m.Digest), m.encode())
}

// setUUID makes a manifest found by its UUID if, and only if, it is an image.
func (r *repoTx) setUUID(m *record) error {
	id := index.ImageUUID(r.repository, m.Digest)
	if !m.standing.Found {
		return r.at(tableUUIDs).Delete(id[:])
	}
	return r.at(tableUUIDs).Put(id[:], target(r.known.number, m.Digest))
}

// sameReferences reports whether two descriptions of the same bytes refer to
// the same things, as they do unless berth has learned to read more of them.
func sameReferences(a, b image.Description) bool {
	return a.Subject == b.Subject && slices.Equal(a.Children, b.Children) && slices.Equal(a.Members, b.Members) &&
		slices.EqualFunc(a.Blobs, b.Blobs, func(x, y image.Blob) bool { return x.Digest == y.Digest })
}

// refer writes what a manifest refers to, and counts it; unrefer takes that
// away again.
func (r *repoTx) refer(m *image.Description) error {
	if err := r.at(tableDigests).Put(shortKey(m.Digest, r.repository), nil); err != nil {
		return err
	}
	if err := r.putChildren(m); err != nil {
		return err
	}
	for _, blob := range m.Blobs {
		if err := r.data().Put(append(r.by(kindReference, blob.Digest), short(m.Digest)...), nil); err != nil {
			return err
		}
		if err := r.restLink(blob.Digest, false); err != nil {
			return err
		}
	}
	if err := r.putReferrer(m); err != nil {
		return err
	}
	if err := r.use(m.Blobs, +1); err != nil {
		return err
	}
	r.countManifest(m.Size, +1)
	return nil
}

func (r *repoTx) unrefer(m *image.Description) error {
	if err := r.forget(tableDigests, m.Digest); err != nil {
		return err
	}
	for _, child := range m.Children {
		if err := r.data().Delete(r.by(kindParent, child, m.Digest)); err != nil {
			return err
		}
		r.affected[r.canonical(child)] = true
	}
	if err := r.unreferBlobs(m); err != nil {
		return err
	}
	if err := r.deleteReferrer(m); err != nil {
		return err
	}
	if err := r.use(m.Blobs, -1); err != nil {
		return err
	}
	r.countManifest(m.Size, -1)
	return nil
}

// unreferBlobs takes away that a manifest refers to its blobs. A reference that
// another manifest has too, whose digest begins alike, stays.
func (r *repoTx) unreferBlobs(m *image.Description) error {
	if len(m.Blobs) == 0 {
		return nil
	}
	alike, err := r.startingWith(short(m.Digest))
	if err != nil {
		return err
	}
	kept := make(map[digest.Digest]bool)
	for _, d := range alike {
		if d == m.Digest {
			continue
		}
		other, err := r.manifest(d)
		if err != nil {
			return err
		}
		for _, blob := range other.Blobs {
			kept[blob.Digest] = true
		}
	}
	for _, blob := range m.Blobs {
		if kept[blob.Digest] {
			continue
		}
		if err := r.data().Delete(append(r.by(kindReference, blob.Digest), short(m.Digest)...)); err != nil {
			return err
		}
		if err := r.restLink(blob.Digest, false); err != nil {
			return err
		}
	}
	return nil
}

// forget takes away that the repository has something with a digest, unless it
// has something else whose digest begins alike.
func (r *repoTx) forget(t table, d digest.Digest) error {
	kinds := []kind{kindManifest, kindAlias}
	if t == tableHolders {
		kinds = []kind{kindLink}
	}
	for _, k := range kinds {
		alike, err := digestsBelow(r.data(), r.key(k), short(d)...)
		if err != nil || slices.ContainsFunc(alike, func(other digest.Digest) bool { return other != d }) {
			return err
		}
	}
	return r.at(t).Delete(shortKey(d, r.repository))
}

// removeManifest takes a manifest out for good, if it is there, and with it the
// tags that still point to it.
func (r *repoTx) removeManifest(d digest.Digest) error {
	for _, tag := range r.tagsOf(d) {
		if err := r.untag(tag); err != nil {
			return err
		}
	}
	old, err := r.manifest(d)
	if err != nil || old == nil {
		return err
	}
	r.gone = append(r.gone, d)
	if err := r.data().Delete(r.by(kindPulled, d)); err != nil {
		return err
	}
	r.changed[d] = true
	if err := r.unlist(old); err != nil {
		return err
	}
	id := index.ImageUUID(r.repository, d)
	if err := r.at(tableUUIDs).Delete(id[:]); err != nil {
		return err
	}
	if err := r.unrefer(&old.Description); err != nil {
		return err
	}
	if old.isApart() {
		if err := r.data().Delete(r.by(kindMembers, d)); err != nil {
			return err
		}
	}
	if err := r.data().Delete(r.by(kindManifest, d)); err != nil {
		return err
	}
	if err := r.adopt(d); err != nil {
		return err
	}
	if err := r.leaveManifest(d, old.Size); err != nil {
		return err
	}
	return r.tellGone(d)
}
