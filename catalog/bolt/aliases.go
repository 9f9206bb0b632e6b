package bolt

import (
	"context"

	"github.com/opencontainers/go-digest"
	bbolt "go.etcd.io/bbolt"

	"github.com/berth-oci/berth/catalog/index"
)

// The bytes of a manifest may have several digests: the canonical one, under
// which all that is known of it is kept, and others under which it was pushed.
// Tags, indexes and subjects may name it by any of them, also before it comes.

// canonical is the digest under which a manifest is kept: itself for one that
// is no alias.
func (r *repoTx) canonical(d digest.Digest) digest.Digest {
	if target := r.tx.Bucket(bucketAliases).Get(r.key(d.String())); target != nil {
		return digest.Digest(target)
	}
	return d
}

// names are all digests of a manifest, the canonical one first.
func (r *repoTx) names(canonical digest.Digest) []digest.Digest {
	all := []digest.Digest{canonical}
	_ = below(r.tx.Bucket(bucketNames), prefix(r.repository, canonical.String()), func(alias string, _ []byte) error {
		all = append(all, digest.Digest(alias))
		return nil
	})
	return all
}

// rename takes aliases away and adds others. A tag that points to an alias is
// one of the manifest that it stands for.
func (r *repoTx) rename(add map[digest.Digest]digest.Digest, remove []digest.Digest) error {
	for _, alias := range remove {
		if err := r.retag(alias, ""); err != nil {
			return err
		}
	}
	for alias, target := range add {
		if err := r.retag(alias, target); err != nil {
			return err
		}
	}
	return nil
}

// retag makes an alias stand for target, or for nothing, and its tags with it.
func (r *repoTx) retag(alias, target digest.Digest) error {
	var tags []string
	before := r.canonical(alias)
	tagged, byTag := r.tx.Bucket(bucketTagged), r.tx.Bucket(bucketTags)
	for _, tag := range r.tagsOf(before) {
		if string(byTag.Get(r.key(tag))) == string(alias) {
			tags = append(tags, tag)
			if err := tagged.Delete(r.key(before.String(), tag)); err != nil {
				return err
			}
		}
	}
	r.affected[before] = true
	var more int64
	if target != "" {
		more++
	}
	if before != alias {
		more--
	}
	if err := r.countName(more); err != nil {
		return err
	}
	aliases, names := r.tx.Bucket(bucketAliases), r.tx.Bucket(bucketNames)
	if before != alias {
		if err := names.Delete(r.key(before.String(), alias.String())); err != nil {
			return err
		}
	}
	after, repositories := alias, r.tx.Bucket(bucketDigests)
	if target == "" {
		if err := aliases.Delete(r.key(alias.String())); err != nil {
			return err
		}
		if err := repositories.Delete(key(alias.String(), r.repository)); err != nil {
			return err
		}
	} else {
		if err := repositories.Put(key(alias.String(), r.repository), nil); err != nil {
			return err
		}
		after = target
		if err := aliases.Put(r.key(alias.String()), []byte(target)); err != nil {
			return err
		}
		if err := names.Put(r.key(target.String(), alias.String()), nil); err != nil {
			return err
		}
	}
	r.affected[after] = true
	for _, tag := range tags {
		if err := tagged.Put(r.key(after.String(), tag), nil); err != nil {
			return err
		}
	}
	return nil
}

// isChild reports whether an index of the repository refers to a manifest, by any
// of its digests.
func (r *repoTx) isChild(canonical digest.Digest) bool {
	for _, name := range r.names(canonical) {
		if anyBelow(r.tx.Bucket(bucketParents), prefix(r.repository, name.String())) {
			return true
		}
	}
	return false
}

// Canonical implements index.Reader.
func (i *Index) Canonical(ctx context.Context, repository string, d digest.Digest) (canonical digest.Digest, err error) {
	err = i.view(ctx, "canonical", func(tx *bbolt.Tx) error {
		t := repoTx{tx: tx, repository: repository}
		canonical = t.canonical(d)
		if tx.Bucket(bucketManifests).Get(t.key(canonical.String())) == nil {
			return index.ErrNotFound
		}
		return nil
	})
	return canonical, err
}

// Aliases implements index.Planner.
func (i *Index) Aliases(ctx context.Context, repository string, canonical digest.Digest) (aliases []digest.Digest, err error) {
	err = i.view(ctx, "aliases", func(tx *bbolt.Tx) error {
		t := repoTx{tx: tx, repository: repository}
		aliases = t.names(canonical)[1:]
		return nil
	})
	return aliases, err
}
