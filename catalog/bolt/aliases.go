package bolt

import (
	"bytes"
	"context"

	"github.com/opencontainers/go-digest"
	bbolt "go.etcd.io/bbolt"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// The bytes of a manifest may have several digests: the canonical one, under
// which all that is known of it is kept, and others under which it was pushed.
// Tags, indexes and subjects may name it by any of them, also before it comes.

// canonical is the digest under which a manifest is kept: itself for one that
// is no alias.
func (t *repoTx) canonical(d digest.Digest) digest.Digest {
	if target := t.tx.Bucket(bucketAliases).Get(t.key(d.String())); target != nil {
		return digest.Digest(target)
	}
	return d
}

// names are all digests of a manifest, the canonical one first.
func (t *repoTx) names(canonical digest.Digest) []digest.Digest {
	all := []digest.Digest{canonical}
	_ = below(t.tx.Bucket(bucketNames), prefix(t.repository, canonical.String()), func(alias string, _ []byte) error {
		all = append(all, digest.Digest(alias))
		return nil
	})
	return all
}

// rename takes aliases away and adds others. A tag that points to an alias is
// one of the manifest that it stands for.
func (t *repoTx) rename(add map[digest.Digest]digest.Digest, remove []digest.Digest) error {
	for _, alias := range remove {
		if err := t.retag(alias, ""); err != nil {
			return err
		}
	}
	for alias, target := range add {
		if err := t.retag(alias, target); err != nil {
			return err
		}
	}
	return nil
}

// retag makes an alias stand for target, or for nothing, and its tags with it.
func (t *repoTx) retag(alias, target digest.Digest) error {
	var tags []string
	before := t.canonical(alias)
	tagged, byTag := t.tx.Bucket(bucketTagged), t.tx.Bucket(bucketTags)
	for _, tag := range t.tagsOf(before) {
		if string(byTag.Get(t.key(tag))) == string(alias) {
			tags = append(tags, tag)
			if err := tagged.Delete(t.key(before.String(), tag)); err != nil {
				return err
			}
		}
	}
	t.affected[before] = true
	aliases, names := t.tx.Bucket(bucketAliases), t.tx.Bucket(bucketNames)
	if before != alias {
		if err := names.Delete(t.key(before.String(), alias.String())); err != nil {
			return err
		}
	}
	after, repositories := alias, t.tx.Bucket(bucketDigests)
	if target == "" {
		if err := aliases.Delete(t.key(alias.String())); err != nil {
			return err
		}
		if err := repositories.Delete(key(alias.String(), t.repository)); err != nil {
			return err
		}
	} else {
		if err := repositories.Put(key(alias.String(), t.repository), nil); err != nil {
			return err
		}
		after = target
		if err := aliases.Put(t.key(alias.String()), []byte(target)); err != nil {
			return err
		}
		if err := names.Put(t.key(target.String(), alias.String()), nil); err != nil {
			return err
		}
	}
	t.affected[after] = true
	for _, tag := range tags {
		if err := tagged.Put(t.key(after.String(), tag), nil); err != nil {
			return err
		}
	}
	return nil
}

// isChild says whether an index of the repository refers to a manifest, by any
// of its digests.
func (t *repoTx) isChild(canonical digest.Digest) bool {
	for _, name := range t.names(canonical) {
		if anyBelow(t.tx.Bucket(bucketParents), prefix(t.repository, name.String())) {
			return true
		}
	}
	return false
}

// Canonical implements index.Reader.
func (x *Index) Canonical(ctx context.Context, repository string, d digest.Digest) (canonical digest.Digest, err error) {
	err = x.view(ctx, "canonical", func(tx *bbolt.Tx) error {
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
func (x *Index) Aliases(ctx context.Context, repository string, canonical digest.Digest) (aliases []digest.Digest, err error) {
	err = x.view(ctx, "aliases", func(tx *bbolt.Tx) error {
		t := repoTx{tx: tx, repository: repository}
		aliases = t.names(canonical)[1:]
		return nil
	})
	return aliases, err
}

// Referrers implements index.Reader.
func (x *Index) Referrers(ctx context.Context, repository string, subject, after digest.Digest, n int) (referrers []image.Description, err error) {
	err = x.view(ctx, "referrers", func(tx *bbolt.Tx) error {
		t := repoTx{tx: tx, repository: repository}
		m := merge{}
		for _, name := range t.names(t.canonical(subject)) {
			p := prefix(repository, name.String())
			s := &span{cursor: tx.Bucket(bucketReferrers).Cursor(), prefix: p, strip: len(p), place: bytes.Clone}
			if s.seek(append(bytes.Clone(p), after...)); after != "" && s.k != nil && string(s.k[len(p):]) == string(after) {
				s.advance()
			}
			m = append(m, s)
		}
		for s := m.least(); s != nil && len(referrers) < n; s = m.least() {
			d := digest.Digest(s.k[s.strip:])
			s.advance()
			description := image.Description{Digest: d}
			if _, err := get(tx.Bucket(bucketManifests), t.key(d.String()), &description); err != nil {
				return err
			}
			referrers = append(referrers, description)
		}
		return nil
	})
	return referrers, err
}
