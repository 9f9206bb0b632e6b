package catalog

import (
	"context"

	"github.com/opencontainers/go-digest"
)

// Repositories returns the names of repositories after the given one, sorted,
// at most n; within limits them as in [Query].
func (c *Catalog) Repositories(ctx context.Context, within []string, after string, n int) ([]string, error) {
	if err := c.heal(ctx); err != nil {
		return nil, err
	}
	return c.index.Repositories(ctx, within, after, n)
}

// TagNames returns the tags of a repository after the given one, sorted, at
// most n, or ErrNotFound if there is no such repository.
func (c *Catalog) TagNames(ctx context.Context, repository, after string, n int) ([]string, error) {
	if err := c.heal(ctx); err != nil {
		return nil, err
	}
	return c.index.TagNames(ctx, repository, after, n)
}

// Holder returns a repository from which a blob can be mounted, or ErrNotFound;
// within limits where it looks as in [Query].
func (c *Catalog) Holder(ctx context.Context, dgst digest.Digest, within []string) (string, error) {
	if err := c.heal(ctx); err != nil {
		return "", err
	}
	return c.index.Holder(ctx, dgst, within)
}

// Usage returns what a namespace stores.
func (c *Catalog) Usage(ctx context.Context, namespace string) (Usage, error) {
	if err := c.heal(ctx); err != nil {
		return Usage{}, err
	}
	return c.index.Usage(ctx, namespace)
}

// Unused returns those of the blobs that no manifest of the namespace refers to
// yet: what a push of them would add to its usage.
func (c *Catalog) Unused(ctx context.Context, namespace string, blobs []digest.Digest) ([]digest.Digest, error) {
	if err := c.heal(ctx); err != nil {
		return nil, err
	}
	return c.index.Unused(ctx, namespace, blobs)
}
