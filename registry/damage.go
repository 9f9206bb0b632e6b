package registry

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage"
)

// damaged has storage look at a manifest that does not have its digest, and move
// it away; from then on it is not there, until it is pushed again. The error
// says so.
func (r *Registry) damaged(ctx context.Context, repository string, d digest.Digest) error {
	_, err := r.store.Examine(context.WithoutCancel(ctx), d, storage.ByRead)
	switch {
	case errors.Is(err, storage.ErrDamaged):
		return storage.ErrNotFound
	case err == nil: // it was healed meanwhile
		err = storage.ErrConflict
	}
	return fmt.Errorf("manifest %s@%s: other bytes are stored: %w", repository, d, err)
}

// openBlob opens a blob of which the index knows the size. One that has another
// is looked at before anybody gets it.
func (r *Registry) openBlob(ctx context.Context, d digest.Digest, size int64) (io.ReadSeekCloser, error) {
	content, info, err := r.store.Content().Open(ctx, d)
	if err != nil || info.Size == size {
		return content, err
	}
	if _, err := r.store.Examine(context.WithoutCancel(ctx), d, storage.ByRead); err != nil {
		_ = content.Close()
		return nil, err
	}
	return content, nil // the index is wrong, not the bytes
}

// unreadable has storage look at a blob that could not be served, if the disk
// was the reason.
func (r *Registry) unreadable(ctx context.Context, d digest.Digest, err error) {
	if !storage.Unreadable(err) {
		return
	}
	if _, err := r.store.Examine(context.WithoutCancel(ctx), d, storage.ByRead); err != nil {
		r.log.ErrorContext(ctx, "a blob could not be read", "digest", d, "error", err)
	}
}
