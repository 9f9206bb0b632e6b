package bolt

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"
	bbolt "go.etcd.io/bbolt"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// Entry implements index.Reader.
func (i *Index) Entry(ctx context.Context, repository string, d digest.Digest) (e index.Entry, err error) {
	err = i.view(ctx, "entry", func(tx *bbolt.Tx) error {
		e, _, err = entry(tx, repository, d)
		return err
	})
	return e, err
}

// entry reads an image, and says how many bytes it takes in the index.
func entry(tx *bbolt.Tx, repository string, d digest.Digest) (e index.Entry, size int, err error) {
	t := repoTx{tx: tx, repository: repository}
	d = t.canonical(d)
	var m image.Description
	k := key(repository, d.String())
	found, err := get(tx.Bucket(bucketManifests), k, &m)
	if err != nil {
		return index.Entry{}, 0, err
	}
	if !found || m.Image == nil {
		return index.Entry{}, 0, index.ErrNotFound
	}
	e = index.Entry{Repository: repository, Digest: d, Aliases: t.names(d)[1:], Tags: t.tagsOf(d), Image: *m.Image}
	size = len(tx.Bucket(bucketManifests).Get(k))
	for _, tag := range e.Tags {
		size += len(repository) + len(tag)
	}
	return e, size, nil
}

// Tagged implements index.Reader.
func (i *Index) Tagged(ctx context.Context, repository, tag string) (e index.Entry, err error) {
	err = i.view(ctx, "tagged", func(tx *bbolt.Tx) error {
		v := tx.Bucket(bucketTags).Get(key(repository, tag))
		if v == nil {
			return index.ErrNotFound
		}
		e, _, err = entry(tx, repository, digest.Digest(v))
		return err
	})
	return e, err
}

// Resolve implements index.Reader.
func (i *Index) Resolve(ctx context.Context, repository, tag string) (d digest.Digest, err error) {
	err = i.view(ctx, "resolve", func(tx *bbolt.Tx) error {
		v := tx.Bucket(bucketTags).Get(key(repository, tag))
		if v == nil {
			return index.ErrNotFound
		}
		d = digest.Digest(v)
		return nil
	})
	return d, err
}

// ByUUID implements index.Reader.
func (i *Index) ByUUID(ctx context.Context, id uuid.UUID, within []string) (e index.Entry, err error) {
	err = i.view(ctx, "by_uuid", func(tx *bbolt.Tx) error {
		// Up to the answer, the same is done for what is not there.
		v := tx.Bucket(bucketUUIDs).Get(id[:])
		name, encoded := split(v)
		if may := index.Within(within, name); v == nil || !may {
			return index.ErrNotFound
		}
		e, _, err = entry(tx, name, digest.Digest(encoded))
		return err
	})
	return e, err
}

// ByDigest implements index.Reader.
func (i *Index) ByDigest(ctx context.Context, d digest.Digest, namespaces []string, after string, n int) (entries []index.Entry, err error) {
	err = i.view(ctx, "by_digest", func(tx *bbolt.Tx) error {
		start := string(prefix(d.String()))
		m := namesIn(tx.Bucket(bucketDigests), start, namespaces, after)
		bytes := 0
		for s := m.least(); s != nil && len(entries) < n && bytes < index.BatchBytes; s = m.least() {
			e, size, err := entry(tx, string(s.k[len(start):]), d)
			s.advance()
			if errors.Is(err, index.ErrNotFound) {
				// The same bytes are no unikernel in any repository that has
				// the same layers, but one may lack them.
				continue
			}
			if err != nil {
				return err
			}
			entries = append(entries, e)
			bytes += size
		}
		return nil
	})
	return entries, err
}

// State implements index.Planner.
func (i *Index) State(ctx context.Context, repository string) (index.State, error) {
	s := index.State{
		Tags:      make(map[string]digest.Digest),
		Manifests: make(map[digest.Digest]struct{}),
		Aliases:   make(map[digest.Digest]digest.Digest),
		Links:     make(map[digest.Digest]int64),
	}
	start := prefix(repository)
	err := i.view(ctx, "state", func(tx *bbolt.Tx) error {
		err := below(tx.Bucket(bucketTags), start, func(tag string, v []byte) error {
			s.Tags[tag] = digest.Digest(v)
			return nil
		})
		if err != nil {
			return err
		}
		err = below(tx.Bucket(bucketManifests), start, func(d string, _ []byte) error {
			s.Manifests[digest.Digest(d)] = struct{}{}
			return nil
		})
		if err != nil {
			return err
		}
		err = below(tx.Bucket(bucketAliases), start, func(alias string, v []byte) error {
			s.Aliases[digest.Digest(alias)] = digest.Digest(v)
			return nil
		})
		if err != nil {
			return err
		}
		return below(tx.Bucket(bucketLinks), start, func(d string, v []byte) error {
			size, err := strconv.ParseInt(string(v), 10, 64)
			s.Links[digest.Digest(d)] = size
			return err
		})
	})
	return s, err
}

// Parents implements index.Planner.
func (i *Index) Parents(ctx context.Context, repository string, d digest.Digest) (parents []digest.Digest, err error) {
	err = i.view(ctx, "parents", func(tx *bbolt.Tx) error {
		t := repoTx{tx: tx, repository: repository}
		for _, name := range t.names(t.canonical(d)) {
			err := below(tx.Bucket(bucketParents), prefix(repository, name.String()), func(parent string, _ []byte) error {
				parents = append(parents, digest.Digest(parent))
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return parents, err
}

// Children implements index.Planner.
func (i *Index) Children(ctx context.Context, repository string, d digest.Digest) (children []digest.Digest, err error) {
	err = i.view(ctx, "children", func(tx *bbolt.Tx) error {
		t := repoTx{tx: tx, repository: repository}
		var m image.Description
		if _, err := get(tx.Bucket(bucketManifests), key(repository, d.String()), &m); err != nil {
			return err
		}
		for _, child := range m.Children {
			child = t.canonical(child)
			if tx.Bucket(bucketManifests).Get(key(repository, child.String())) != nil {
				children = append(children, child)
			}
		}
		return nil
	})
	return children, err
}

// Tags implements index.Planner.
func (i *Index) Tags(ctx context.Context, repository string, d digest.Digest) (tags []string, err error) {
	err = i.view(ctx, "tags", func(tx *bbolt.Tx) error {
		t := repoTx{tx: tx, repository: repository}
		tags = t.tagsOf(d)
		return nil
	})
	return tags, err
}

// Linked implements index.Reader.
func (i *Index) Linked(ctx context.Context, repository string, d digest.Digest) (size int64, found bool, err error) {
	err = i.view(ctx, "linked", func(tx *bbolt.Tx) error {
		v := tx.Bucket(bucketLinks).Get(key(repository, d.String()))
		if v == nil {
			return nil
		}
		found = true
		size, err = strconv.ParseInt(string(v), 10, 64)
		return err
	})
	return size, found, err
}

// Referring implements index.Planner.
func (i *Index) Referring(ctx context.Context, repository string, d digest.Digest) (manifests []digest.Digest, err error) {
	err = i.view(ctx, "referring", func(tx *bbolt.Tx) error {
		return below(tx.Bucket(bucketReferences), prefix(repository, d.String()), func(manifest string, _ []byte) error {
			manifests = append(manifests, digest.Digest(manifest))
			return nil
		})
	})
	return manifests, err
}

// TagNames implements index.Reader.
func (i *Index) TagNames(ctx context.Context, repository, after string, n int) (tags []string, err error) {
	err = i.view(ctx, "tag_names", func(tx *bbolt.Tx) error {
		start := prefix(repository)
		if tx.Bucket(bucketRepositories).Get([]byte(repository)) == nil && !anyBelow(tx.Bucket(bucketLinks), start) {
			return index.ErrNotFound
		}
		c := tx.Bucket(bucketTags).Cursor()
		for k, _ := c.Seek(append(bytes.Clone(start), after...)); bytes.HasPrefix(k, start) && len(tags) < n; k, _ = c.Next() {
			if tag := string(k[len(start):]); tag != after {
				tags = append(tags, tag)
			}
		}
		return nil
	})
	return tags, err
}

// MountSource implements index.Reader.
func (i *Index) MountSource(ctx context.Context, d digest.Digest, namespaces []string) (repository string, err error) {
	err = i.view(ctx, "mount_source", func(tx *bbolt.Tx) error {
		c, start := tx.Bucket(bucketHolders).Cursor(), prefix(d.String())
		first := func(name string, fits func(string) bool) bool {
			k, _ := c.Seek(append(bytes.Clone(start), name...))
			if !bytes.HasPrefix(k, start) || !fits(string(k[len(start):])) {
				return false
			}
			repository = string(k[len(start):])
			return true
		}
		if namespaces == nil && first("", func(string) bool { return true }) {
			return nil
		}
		for _, ns := range namespaces {
			if first(ns, func(name string) bool { return name == ns }) ||
				first(ns+"/", func(name string) bool { return strings.HasPrefix(name, ns+"/") }) {
				return nil
			}
		}
		return index.ErrNotFound
	})
	return repository, err
}
