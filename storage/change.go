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
	// Put is the manifest that is stored, by its canonical digest. As is another
	// digest of the same bytes, under which the client pushed it, and Tags are
	// the tags that then point to it, by As if there is one. As and Tags only
	// stand with Put.
	Put  digest.Digest `json:"put,omitempty"`
	As   digest.Digest `json:"as,omitempty"`
	Tags []string      `json:"tags,omitempty"`
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
	if c.Put != "" {
		if err := s.completePut(ctx, c); err != nil {
			return fmt.Errorf("complete %s@%s: %w", c.Repository, c.Put, err)
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

// Named is the digest under which the client pushed.
func (c Change) Named() digest.Digest {
	if c.As != "" {
		return c.As
	}
	return c.Put
}

func (s *Store) completePut(ctx context.Context, c Change) error {
	stored, err := s.exists(ctx, revisionLink(c.Repository, c.Put))
	if err != nil || !stored {
		return err
	}
	if c.As != "" {
		if err := s.driver.PutContent(ctx, revisionLink(c.Repository, c.As), []byte(c.Put)); err != nil {
			return err
		}
	}
	for _, tag := range c.Tags {
		content := []byte(c.Named())
		if err := s.driver.PutContent(ctx, tagIndexLink(c.Repository, tag, c.Named()), content); err != nil {
			return err
		}
		if err := s.driver.PutContent(ctx, tagCurrentLink(c.Repository, tag), content); err != nil {
			return err
		}
	}
	return nil
}

// LinkBlob gives a blob that the repository links another digest of the same
// bytes.
func (s *Store) LinkBlob(ctx context.Context, repository string, alias, canonical digest.Digest) error {
	if err := s.driver.PutContent(ctx, layerLink(repository, alias), []byte(canonical)); err != nil {
		return fmt.Errorf("link blob %s@%s: %w", repository, alias, err)
	}
	return nil
}

// UnlinkBlob takes a name of a blob away.
func (s *Store) UnlinkBlob(ctx context.Context, repository string, dgst digest.Digest) error {
	if err := s.remove(ctx, layerLink(repository, dgst)); err != nil {
		return fmt.Errorf("unlink blob %s@%s: %w", repository, dgst, err)
	}
	return nil
}
