package bolt

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
	"github.com/berth-oci/berth/storage/reference"
)

// use is a blob that repositories of a namespace link, or its manifests refer to.
type use struct {
	size  int64 // in bytes, 0 if that is not known
	links int64
	// manifests counts those that refer to it and found it stored, missing
	// those that did not, over all repositories.
	manifests, missing int64
	// fresh says that no manifest has referred to it since it was linked.
	fresh bool
}

const useFresh = 1

func (u use) encode() []byte {
	e := newEncoder()
	for _, n := range []int64{u.size, u.links, u.manifests, u.missing} {
		e.int(n)
	}
	if u.fresh {
		e.uint(useFresh)
	}
	return e.b
}

func (s *session) useOf(space uint32, dgst digest.Digest) (use, error) {
	value := s.at(tableNamespaces).Get(spaceKey(space, kindUse, dgst))
	if value == nil {
		return use{}, nil
	}
	d := newDecoder(value)
	return use{size: d.int(), links: d.int(), manifests: d.int(), missing: d.int(), fresh: d.uint()&useFresh != 0}, d.err
}

func spaceKey(space uint32, k kind, d digest.Digest) []byte {
	return appendDigest(numbered(space, k), d)
}

// settle makes of what has changed what it comes to.
func (u *use) settle() {
	if !u.there() {
		u.size = 0
	}
	if u.links == 0 || u.inUse() {
		u.fresh = false
	}
}

// there reports whether something holds the blob.
func (u use) there() bool { return u.links+u.manifests > 0 }

// inUse reports whether a manifest refers to the blob. Of one without a byte
// every manifest says that it found nothing.
func (u use) inUse() bool { return u.manifests > 0 || u.missing > 0 && u.links > 0 && u.size == 0 }

// amounts are what the blob counts, and what it comes to if it is idle.
func (u use) amounts(d digest.Digest) (bytes, idle int64) {
	if !u.there() {
		return 0, 0
	}
	n := storage.MinCounted * max(u.links-1, 0)
	n += ownBytes(d, u.size)
	if u.inUse() || u.fresh {
		return n, 0
	}
	return 0, n
}

// ownBytes is what a blob counts by itself: by another digest than the canonical
// one it is a link to the same bytes.
func ownBytes(d digest.Digest, size int64) int64 {
	if d.Algorithm() != digest.Canonical {
		return storage.MinCounted
	}
	return storage.Counted(size)
}

func (r *repoTx) namespace() string { return reference.Namespace(r.repository) }

// countManifest counts a manifest of so many bytes that came or went.
func (r *repoTx) countManifest(size, n int64) {
	r.delta.manifests += n
	r.delta.bytes += n * storage.Counted(size)
}

// countTags counts tags that came or went.
func (r *repoTx) countTags(n int64) { r.delta.bytes += n * storage.MinCounted }

// countAliases counts other digests of manifests that came or went.
func (r *repoTx) countAliases(n int64) {
	r.delta.aliases += n
	r.delta.bytes += n * storage.MinCounted
}

// changeUse changes what is known of a blob, and counts what that changes.
func (r *repoTx) changeUse(d digest.Digest, change func(*use)) error {
	old, err := r.useOf(r.space.number, d)
	if err != nil {
		return err
	}
	u := old
	change(&u)
	u.settle()
	if u == old {
		return nil
	}
	if k := spaceKey(r.space.number, kindUse, d); u == (use{}) {
		err = r.at(tableNamespaces).Delete(k)
	} else {
		err = r.at(tableNamespaces).Put(k, u.encode())
	}
	if err == nil && u.there() != old.there() {
		err = r.leaveBlob(d, u.there(), old.size)
	}
	bytesBefore, idleBefore := old.amounts(d)
	bytes, idle := u.amounts(d)
	r.delta.bytes += bytes - bytesBefore
	r.delta.idle += idle - idleBefore
	return err
}

// use counts the blobs of a manifest that came or went.
func (r *repoTx) use(blobs []image.Blob, n int64) error {
	for _, blob := range blobs {
		err := r.changeUse(blob.Digest, func(u *use) {
			if blob.Size > 0 {
				u.size = blob.Size
				u.manifests += n
			} else {
				u.missing += n
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// reuse counts a manifest again, and those of its blobs whose sizes have changed.
func (r *repoTx) reuse(before, now *image.Description) error {
	r.delta.bytes += storage.Counted(now.Size) - storage.Counted(before.Size)
	var gone, come []image.Blob
	for i := range now.Blobs {
		if before.Blobs[i].Size != now.Blobs[i].Size {
			gone, come = append(gone, before.Blobs[i]), append(come, now.Blobs[i])
		}
	}
	if err := r.use(come, +1); err != nil {
		return err
	}
	return r.use(gone, -1)
}

// countLink counts a link of the repository that is about to be written.
func (r *repoTx) countLink(d digest.Digest, size int64, linked bool) error {
	if !linked {
		r.delta.links++
	}
	return r.changeUse(d, func(u *use) {
		if size > 0 {
			u.size = size
		}
		if !linked {
			u.links++
		}
	})
}

// countUnlink counts a link that is about to be deleted.
func (r *repoTx) countUnlink(d digest.Digest) error {
	r.delta.links--
	return r.changeUse(d, func(u *use) { u.links-- })
}

// refresh makes fresh what a client has linked, unless a manifest refers to it.
func (r *repoTx) refresh(blobs map[digest.Digest]int64) error {
	for d := range blobs {
		if err := r.changeUse(d, func(u *use) { u.fresh = true }); err != nil {
			return err
		}
	}
	return nil
}

// counts reports whether the repository links the blobs already, and each of them
// counts: then there is nothing to write down when they come again.
func (i *Index) counts(r *repoTx, blobs map[digest.Digest]int64) (all bool, err error) {
	known, err := r.spaceOf(r.namespace())
	if err != nil {
		return false, err
	}
	for d, size := range blobs {
		if l, found, err := r.link(d); err != nil || !found || l.size != size || l.idle && i.isOld(l.since) {
			return false, err
		}
		u, err := r.useOf(known.number, d)
		if err != nil {
			return false, err
		}
		if _, idle := u.amounts(d); idle > 0 {
			return false, nil
		}
	}
	return true, nil
}

// Idle implements index.Reader.
func (i *Index) Idle(ctx context.Context, namespace string, blobs []digest.Digest) (bytes int64, err error) {
	come := i.arrivals.of(namespace)
	err = i.view(ctx, "idle", func(s *session) error {
		known, err := s.spaceOf(namespace)
		if err != nil {
			return err
		}
		for _, d := range blobs {
			_, u, err := s.useAfter(known.number, d, come)
			if err != nil {
				return err
			}
			_, idle := u.amounts(d)
			bytes += idle
		}
		return nil
	})
	return bytes, err
}

// Adds implements index.Reader.
func (i *Index) Adds(ctx context.Context, repository string, blobs map[digest.Digest]int64) (more int64, err error) {
	come := i.arrivals.of(reference.Namespace(repository))
	err = i.read(ctx, "adds", repository, func(r *repoTx) error {
		known, err := r.spaceOf(r.namespace())
		if err != nil {
			return err
		}
		for d, size := range blobs {
			_, u, err := r.useAfter(known.number, d, come)
			if err != nil {
				return err
			}
			before, _ := u.amounts(d)
			_, linked, err := r.link(d)
			if err != nil {
				return err
			}
			if !linked {
				_, linked = sizeOf(come, repository, d)
			}
			if !linked {
				u.links++
			}
			if size > 0 {
				u.size = size
			}
			u.fresh = true
			after, _ := u.amounts(d)
			more += after - before
		}
		return nil
	})
	return more, err
}

// Stats implements index.Reader.
func (i *Index) Stats(ctx context.Context) (st index.Stats, err error) {
	if err := i.health.error(); err != nil {
		return st, err // so that it is seen that berth is not ready
	}
	come := i.arrivals.byNamespace()
	err = i.view(ctx, "stats", func(s *session) error {
		if st, err = s.stats(); err != nil {
			return err
		}
		remains, err := s.sum(keyRemains)
		st.Uncollected += remains
		for namespace, some := range come {
			if err != nil {
				break
			}
			var before, after spaceRecord
			var others int64
			if before, err = s.spaceOf(namespace); err == nil {
				after, others, err = s.come(before, some)
				st.Bytes += after.bytes - before.bytes
				st.Uncollected += after.idle - before.idle + after.remains - before.remains + others
			}
		}
		return err
	})
	return st, err
}

// stored is what a namespace stores, without what is set aside, and how far
// reservations had been ended then.
func (i *Index) stored(ctx context.Context, namespace string) (u index.Usage, ended uint64, err error) {
	come := i.arrivals.of(namespace)
	err = i.view(ctx, "usage", func(s *session) error {
		known, err := s.spaceOf(namespace)
		if err == nil && len(come) > 0 {
			known, _, err = s.come(known, come)
		}
		u = index.Usage{Images: known.images, Bytes: known.bytes, Uncollected: known.idle + known.remains}
		ended = s.at(tableNamespaces).Sequence()
		return err
	})
	return u, ended, err
}
