package storage

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/berth-oci/berth/storage/reference"
)

// Observing is the same storage for who only looks: what is damaged stays where
// it is, and [Store.Examine] only says so.
func (s *Store) Observing() *Store {
	return &Store{driver: s.driver, lister: s.lister, content: s.content, identity: s.identity, verified: newVerified(), quarantine: s.quarantine, notes: newNoteFiles(), observing: true}
}

// Flaw is a link in storage that does not say what it should. Of Digest and Tag
// it has the one that the link is for.
type Flaw struct {
	Repository string
	Digest     digest.Digest
	Tag        string
	Kind       FlawKind
	// Target is under which digest the bytes are stored, if that is known.
	Target digest.Digest

	path string // of the link, or of the tag's folder
	mend []byte // what it must hold, nil where nobody knows
}

// FlawKind says what is wrong with a link.
type FlawKind string

// Kinds of flaws.
const (
	// FlawLink: it holds no digest, or none that can belong here.
	FlawLink FlawKind = "link_damaged"
	// FlawMissing: the bytes that it is for are not stored.
	FlawMissing FlawKind = "bytes_missing"
	// FlawTag: a tag points to a manifest that the repository does not have.
	FlawTag FlawKind = "tag_dangling"
)

// Flaws returns what is wrong with the links of the repository.
func (r Repository) Flaws(ctx context.Context) ([]Flaw, error) {
	var flaws []Flaw
	for _, links := range []struct {
		folder string
		link   func(string, digest.Digest) string
	}{{revisionsPath(r.name), revisionLink}, {layersPath(r.name), layerLink}} {
		digests, err := r.linked(ctx, links.folder, func(d digest.Digest) string { return links.link(r.name, d) })
		if err != nil {
			return nil, err
		}
		for _, d := range digests {
			flaw, err := r.flawOf(ctx, d, links.link(r.name, d))
			if err != nil {
				return nil, err
			}
			if flaw != nil {
				flaws = append(flaws, *flaw)
			}
		}
	}
	tags, err := r.tagFlaws(ctx)
	return append(flaws, tags...), err
}

func (r Repository) flawOf(ctx context.Context, d digest.Digest, link string) (*Flaw, error) {
	target, err := r.readLink(ctx, link)
	flaw := &Flaw{Repository: r.name, Digest: d, Kind: FlawLink, path: link}
	canonical := d.Algorithm() == digest.Canonical
	switch {
	case errors.Is(err, ErrDamaged), err == nil && canonical && target != d:
		if canonical { // bytes are stored by this digest, so that nothing else can be meant
			flaw.mend = []byte(d)
		}
		return flaw, nil
	case errors.Is(err, ErrNotFound):
		return nil, nil // gone meanwhile
	case err != nil:
		return nil, fmt.Errorf("read link of %s: %w", d, err)
	}
	_, err = r.store.content.Stat(ctx, target)
	if errors.Is(err, ErrNotFound) {
		flaw.Kind, flaw.Target = FlawMissing, target
		return flaw, nil
	}
	return nil, err
}

func (r Repository) tagFlaws(ctx context.Context) ([]Flaw, error) {
	names, err := r.store.list(ctx, tagsPath(r.name))
	if err != nil {
		return nil, fmt.Errorf("list tags of %s: %w", r.name, err)
	}
	var flaws []Flaw
	for _, tag := range names {
		if !reference.IsTag(tag) {
			continue
		}
		flaw := Flaw{Repository: r.name, Tag: tag, Kind: FlawLink, path: tagPath(r.name, tag)}
		target, err := r.readLink(ctx, tagCurrentLink(r.name, tag))
		if err == nil {
			flaw.Kind = FlawTag
			// A link that is there and damaged is a flaw of its own.
			if _, err = r.follow(ctx, target, revisionLink); errors.Is(err, ErrDamaged) {
				err = nil
			}
		}
		switch {
		case errors.Is(err, ErrNotFound):
			flaws = append(flaws, flaw)
		case err != nil:
			return nil, fmt.Errorf("read tag %s:%s: %w", r.name, tag, err)
		}
	}
	return flaws, nil
}

// Mend mends a flaw, and moves into quarantine what nobody can mend; bytes that
// are missing only a push brings, or the collector's quarantine. It returns which of
// it was done. The caller has the repository for itself.
func (s *Store) Mend(ctx context.Context, f Flaw) (mended, moved bool, err error) {
	switch {
	case f.Kind == FlawMissing:
		// Unless they were collected, and a link needs them after all.
		release, err := s.Rely(ctx, GuardPut, f.Target)
		if err != nil {
			return false, false, err
		}
		defer release()
		mended, err = s.BringBack(ctx, f.Target)
		return mended, false, err
	case f.mend != nil:
		return true, false, s.putInPlace(ctx, f.path, f.mend)
	}
	to := path.Join(quarantinePath, "links", time.Now().UTC().Format("20060102T150405Z")+"-"+rand.Text()[:8], f.path)
	if f.Tag == "" {
		return false, true, s.driver.Move(ctx, f.path, to)
	}
	if err := s.moveTree(ctx, f.path, to); err != nil {
		return false, false, err
	}
	return false, true, s.remove(ctx, f.path) // folders without a file
}

// putInPlace writes a link that was damaged; what says when it came stays, where that
// can be.
func (s *Store) putInPlace(ctx context.Context, at string, content []byte) error {
	info, err := s.driver.Stat(ctx, at)
	if err != nil || s.timed == nil {
		return s.driver.PutContent(ctx, at, content)
	}
	return s.timed.PutContentAt(ctx, at, content, info.ModTime())
}

// moveTree moves every file below a folder: not every driver has folders that
// can be moved.
func (s *Store) moveTree(ctx context.Context, from, to string) error {
	names, err := s.list(ctx, from)
	if err != nil {
		return err
	}
	for _, name := range names {
		at := path.Join(from, name)
		isFile, err := s.isFile(ctx, at)
		switch {
		case err != nil:
			return err
		case isFile:
			err = s.driver.Move(ctx, at, path.Join(to, name))
		default:
			err = s.moveTree(ctx, at, path.Join(to, name))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Restore moves bytes back that are in quarantine although they are right, and
// calls restored with each digest that it has brought back.
func (s *Store) Restore(ctx context.Context, restored func(d digest.Digest)) error {
	return s.InQuarantine(ctx, func(f Finding) error {
		release, err := s.guards.take(ctx, f.Digest)
		if err != nil {
			return err
		}
		defer release()
		there, err := s.isFile(ctx, blobPath(f.Digest))
		if there || err != nil {
			return err
		}
		right, err := s.isRight(ctx, f.Digest, f.path+"/data")
		if !right || err != nil {
			return err
		}
		if err := s.driver.Move(ctx, f.path+"/data", blobPath(f.Digest)); err != nil {
			return fmt.Errorf("bring %s back: %w", f.Digest, translate(err))
		}
		s.arrived(ctx, f.Digest)
		restored(f.Digest)
		return nil
	})
}

func (s *Store) isRight(ctx context.Context, d digest.Digest, at string) (bool, error) {
	info, err := s.driver.Stat(ctx, at)
	if err != nil {
		return false, translate(err)
	}
	_, reason, err := hash(ctx, d, &reader{ctx: ctx, driver: s.driver, path: at, size: info.Size()}, Info{Size: info.Size()}, nil)
	return err == nil && reason == "", err
}

// Blobs calls fn with every digest under which bytes are stored that come after
// the given one, "" for all, in their order, and returns the first error.
func (s *Store) Blobs(ctx context.Context, after digest.Digest, fn func(d digest.Digest) error) error {
	return s.blobsBelow(ctx, root+"/blobs", after, fn)
}

// blobsBelow does so for a folder with <algorithm>/<two hex digits>/<hex>.
func (s *Store) blobsBelow(ctx context.Context, folder string, after digest.Digest, fn func(d digest.Digest) error) error {
	for _, algorithm := range algorithms { // in their order
		prefixes, err := s.list(ctx, path.Join(folder, algorithm.String()))
		if err != nil {
			return fmt.Errorf("list the blobs: %w", err)
		}
		slices.Sort(prefixes)
		for _, prefix := range prefixes {
			if string(algorithm)+":"+prefix+strings.Repeat("z", len(after)) < string(after) {
				continue
			}
			digests, err := s.list(ctx, path.Join(folder, algorithm.String(), prefix))
			if err != nil {
				return fmt.Errorf("list the blobs: %w", err)
			}
			slices.Sort(digests)
			for _, hex := range digests {
				d := digest.NewDigestFromEncoded(algorithm, hex)
				if d.Validate() != nil || hex[:2] != prefix || d <= after {
					continue
				}
				if err := fn(d); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Holding returns the repositories that have a link for a digest, sorted. It asks
// for each that is stored.
func (s *Store) Holding(ctx context.Context, d digest.Digest) ([]string, error) {
	const workers = 8 // what takes time is waiting for storage that is far away
	var mu sync.Mutex
	holders := []string{}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	err := s.Repositories(ctx, func(name string) error {
		g.Go(func() error {
			linked, err := s.isFile(ctx, layerLink(name, d))
			if err == nil && !linked {
				linked, err = s.isFile(ctx, revisionLink(name, d))
			}
			if linked {
				mu.Lock()
				defer mu.Unlock()
				holders = append(holders, name)
			}
			return err
		})
		return ctx.Err()
	})
	err = errors.Join(g.Wait(), err)
	slices.Sort(holders)
	return holders, err
}
