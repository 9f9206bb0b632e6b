package catalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
)

// reconcile makes the index say of a repository what storage says. It reads
// what is stored by name, and describes only manifests that the index does not
// have, or whose blobs came or went. The caller holds the repository's lock, or is alone.
func (c *Catalog) reconcile(ctx context.Context, repository string) error {
	known, err := c.index.State(ctx, repository)
	if err != nil {
		return err
	}
	u, err := c.difference(ctx, repository, known)
	if err != nil {
		return fmt.Errorf("read %s from storage: %w", repository, err)
	}
	return c.index.Apply(ctx, u)
}

// difference is the update that leads from what the index knows to storage.
func (c *Catalog) difference(ctx context.Context, repository string, known index.State) (index.Update, error) {
	u := index.Update{Repository: repository, Done: true}
	stored := c.store.Repository(repository)
	tags, err := stored.Tags(ctx)
	if err != nil {
		return u, err
	}
	manifests, aliases, err := stored.Manifests(ctx)
	if err != nil {
		return u, err
	}
	links, err := stored.Blobs(ctx)
	if err != nil {
		return u, err
	}
	added, gone := diffSets(known.Manifests, manifests)
	u.Delete = gone
	u.Tag, u.Untag = diffMaps(known.Tags, tags)
	u.Alias, u.Unalias = diffMaps(known.Aliases, aliases)
	u.Link, u.Unlink = diffMaps(known.Links, links)
	for _, d := range append(slices.Collect(maps.Keys(u.Link)), u.Unlink...) {
		referring, err := c.index.Referring(ctx, repository, d)
		if err != nil {
			return u, err
		}
		added = append(added, referring...)
	}
	u.Put, err = c.describe(ctx, repository, added, gone)
	return u, err
}

// update is what a change that has happened in storage does to the index.
func (c *Catalog) update(ctx context.Context, s storage.Intent) (index.Update, error) {
	u := index.Update{Repository: s.Repository, Untag: s.Untag, Done: true}
	for _, d := range s.Delete {
		if d.Algorithm() == digest.Canonical {
			u.Delete = append(u.Delete, d)
		} else {
			u.Unalias = append(u.Unalias, d)
		}
	}
	if s.As != "" {
		u.Alias = map[digest.Digest]digest.Digest{s.As: s.Put}
	}
	if len(s.Tags) > 0 {
		u.Tag = make(map[string]digest.Digest, len(s.Tags))
	}
	for _, tag := range s.Tags {
		u.Tag[tag] = s.Named()
	}
	var added []digest.Digest
	if s.Put != "" {
		added = append(added, s.Put)
	}
	gone := u.Delete
	if s.As != "" {
		// An index may have named the manifest by this digest before it came.
		gone = append(slices.Clone(gone), s.As)
	}
	var err error
	u.Put, err = c.describe(ctx, s.Repository, added, gone)
	return u, err
}

// describe describes manifests that are new, and again every index above a
// manifest that came or went.
func (c *Catalog) describe(ctx context.Context, repository string, added, gone []digest.Digest) ([]image.Description, error) {
	leaving := make(map[digest.Digest]bool, len(gone))
	for _, d := range gone {
		leaving[d] = true
	}
	seen := make(map[digest.Digest]bool, len(added))
	queue := append(append([]digest.Digest(nil), added...), gone...)
	var out []image.Description
	for i := 0; i < len(queue); i++ {
		d := queue[i]
		if seen[d] {
			continue
		}
		seen[d] = true
		if !leaving[d] {
			description, err := c.describeOne(ctx, repository, d)
			if errors.Is(err, storage.ErrNotFound) {
				continue // linked, but its bytes are not there: it cannot be pulled either
			}
			if err != nil {
				return nil, err
			}
			out = append(out, description)
		}
		parents, _, err := c.index.Relatives(ctx, repository, d)
		if err != nil {
			return nil, err
		}
		queue = append(queue, parents...)
	}
	return out, nil
}

func (c *Catalog) describeOne(ctx context.Context, repository string, d digest.Digest) (image.Description, error) {
	content := content{c.store.Repository(repository)}
	bytes, modified, err := content.repository.Manifest(ctx, d)
	if errors.Is(err, storage.ErrTooLarge) {
		return image.Description{Digest: d}, nil // it can be deleted, and that is all
	}
	if err != nil {
		return image.Description{}, err
	}
	return image.Describe(ctx, image.Manifest{Digest: d, Bytes: bytes, Modified: modified}, content, c.index)
}

// content lets Describe read a repository in storage.
type content struct{ repository storage.Repository }

func (r content) Manifest(ctx context.Context, d digest.Digest) (image.Manifest, error) {
	bytes, modified, err := r.repository.Manifest(ctx, d)
	if errors.Is(err, storage.ErrTooLarge) {
		err = storage.ErrNotFound // as a part of an index it is not readable
	}
	return image.Manifest{Digest: d, Bytes: bytes, Modified: modified}, err
}

func (r content) Size(ctx context.Context, d digest.Digest) (int64, error) {
	return r.repository.Size(ctx, d)
}

func (r content) Open(ctx context.Context, d digest.Digest) (io.ReadSeekCloser, error) {
	return r.repository.Open(ctx, d)
}

// diffSets compares what is known with what is there.
func diffSets[K comparable](known map[K]struct{}, there []K) (added, gone []K) {
	now := make(map[K]struct{}, len(there))
	for _, k := range there {
		now[k] = struct{}{}
		if _, ok := known[k]; !ok {
			added = append(added, k)
		}
	}
	for k := range known {
		if _, ok := now[k]; !ok {
			gone = append(gone, k)
		}
	}
	return added, gone
}

// diffMaps compares what is known with what is there.
func diffMaps[K, V comparable](known, there map[K]V) (changed map[K]V, gone []K) {
	changed = make(map[K]V)
	for k, v := range there {
		if old, ok := known[k]; !ok || old != v {
			changed[k] = v
		}
	}
	for k := range known {
		if _, ok := there[k]; !ok {
			gone = append(gone, k)
		}
	}
	return changed, gone
}
