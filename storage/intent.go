package storage

import (
	"context"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage/reference"
)

// Intent is one change of one repository: what a single request does to its
// manifests and tags, and the links that it takes away. It is written down before
// storage is touched, so that a change that a crash cut in two can be completed; or
// with it, where all of it happens at once (see [Store.ChangeNote]).
type Intent struct {
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
	// Unlink are the blobs that the repository no longer serves.
	Unlink []digest.Digest `json:"unlink,omitempty"`
	// By is the account that asked for it, "" for none, and At when.
	By string    `json:"by,omitempty"`
	At time.Time `json:"at,omitzero"`
	// Touch are manifests that lose a tag and stay: the time of their links says
	// since when, and is set anew.
	Touch []digest.Digest `json:"touch,omitempty"`
	// Reread says, alone, that all of the repository has to be read again.
	Reread bool `json:"reread,omitempty"`
}

// Complete does whatever of the change is not done yet: a manifest that is
// stored gets its tags, and what should be gone is removed. A manifest that never
// arrived is left out, so the change then did not happen.
// Complete may be repeated. It is also how deletions are done in the first
// place.
func (s *Store) Complete(ctx context.Context, i Intent) error {
	if i.Put != "" {
		if err := s.completePut(ctx, i); err != nil {
			return fmt.Errorf("complete %s@%s: %w", i.Repository, i.Put, err)
		}
	}
	for _, tag := range i.Untag {
		if err := s.remove(ctx, tagPath(i.Repository, tag)); err != nil {
			return fmt.Errorf("untag %s:%s: %w", i.Repository, tag, err)
		}
	}
	for _, d := range i.Delete {
		if err := s.remove(ctx, revisionLink(i.Repository, d)); err != nil {
			return fmt.Errorf("delete %s@%s: %w", i.Repository, d, err)
		}
	}
	for _, d := range i.Unlink {
		if err := s.remove(ctx, layerLink(i.Repository, d)); err != nil {
			return fmt.Errorf("unlink blob %s@%s: %w", i.Repository, d, err)
		}
	}
	return nil
}

// Touch sets the times of what is in Touch. It comes before the change itself:
// where the disk is full it fails, and what is refused then has not happened.
func (s *Store) Touch(ctx context.Context, i Intent) error {
	for _, d := range i.Touch {
		if err := s.touch(ctx, revisionLink(i.Repository, d), d); err != nil {
			return fmt.Errorf("note the time of %s@%s: %w", i.Repository, d, err)
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
func (i Intent) Named() digest.Digest {
	if i.As != "" {
		return i.As
	}
	return i.Put
}

// put is what of the change is the put of a manifest.
func (i Intent) put() Intent {
	return Intent{Repository: i.Repository, Put: i.Put, As: i.As, Tags: i.Tags, By: i.By, At: i.At}
}

// isPut reports whether it is the put of a manifest, by names that can be.
func (i Intent) isPut() bool {
	for _, tag := range i.Tags {
		if !reference.IsTag(tag) {
			return false
		}
	}
	return i.Put.Validate() == nil && i.Named().Validate() == nil
}

func (s *Store) completePut(ctx context.Context, i Intent) error {
	stored, err := s.isFile(ctx, revisionLink(i.Repository, i.Put))
	if err != nil || !stored {
		return err
	}
	if s.fresh != nil { // elsewhere the push has just set the time
		if err := s.refresh(ctx, revisionLink(i.Repository, i.Put), i.Put); err != nil {
			return err
		}
	}
	if i.As != "" {
		if err := s.driver.PutContent(ctx, revisionLink(i.Repository, i.As), []byte(i.Put)); err != nil {
			return err
		}
	}
	for _, tag := range i.Tags {
		content := []byte(i.Named())
		if err := s.driver.PutContent(ctx, tagIndexLink(i.Repository, tag, i.Named()), content); err != nil {
			return err
		}
		if err := s.refresh(ctx, tagCurrentLink(i.Repository, tag), i.Named()); err != nil {
			return err
		}
	}
	return nil
}

// refresher is a driver that leaves alone what is there already, unless it is told
// to set its time anew.
type refresher interface {
	Refresh(ctx context.Context, path string, content []byte) error
}

// refresh writes a link so that its time is now.
func (s *Store) refresh(ctx context.Context, path string, d digest.Digest) error {
	if s.fresh != nil {
		return s.fresh.Refresh(ctx, path, []byte(d))
	}
	return s.driver.PutContent(ctx, path, []byte(d))
}

// touch writes a link again that is there, which sets its time.
func (s *Store) touch(ctx context.Context, path string, d digest.Digest) error {
	there, err := s.isFile(ctx, path)
	if err != nil || !there {
		return err
	}
	return s.refresh(ctx, path, d)
}

// LinkBlob links in a repository, by any digest of its bytes, a blob that is stored
// under the canonical one.
func (s *Store) LinkBlob(ctx context.Context, repository string, named, canonical digest.Digest) error {
	if err := s.driver.PutContent(ctx, layerLink(repository, named), []byte(canonical)); err != nil {
		return fmt.Errorf("link blob %s@%s: %w", repository, named, err)
	}
	return nil
}
