package storage

import (
	"context"
	"fmt"
)

// closedPath is berth's own, beside distribution's folder, which no other
// registry looks into. It goes where the images go: into a backup, a snapshot of
// a bucket, or to another machine.
const closedPath = "/berth/closed"

const closedText = "This registry has accounts. Without its accounts file berth does not open it to everyone, unless http.open is set.\n"

// MarkClosed notes with the images that they belong to accounts; [Store.Closed]
// reports it from then on, for good.
func (s *Store) MarkClosed(ctx context.Context) error {
	if closed, err := s.Closed(ctx); closed || err != nil {
		return err
	}
	if err := s.driver.PutContent(ctx, closedPath, []byte(closedText)); err != nil {
		return fmt.Errorf("note in storage that there are accounts: %w", err)
	}
	return nil
}

// Closed reports whether the images have ever belonged to accounts.
func (s *Store) Closed(ctx context.Context) (bool, error) {
	closed, err := s.isFile(ctx, closedPath)
	if err != nil {
		return false, fmt.Errorf("look whether there were accounts: %w", err)
	}
	return closed, nil
}
