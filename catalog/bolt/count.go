package bolt

import (
	"bytes"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage/reference"
)

// repository is what the index counts of a repository.
type repository struct {
	Manifests int64 `json:"manifests"`
	Images    int64 `json:"images"` // listed ones
}

// use is a blob that manifests of a namespace refer to.
type use struct {
	Size int64 `json:"size"` // in bytes
	// Manifests counts those that refer to it and found it stored, Missing
	// those that did not, over all repositories.
	Manifests int64 `json:"manifests"`
	Missing   int64 `json:"missing,omitempty"`
}

// bytes is what the blob adds to what its namespace stores.
func (u use) bytes() int64 {
	if u.Manifests > 0 {
		return u.Size
	}
	return 0
}

func (r *repoTx) countManifest(n int64) error {
	return r.count(func(s *index.Stats, repo *repository, _ *index.Usage) {
		s.Manifests += n
		repo.Manifests += n
	})
}

func (r *repoTx) countImage(image *image.Image, n int64) error {
	return r.count(func(s *index.Stats, repo *repository, ns *index.Usage) {
		if image.Kernel || image.Initrd {
			s.Unikernels += n
		} else {
			s.ROMs += n
		}
		repo.Images += n
		ns.Images += n
	})
}

// use counts the blobs of a manifest that came or went.
func (r *repoTx) use(blobs []image.Blob, n int64) error {
	var delta int64
	bucket, space := r.tx.Bucket(bucketUses), reference.Namespace(r.repository)
	for _, blob := range blobs {
		var u use
		k := key(space, blob.Digest.String())
		if _, err := get(bucket, k, &u); err != nil {
			return err
		}
		delta -= u.bytes()
		if blob.Size > 0 {
			u.Size = blob.Size
			u.Manifests += n
		} else {
			u.Missing += n
		}
		delta += u.bytes()
		if u.Manifests == 0 {
			u.Size = 0
		}
		var err error
		if u == (use{}) {
			err = bucket.Delete(k)
		} else {
			err = put(bucket, k, u)
		}
		if err != nil {
			return err
		}
	}
	return r.count(func(_ *index.Stats, _ *repository, ns *index.Usage) { ns.Bytes += delta })
}

// reuse counts the blobs of a manifest again whose sizes have changed.
func (r *repoTx) reuse(before, now []image.Blob) error {
	var gone, come []image.Blob
	for i := range now {
		if before[i].Size != now[i].Size {
			gone, come = append(gone, before[i]), append(come, now[i])
		}
	}
	if len(come) == 0 {
		return nil
	}
	if err := r.use(gone, -1); err != nil {
		return err
	}
	return r.use(come, +1)
}

// count changes the counters, and removes those of what is empty.
func (r *repoTx) count(change func(*index.Stats, *repository, *index.Usage)) error {
	var (
		stats index.Stats
		repo  repository
		space index.Usage
	)
	meta, repos, spaces := r.tx.Bucket(bucketMeta), r.tx.Bucket(bucketRepositories), r.tx.Bucket(bucketNamespaces)
	repoKey, spaceKey := []byte(r.repository), []byte(reference.Namespace(r.repository))
	if _, err := get(meta, keyStats, &stats); err != nil {
		return err
	}
	if _, err := get(repos, repoKey, &repo); err != nil {
		return err
	}
	if _, err := get(spaces, spaceKey, &space); err != nil {
		return err
	}
	before := repo
	change(&stats, &repo, &space)
	stats.Repositories += present(repo.Manifests) - present(before.Manifests)
	stats.ImageRepositories += present(repo.Images) - present(before.Images)
	if err := put(meta, keyStats, stats); err != nil {
		return err
	}
	if repo == (repository{}) {
		if err := repos.Delete(repoKey); err != nil {
			return err
		}
	} else if err := put(repos, repoKey, repo); err != nil {
		return err
	}
	if space == (index.Usage{}) {
		return spaces.Delete(spaceKey)
	}
	return put(spaces, bytes.Clone(spaceKey), space)
}

func present(n int64) int64 {
	if n > 0 {
		return 1
	}
	return 0
}
