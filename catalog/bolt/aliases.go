package bolt

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/index"
)

// The bytes of a manifest may have several digests: the canonical one, under
// which all that is known of it is kept, and others under which it was pushed.
// Tags, indexes and subjects may name it by any of them, also before it comes.

// canonical is the digest under which a manifest is kept: itself for one that
// is no alias.
func (r *repoTx) canonical(d digest.Digest) digest.Digest {
	if r.plain {
		return d
	}
	if value := r.data().Get(r.by(kindAlias, d)); value != nil {
		target, err := restDigest(value)
		if err != nil {
			panic(fmt.Errorf("alias %s of %s: %w", d, r.repository, err)) // see guard
		}
		return target
	}
	return d
}

// names are all digests of a manifest, the canonical one first.
func (r *repoTx) names(canonical digest.Digest) ([]digest.Digest, error) {
	if r.plain {
		return []digest.Digest{canonical}, nil
	}
	aliases, err := digestsBelow(r.data(), r.by(kindOther, canonical))
	return append([]digest.Digest{canonical}, aliases...), err
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
	before := r.canonical(alias)
	tags, err := r.untagAs(before, alias)
	if err != nil {
		return err
	}
	r.affected[before], r.changed[before] = true, true
	r.plain = false
	if target != "" {
		r.countAliases(+1)
	}
	if before != alias {
		r.countAliases(-1)
		if err := r.data().Delete(r.by(kindOther, before, alias)); err != nil {
			return err
		}
	}
	after := alias
	if target == "" {
		if err := r.data().Delete(r.by(kindAlias, alias)); err != nil {
			return err
		}
		if err := r.forget(tableDigests, alias); err != nil {
			return err
		}
	} else {
		after = target
		if err := r.at(tableDigests).Put(shortKey(alias, r.repository), nil); err != nil {
			return err
		}
		if err := r.data().Put(r.by(kindAlias, alias), digestKey(target)); err != nil {
			return err
		}
		if err := r.data().Put(r.by(kindOther, target, alias), nil); err != nil {
			return err
		}
	}
	r.affected[after], r.changed[after] = true, true
	for _, tag := range tags {
		if err := r.data().Put(append(r.by(kindTagged, after), tag...), nil); err != nil {
			return err
		}
	}
	// An index that names the manifest so lists another one from now on.
	return r.tellOther(alias)
}

// untagAs takes the tags that name a manifest by one of its digests off it.
func (r *repoTx) untagAs(canonical, alias digest.Digest) (tags []string, err error) {
	for _, tag := range r.tagsOf(canonical) {
		pointed, err := r.tagged(tag)
		if err != nil {
			return nil, err
		}
		if pointed != alias {
			continue
		}
		tags = append(tags, tag)
		if err := r.data().Delete(append(r.by(kindTagged, canonical), tag...)); err != nil {
			return nil, err
		}
	}
	return tags, nil
}

// isChild reports whether an index of the repository refers to a manifest, by any
// of its digests.
func (r *repoTx) isChild(canonical digest.Digest) (bool, error) {
	names, err := r.names(canonical)
	for _, name := range names {
		if anyBelow(r.data(), r.by(kindParent, name)) {
			return true, nil
		}
	}
	return false, err
}

// Canonical implements index.Reader.
func (i *Index) Canonical(ctx context.Context, repository string, d digest.Digest) (canonical digest.Digest, err error) {
	err = i.read(ctx, "canonical", repository, func(r *repoTx) error {
		if canonical = r.canonical(d); !r.has(canonical) {
			return index.ErrNotFound
		}
		return nil
	})
	return canonical, err
}

// Aliases implements index.Planner.
func (i *Index) Aliases(ctx context.Context, repository string, canonical digest.Digest) (aliases []digest.Digest, err error) {
	err = i.read(ctx, "aliases", repository, func(r *repoTx) error {
		names, err := r.names(canonical)
		aliases = names[1:]
		return err
	})
	return aliases, err
}
