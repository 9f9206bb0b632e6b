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

func (r *repoTx) countImage(image *image.Image, n int64) error {
	return r.count(func(s *index.Stats, repo *repository, ns *sums) {
		if image.Kernel || image.Initrd {
			s.Unikernels += n
		} else {
			s.ROMs += n
		}
		repo.Images += n
		ns.Images += n
	})
}

// count changes the counters, and removes those of what is empty.
func (r *repoTx) count(change func(*index.Stats, *repository, *sums)) error {
	var (
		stats index.Stats
		repo  repository
		space sums
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
	if space == (sums{}) {
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
