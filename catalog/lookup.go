package catalog

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// Repositories returns the names of repositories after the given one, sorted,
// at most n; namespaces limit them as in [Query].
func (c *Catalog) Repositories(ctx context.Context, namespaces []string, after string, n int) ([]string, error) {
	if err := c.heal(ctx, within(namespaces)); err != nil {
		return nil, err
	}
	return c.index.Repositories(ctx, namespaces, after, n)
}

// Resolve returns what a tag points to, or ErrNotFound.
func (c *Catalog) Resolve(ctx context.Context, repository, tag string) (digest.Digest, error) {
	if err := c.heal(ctx, only(repository)); err != nil {
		return "", err
	}
	return c.index.Tag(ctx, repository, tag)
}

// Canonical returns the digest under which a repository holds a manifest,
// unikernel or not, or ErrNotFound.
func (c *Catalog) Canonical(ctx context.Context, repository string, dgst digest.Digest) (digest.Digest, error) {
	if err := c.heal(ctx, only(repository)); err != nil {
		return "", err
	}
	return c.index.Canonical(ctx, repository, dgst)
}

// Referrers returns the manifests of a repository that have a subject, after
// the given one by digest, at most n.
func (c *Catalog) Referrers(ctx context.Context, repository string, subject, after digest.Digest, n int) ([]image.Description, error) {
	if err := c.heal(ctx, only(repository)); err != nil {
		return nil, err
	}
	return c.index.Referrers(ctx, repository, subject, after, n)
}

// TagNames returns the tags of a repository after the given one, sorted, at
// most n, or ErrNotFound if there is no such repository.
func (c *Catalog) TagNames(ctx context.Context, repository, after string, n int) ([]string, error) {
	if err := c.heal(ctx, only(repository)); err != nil {
		return nil, err
	}
	return c.index.TagNames(ctx, repository, after, n)
}

// Holder returns a repository from which a blob can be mounted, or ErrNotFound;
// namespaces limit where it looks as in [Query].
func (c *Catalog) Holder(ctx context.Context, dgst digest.Digest, namespaces []string) (string, error) {
	if err := c.heal(ctx, within(namespaces)); err != nil {
		return "", err
	}
	return c.index.Holder(ctx, dgst, namespaces)
}

// Usage returns what a namespace stores.
func (c *Catalog) Usage(ctx context.Context, namespace string) (index.Usage, error) {
	if err := c.heal(ctx, within([]string{namespace})); err != nil {
		return index.Usage{}, err
	}
	return c.index.Usage(ctx, namespace)
}

// Unused returns those of the blobs that no manifest of the namespace refers to
// yet: what a push of them would add to its usage.
func (c *Catalog) Unused(ctx context.Context, namespace string, blobs []digest.Digest) ([]digest.Digest, error) {
	if err := c.heal(ctx, within([]string{namespace})); err != nil {
		return nil, err
	}
	return c.index.Unused(ctx, namespace, blobs)
}

// StoredBytes is the Bytes of a namespace's usage.
func (c *Catalog) StoredBytes(ctx context.Context, namespace string) (int64, error) {
	u, err := c.Usage(ctx, namespace)
	return u.Bytes, err
}

// InUse returns the size in bytes of a blob that manifests of a namespace refer
// to, 0 if none does.
func (c *Catalog) InUse(ctx context.Context, namespace string, dgst digest.Digest) (int64, error) {
	if err := c.heal(ctx, within([]string{namespace})); err != nil {
		return 0, err
	}
	return c.index.InUse(ctx, namespace, dgst)
}
