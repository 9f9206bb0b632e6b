package storage

import (
	"context"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
)

// TagTime returns when a tag was last set.
func (r Repository) TagTime(ctx context.Context, tag string) (time.Time, error) {
	at, err := r.linkTime(ctx, tagCurrentLink(r.name, tag))
	if err != nil {
		return time.Time{}, fmt.Errorf("time of tag %s:%s: %w", r.name, tag, err)
	}
	return at, nil
}

// ManifestTime returns when a manifest was last pushed here, or lost a tag,
// whichever came later.
func (r Repository) ManifestTime(ctx context.Context, d digest.Digest) (time.Time, error) {
	if err := d.Validate(); err != nil {
		return time.Time{}, ErrNotFound
	}
	return r.linkTime(ctx, revisionLink(r.name, d))
}

func (r Repository) linkTime(ctx context.Context, path string) (time.Time, error) {
	info, err := r.store.driver.Stat(ctx, path)
	if err == nil && info.IsDir() {
		err = ErrNotFound
	}
	if err != nil {
		return time.Time{}, translate(err)
	}
	return info.ModTime().UTC(), nil
}
