package bolt

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// along reads up to n of the keys of a kind that a repository has behind one.
func along[T any](ctx context.Context, i *Index, operation, repository string, k kind, after []byte, n int, read func(rest, value []byte) (T, error)) (some []T, err error) {
	err = i.read(ctx, operation, repository, func(r *repoTx) error {
		some = nil
		for rest, value := range behind(r.data(), r.key(k), after) {
			if len(some) >= n {
				break
			}
			one, err := read(rest, value)
			if err != nil {
				return err
			}
			some = append(some, one)
		}
		return nil
	})
	return some, err
}

// placeOf is where to go on after a digest, nil for the beginning.
func placeOf(d digest.Digest) []byte {
	if d == "" {
		return nil
	}
	return digestKey(d)
}

// ManifestsAfter implements index.Planner.
func (i *Index) ManifestsAfter(ctx context.Context, repository string, after digest.Digest, n int) ([]digest.Digest, error) {
	return along(ctx, i, "manifests_after", repository, kindManifest, placeOf(after), n, func(rest, _ []byte) (digest.Digest, error) {
		return restDigest(rest)
	})
}

// AliasesAfter implements index.Planner.
func (i *Index) AliasesAfter(ctx context.Context, repository string, after digest.Digest, n int) ([]index.Alias, error) {
	return along(ctx, i, "aliases_after", repository, kindAlias, placeOf(after), n, func(rest, value []byte) (index.Alias, error) {
		d, err := restDigest(rest)
		if err != nil {
			return index.Alias{}, err
		}
		canonical, err := restDigest(value)
		return index.Alias{Digest: d, Canonical: canonical}, err
	})
}

// LinksAfter implements index.Planner.
func (i *Index) LinksAfter(ctx context.Context, repository string, after digest.Digest, n int) ([]image.Blob, error) {
	if err := i.flush(); err != nil {
		return nil, err
	}
	return along(ctx, i, "links_after", repository, kindLink, placeOf(after), n, func(rest, value []byte) (image.Blob, error) {
		d, err := restDigest(rest)
		if err != nil {
			return image.Blob{}, err
		}
		l, err := decodeLink(value)
		return image.Blob{Digest: d, Size: l.size}, err
	})
}

// TagsAfter implements index.Planner.
func (i *Index) TagsAfter(ctx context.Context, repository, after string, n int) ([]index.Tag, error) {
	return along(ctx, i, "tags_after", repository, kindTag, []byte(after), n, func(rest, value []byte) (index.Tag, error) {
		return decodeTag(string(rest), value)
	})
}
