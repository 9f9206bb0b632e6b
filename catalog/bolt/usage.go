package bolt

import (
	"context"
	"strconv"

	"github.com/opencontainers/go-digest"
	bbolt "go.etcd.io/bbolt"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
	"github.com/berth-oci/berth/storage/reference"
)

// sums are what the index counts of a namespace, in bytes but for the images.
type sums struct {
	Images int64 `json:"images"`
	Bytes  int64 `json:"bytes"`
	Idle   int64 `json:"idle,omitempty"` // of blobs that are idle; what is gone is in remains
}

// use is a blob that repositories of a namespace link, or its manifests refer to.
type use struct {
	Size  int64 `json:"size"` // in bytes, 0 if that is not known
	Links int64 `json:"links,omitempty"`
	// Manifests counts those that refer to it and found it stored, Missing
	// those that did not, over all repositories.
	Manifests int64 `json:"manifests,omitempty"`
	Missing   int64 `json:"missing,omitempty"`
	// Fresh says that no manifest has referred to it since it was linked.
	Fresh bool `json:"fresh,omitempty"`
}

// there reports whether something holds the blob.
func (u use) there() bool { return u.Links+u.Manifests > 0 }

// inUse reports whether a manifest refers to the blob. Of one without a byte
// every manifest says that it found nothing.
func (u use) inUse() bool { return u.Manifests > 0 || u.Missing > 0 && u.Links > 0 && u.Size == 0 }

// amounts are what the blob counts, and what it comes to if it is idle.
func (u use) amounts(d digest.Digest) (bytes, idle int64) {
	if !u.there() {
		return 0, 0
	}
	n := storage.MinCounted * max(u.Links-1, 0)
	n += ownBytes(d, u.Size)
	if u.inUse() || u.Fresh {
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

// add changes the sums of the namespace, and those of all.
func (r *repoTx) add(bytes, idle int64) error {
	if bytes == 0 && idle == 0 {
		return nil
	}
	return r.count(func(s *index.Stats, _ *repository, ns *sums) {
		s.Bytes += bytes
		s.Uncollected += idle
		ns.Bytes += bytes
		ns.Idle += idle
	})
}

// countManifest counts a manifest of so many bytes that came or went.
func (r *repoTx) countManifest(size, n int64) error {
	bytes := n * storage.Counted(size)
	return r.count(func(s *index.Stats, repo *repository, ns *sums) {
		s.Manifests += n
		repo.Manifests += n
		s.Bytes += bytes
		ns.Bytes += bytes
	})
}

// countName counts tags, or other digests of manifests, that came or went.
func (r *repoTx) countName(n int64) error { return r.add(n*storage.MinCounted, 0) }

// changeUse changes what is known of a blob, and returns by how much that
// changes the sums.
func (r *repoTx) changeUse(d digest.Digest, change func(*use)) (bytes, idle int64, err error) {
	bucket, k := r.tx.Bucket(bucketUses), key(r.namespace(), d.String())
	var u use
	if _, err := get(bucket, k, &u); err != nil {
		return 0, 0, err
	}
	old := u
	change(&u)
	if !u.there() {
		u.Size = 0
	}
	if u.Links == 0 || u.inUse() {
		u.Fresh = false
	}
	if u == old {
		return 0, 0, nil
	}
	if u == (use{}) {
		err = bucket.Delete(k)
	} else {
		err = put(bucket, k, u)
	}
	if err == nil && u.there() != old.there() {
		err = r.setRemains(d, u.there(), old.Size)
	}
	if err != nil {
		return 0, 0, err
	}
	bytesBefore, idleBefore := old.amounts(d)
	bytes, idle = u.amounts(d)
	return bytes - bytesBefore, idle - idleBefore, nil
}

// use counts the blobs of a manifest that came or went.
func (r *repoTx) use(blobs []image.Blob, n int64) error {
	var bytes, idle int64
	for _, blob := range blobs {
		b, i, err := r.changeUse(blob.Digest, func(u *use) {
			if blob.Size > 0 {
				u.Size = blob.Size
				u.Manifests += n
			} else {
				u.Missing += n
			}
		})
		if err != nil {
			return err
		}
		bytes, idle = bytes+b, idle+i
	}
	return r.add(bytes, idle)
}

// reuse counts a manifest again, and those of its blobs whose sizes have changed.
func (r *repoTx) reuse(before, now image.Description) error {
	if err := r.add(storage.Counted(now.Size)-storage.Counted(before.Size), 0); err != nil {
		return err
	}
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

// linked reports whether the repository links a blob.
func (r *repoTx) linked(d digest.Digest) bool {
	return r.tx.Bucket(bucketLinks).Get(r.key(d.String())) != nil
}

// linkedWith reports whether it does, with that size.
func (r *repoTx) linkedWith(d digest.Digest, size int64) bool {
	return string(r.tx.Bucket(bucketLinks).Get(r.key(d.String()))) == strconv.FormatInt(size, 10)
}

// link counts a link of the repository that is about to be written.
func (r *repoTx) link(d digest.Digest, size int64) error {
	linked := r.linked(d)
	bytes, idle, err := r.changeUse(d, func(u *use) {
		if size > 0 {
			u.Size = size
		}
		if !linked {
			u.Links++
		}
	})
	if err != nil {
		return err
	}
	return r.add(bytes, idle)
}

// unlink counts a link of the repository that is about to be deleted, if there
// is one.
func (r *repoTx) unlink(d digest.Digest) error {
	if !r.linked(d) {
		return nil
	}
	bytes, idle, err := r.changeUse(d, func(u *use) { u.Links-- })
	if err != nil {
		return err
	}
	return r.add(bytes, idle)
}

// refresh makes fresh what a client has linked, unless a manifest refers to it.
func (r *repoTx) refresh(blobs map[digest.Digest]int64) error {
	for d := range blobs {
		bytes, idle, err := r.changeUse(d, func(u *use) { u.Fresh = true })
		if err == nil {
			err = r.add(bytes, idle)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// counts reports whether a repository links the blobs already, and each of them
// counts: then there is nothing to write down when they come again.
func (i *Index) counts(ctx context.Context, repository string, blobs map[digest.Digest]int64) (all bool, err error) {
	err = i.view(ctx, "linked", func(tx *bbolt.Tx) error {
		r := repoTx{tx: tx, repository: repository}
		for d, size := range blobs {
			if !r.linkedWith(d, size) {
				return nil
			}
			var u use
			if _, err := get(tx.Bucket(bucketUses), key(r.namespace(), d.String()), &u); err != nil {
				return err
			}
			if _, idle := u.amounts(d); idle > 0 {
				return nil
			}
		}
		all = true
		return nil
	})
	return all, err
}

// Idle implements index.Reader.
func (i *Index) Idle(ctx context.Context, namespace string, blobs []digest.Digest) (bytes int64, err error) {
	err = i.view(ctx, "idle", func(tx *bbolt.Tx) error {
		for _, d := range blobs {
			var u use
			if _, err := get(tx.Bucket(bucketUses), key(namespace, d.String()), &u); err != nil {
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
	err = i.view(ctx, "adds", func(tx *bbolt.Tx) error {
		r := repoTx{tx: tx, repository: repository}
		for d, size := range blobs {
			var u use
			if _, err := get(tx.Bucket(bucketUses), key(r.namespace(), d.String()), &u); err != nil {
				return err
			}
			before, _ := u.amounts(d)
			if !r.linked(d) {
				u.Links++
			}
			if size > 0 {
				u.Size = size
			}
			u.Fresh = true
			after, _ := u.amounts(d)
			more += after - before
		}
		return nil
	})
	return more, err
}

// Stats implements index.Reader.
func (i *Index) Stats(ctx context.Context) (s index.Stats, err error) {
	err = i.view(ctx, "stats", func(tx *bbolt.Tx) error {
		if _, err := get(tx.Bucket(bucketMeta), keyStats, &s); err != nil {
			return err
		}
		remains, err := readSum(tx, keyAllRemains)
		s.Uncollected += remains
		return err
	})
	return s, err
}

// stored is what a namespace stores, without what is set aside, and how far
// reservations had been ended then.
func (i *Index) stored(ctx context.Context, namespace string) (u index.Usage, ended uint64, err error) {
	err = i.view(ctx, "usage", func(tx *bbolt.Tx) error {
		var s sums
		if _, err := get(tx.Bucket(bucketNamespaces), []byte(namespace), &s); err != nil {
			return err
		}
		remains, err := readSum(tx, []byte(namespace))
		u = index.Usage{Images: s.Images, Bytes: s.Bytes, Uncollected: s.Idle + remains}
		ended = tx.Bucket(bucketRemains).Sequence()
		return err
	})
	return u, ended, err
}
