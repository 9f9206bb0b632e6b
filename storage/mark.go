package storage

import (
	"context"
	"encoding/json"
	"fmt"
)

// markPath is where storage says which index is its own.
const markPath = "/berth/index"

// Mark is what storage says of its index, so that a copy of the index that is older
// than storage is told from the index (see the package catalog).
type Mark struct {
	// Current is the mark of the index; Next is the one that it may have already.
	Current string `json:"current"`
	Next    string `json:"next,omitempty"`
	// Start and Revision are a number that the index has given out. It has given
	// out no lower one last.
	Start    string `json:"start"`
	Revision uint64 `json:"revision"`
}

// Mark returns what SetMark has written, or ErrNotFound.
func (s *Store) Mark(ctx context.Context) (m Mark, err error) {
	content, err := s.driver.GetContent(ctx, markPath)
	if notFound(err) {
		return m, ErrNotFound
	}
	if err != nil {
		return m, fmt.Errorf("read the mark of the index: %w", translate(err))
	}
	if json.Unmarshal(content, &m) != nil {
		return Mark{}, ErrNotFound // no index is that of a mark that nobody can read
	}
	return m, nil
}

// SetMark writes what is said of the index.
func (s *Store) SetMark(ctx context.Context, m Mark) error {
	content, err := json.Marshal(m)
	if err == nil {
		err = s.driver.PutContent(ctx, markPath, content)
	}
	if err != nil {
		return fmt.Errorf("write the mark of the index: %w", translate(err))
	}
	return nil
}
