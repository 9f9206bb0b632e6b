package registry

import (
	"context"
	"errors"
	"time"

	"github.com/berth-oci/berth/storage"
)

// Abandoned removes uploads of which nothing was heard for a while, and returns how
// many there were, and their bytes; with dry it only counts them. The time is that
// of this process, since when an upload is known to it: a clock that is set, or a
// restart, makes none look older.
func (r *Registry) Abandoned(ctx context.Context, idle time.Duration, dry bool) (n int, bytes int64, err error) {
	for _, u := range r.quotas.open.resting(time.Now().Add(-idle)) {
		if ctx.Err() != nil {
			return n, bytes, ctx.Err()
		}
		release, free := r.takeUpload(route{kind: kindUpload, name: u.Repository, upload: u.ID})
		if !free {
			continue // somebody is writing to it
		}
		size, gone, failed := r.abandon(ctx, u, idle, dry)
		release()
		if err = errors.Join(err, failed); gone {
			n, bytes = n+1, bytes+size
		}
	}
	return n, bytes, err
}

func (r *Registry) abandon(ctx context.Context, u storage.Upload, idle time.Duration, dry bool) (bytes int64, gone bool, err error) {
	if !r.quotas.open.rests(u, time.Now().Add(-idle)) {
		return 0, false, nil // it went on before it was taken
	}
	found, err := r.store.Upload(ctx, u)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return 0, false, err
	}
	if dry {
		return found.Bytes, true, nil
	}
	if err := r.store.RemoveUpload(ctx, u.Repository, u.ID); err != nil {
		return 0, false, err
	}
	r.log.Info("an upload went that nobody went on with", "repository", u.Repository, "upload", u.ID, "bytes", found.Bytes)
	return found.Bytes, true, r.quotas.ended(ctx, u.Repository, u.ID)
}
