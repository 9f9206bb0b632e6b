package storage

import (
	"context"
	"errors"
	"fmt"
	"path"
)

// Upload names an upload.
type Upload struct{ Repository, ID string }

// OpenUpload is an upload that is not finished.
type OpenUpload struct {
	Upload
	// Bytes are those received, as far as the driver shows them before the upload
	// is finished.
	Bytes int64
}

// Uploads calls fn with every upload that is not finished, and returns the first
// error. It looks into every repository.
func (s *Store) Uploads(ctx context.Context, fn func(OpenUpload) error) error {
	return s.walk(ctx, "", []string{"_uploads"}, func(repository string) error {
		ids, err := s.list(ctx, uploadsPath(repository))
		if err != nil {
			return fmt.Errorf("list uploads of %s: %w", repository, err)
		}
		for _, id := range ids {
			u, err := s.Upload(ctx, Upload{repository, id})
			if errors.Is(err, ErrNotFound) {
				continue // it has ended meanwhile
			}
			if err == nil {
				err = fn(u)
			}
			if err != nil {
				return err
			}
		}
		return ctx.Err()
	})
}

// Upload returns an upload that is not finished, or an error that wraps
// [ErrNotFound].
func (s *Store) Upload(ctx context.Context, of Upload) (OpenUpload, error) {
	u, folder := OpenUpload{Upload: of}, uploadPath(of.Repository, of.ID)
	info, err := s.driver.Stat(ctx, path.Join(folder, "data"))
	if err == nil && !info.IsDir() {
		u.Bytes = info.Size()
		return u, nil
	}
	if err == nil || notFound(err) {
		// Some drivers show what was received only in the end.
		var begun bool
		if begun, err = s.isFile(ctx, path.Join(folder, "startedat")); err == nil && !begun {
			err = ErrNotFound
		}
	}
	if err != nil {
		return u, fmt.Errorf("upload %s of %s: %w", of.ID, of.Repository, translate(err))
	}
	return u, nil
}
