package storage

import (
	"context"
	"fmt"
	"iter"
	"path"
	"slices"
	"strings"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage/reference"
)

// A repository may have more manifests, links and tags than fit into memory. They
// are enumerated in order, and never more than so many names are held.

// heldNames is how many names of a folder are held at once, at most twice as many
// while they are picked.
const heldNames = 16 << 10

// lister is a driver that tells what is in a folder in pieces, in any order. It
// returns fn's error, and storagedriver.PathNotFoundError if there is no such
// folder.
type lister interface {
	Each(ctx context.Context, path string, fn func(name string) error) error
}

// walksInOrder are drivers whose Walk asks for files in their order, many at a
// time, and not folder by folder.
var walksInOrder = map[string]bool{"s3aws": true}

// ManifestNames enumerates the canonical digests of the manifests that the
// repository has, or had, in their order: that a name is there does not say that
// there is a link.
func (r Repository) ManifestNames(ctx context.Context) iter.Seq2[digest.Digest, error] {
	return r.digests(ctx, revisionsPath(r.name), digest.Canonical)
}

// AliasNames enumerates in the same way the other digests of its manifests.
func (r Repository) AliasNames(ctx context.Context) iter.Seq2[digest.Digest, error] {
	return r.digests(ctx, revisionsPath(r.name), others...)
}

// LinkNames enumerates in the same way the digests under which it links blobs.
func (r Repository) LinkNames(ctx context.Context) iter.Seq2[digest.Digest, error] {
	return r.digests(ctx, layersPath(r.name), algorithms...)
}

// TagNames enumerates its tags in their order, also those that point to nothing.
func (r Repository) TagNames(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for name, err := range r.store.names(ctx, tagsPath(r.name)) {
			if err != nil {
				err = fmt.Errorf("list tags of %s: %w", r.name, err)
			} else if !reference.IsTag(name) {
				continue
			}
			if !yield(name, err) || err != nil {
				return
			}
		}
	}
}

// CountManifests counts the names of manifests, if that costs next to nothing.
func (r Repository) CountManifests(ctx context.Context) (n int64, counted bool, err error) {
	if r.store.lister == nil {
		return 0, false, nil
	}
	err = r.store.lister.Each(ctx, path.Join(revisionsPath(r.name), digest.Canonical.String()), func(string) error {
		n++
		return nil
	})
	if err != nil && !notFound(err) {
		return 0, false, fmt.Errorf("list %s: %w", r.name, translate(err))
	}
	return n, true, nil
}

// digests enumerates what is in the folders of algorithms, which come in order.
func (r Repository) digests(ctx context.Context, folder string, algorithms ...digest.Algorithm) iter.Seq2[digest.Digest, error] {
	return func(yield func(digest.Digest, error) bool) {
		for _, algorithm := range algorithms {
			names := r.store.names
			if walksInOrder[r.store.driver.Name()] {
				names = r.store.walked // hexadecimal digits come in the order of paths
			}
			for hex, err := range names(ctx, path.Join(folder, string(algorithm))) {
				d := digest.NewDigestFromEncoded(algorithm, hex)
				if err != nil {
					err = fmt.Errorf("list %s: %w", folder, err)
				} else if d.Validate() != nil {
					continue
				}
				if !yield(d, err) || err != nil {
					return
				}
			}
		}
	}
}

// names enumerates what is in a folder in the order of the names; nothing if
// there is no such folder.
func (s *Store) names(ctx context.Context, folder string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if s.lister == nil {
			names, err := s.list(ctx, folder)
			slices.Sort(names)
			for _, name := range names {
				if !yield(name, nil) {
					return
				}
			}
			if err != nil {
				yield("", err)
			}
			return
		}
		for after, more := "", true; more; {
			var some []string
			var err error
			if some, more, err = s.nextNames(ctx, folder, after); err != nil {
				yield("", translate(err))
				return
			}
			for _, name := range some {
				if !yield(name, nil) {
					return
				}
				after = name
			}
		}
	}
}

// nextNames are the first names of a folder after one, in order, and whether there
// may be more. A folder tells its names in an order of its own, so that all of it
// is read each time: that takes next to nothing beside what is done with a name.
func (s *Store) nextNames(ctx context.Context, folder, after string) (first []string, more bool, err error) {
	pick := func() {
		slices.Sort(first)
		if len(first) > heldNames {
			first, more = first[:heldNames], true
		}
	}
	last := "" // of those that are picked, once there are enough
	err = s.lister.Each(ctx, folder, func(name string) error {
		if name <= after || last != "" && name >= last {
			return nil
		}
		if first = append(first, name); len(first) == 2*heldNames {
			pick()
			last = first[len(first)-1]
		}
		return nil
	})
	if notFound(err) {
		return nil, false, nil
	}
	pick()
	return first, more, err
}

// walked enumerates the folders that are in a folder and have a file below them.
func (s *Store) walked(ctx context.Context, folder string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		last, stopped := "", false
		err := s.driver.Walk(ctx, folder, func(found storagedriver.FileInfo) error {
			rest, below := strings.CutPrefix(found.Path(), folder+"/")
			name, _, _ := strings.Cut(rest, "/")
			if !below || found.IsDir() || name == last {
				return nil
			}
			if last = name; !yield(name, nil) {
				stopped = true
				return storagedriver.ErrFilledBuffer
			}
			return nil
		})
		if err != nil && !stopped && !notFound(err) {
			yield("", translate(err))
		}
	}
}
