package storage

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// Change is one change of one repository: what a single request does to its
// manifests and tags. It is written down before storage is touched, so that a
// change that a crash cut in two can be completed.
type Change struct {
	Repository string `json:"repository"`
	// Put is the manifest that is stored, Tag the tag that then points to it;
	// either may be empty, Tag only stands with Put.
	Put digest.Digest `json:"put,omitempty"`
	Tag string        `json:"tag,omitempty"`
	// Untag are the tags that go, Delete the manifests, in this order.
	Untag  []string        `json:"untag,omitempty"`
	Delete []digest.Digest `json:"delete,omitempty"`
}

// Empty says whether there is nothing to do.
func (c Change) Empty() bool { return c.Put == "" && len(c.Untag) == 0 && len(c.Delete) == 0 }

// Complete does whatever of the change is not done yet: a manifest that is
// stored gets its tag, tags and manifests that should be gone are removed. A
// manifest that never arrived is left out, so the change then did not happen.
// Complete may be repeated. It is also how deletions are done in the first
// place.
func (s *Store) Complete(ctx context.Context, c Change) error {
	if c.Put != "" && c.Tag != "" {
		if err := s.completeTag(ctx, c); err != nil {
			return fmt.Errorf("tag %s:%s: %w", c.Repository, c.Tag, err)
		}
	}
	for _, tag := range c.Untag {
		if err := s.remove(ctx, tagPath(c.Repository, tag)); err != nil {
			return fmt.Errorf("untag %s:%s: %w", c.Repository, tag, err)
		}
	}
	for _, d := range c.Delete {
		if err := s.remove(ctx, revisionLink(c.Repository, d)); err != nil {
			return fmt.Errorf("delete %s@%s: %w", c.Repository, d, err)
		}
	}
	return nil
}

// RemoveUpload removes what is left of an upload.
func (s *Store) RemoveUpload(ctx context.Context, repository, id string) error {
	if err := s.remove(ctx, uploadPath(repository, id)); err != nil {
		return fmt.Errorf("remove upload %s of %s: %w", id, repository, err)
	}
	return nil
}

func (s *Store) completeTag(ctx context.Context, c Change) error {
	stored, err := s.exists(ctx, revisionLink(c.Repository, c.Put))
	if err != nil || !stored {
		return err
	}
	content := []byte(c.Put)
	if err := s.driver.PutContent(ctx, tagIndexLink(c.Repository, c.Tag, c.Put), content); err != nil {
		return err
	}
	return s.driver.PutContent(ctx, tagCurrentLink(c.Repository, c.Tag), content)
}
