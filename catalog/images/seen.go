package images

import (
	"context"
	"iter"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// seen is what is known of the images that a lookup of several items has come
// across, so that an image which a thousand items mean is read once.
type seen struct {
	// known are images that were found by name, without what is large, by their
	// repository and each of their digests.
	known map[place]index.Entry
	// answered are the images that are in the answer.
	answered map[uuid.UUID]struct{}
	// passed says which images the items of the query let through.
	passed map[uuid.UUID]bool
}

type place struct {
	repository string
	digest     digest.Digest
}

func newSeen() *seen {
	return &seen{make(map[place]index.Entry), make(map[uuid.UUID]struct{}), make(map[uuid.UUID]bool)}
}

// keep remembers an image.
func (s *seen) keep(e index.Entry) {
	e.Image = image.Image{}
	for _, d := range append([]digest.Digest{e.Digest}, e.Aliases...) {
		s.known[place{e.Repository, d}] = e
	}
}

// first reports whether an image is not answered yet. It is, from then on.
func (s *seen) first(e index.Entry) bool {
	id := e.UUID()
	_, again := s.answered[id]
	s.answered[id] = struct{}{}
	return !again
}

// judged is passes, found out once for each image.
func (c *call) judged(ctx context.Context, e index.Entry) (bool, error) {
	if c.seen == nil || c.within == nil {
		return c.passes(ctx, e)
	}
	id := e.UUID()
	ok, known := c.seen.passed[id]
	if known {
		return ok, nil
	}
	ok, err := c.passes(ctx, e)
	if err == nil {
		c.seen.passed[id] = ok
	}
	return ok, err
}

// find reads the image of a repository that w asks for, or returns
// [index.ErrNotFound]. It is not whole, and has no Image, if it has been found
// before.
func (c *call) find(ctx context.Context, repository string, w selector) (e index.Entry, whole bool, err error) {
	if c.seen != nil {
		d := w.digest
		if len(w.tags) > 0 {
			if d, err = c.catalog.Resolve(ctx, repository, w.tags[0]); err != nil {
				return index.Entry{}, false, err
			}
		}
		// What has been tagged since is read again.
		if e, ok := c.seen.known[place{repository, d}]; ok && w.matches(e) {
			return e, false, nil
		}
	}
	if len(w.tags) > 0 {
		e, err = c.catalog.Tagged(ctx, repository, w.tags[0])
	} else {
		e, err = c.catalog.Entry(ctx, repository, w.digest)
	}
	if err == nil && c.seen != nil {
		c.seen.keep(e)
	}
	return e, true, err
}

// selectors are several, by what an image must have to be meant by one, so that
// not every image has to be compared with every selector.
type selectors struct {
	byDigest map[digest.Digest][]selector
	byPlace  map[place][]selector
	byTag    map[tagged][]selector
}

type tagged struct{ repository, tag string }

// newSelectors returns those of some items, nil for none.
func newSelectors(list []item, own hosts) (*selectors, error) {
	if len(list) == 0 {
		return nil, nil
	}
	s := &selectors{make(map[digest.Digest][]selector), make(map[place][]selector), make(map[tagged][]selector)}
	for _, it := range list {
		w, err := own.selector(it)
		if err != nil {
			return nil, err
		}
		if w.anywhere {
			s.byDigest[w.digest] = append(s.byDigest[w.digest], w)
		}
		for _, repository := range w.repositories {
			if len(w.tags) > 0 {
				at := tagged{repository, w.tags[0]}
				s.byTag[at] = append(s.byTag[at], w)
			} else {
				at := place{repository, w.digest}
				s.byPlace[at] = append(s.byPlace[at], w)
			}
		}
	}
	return s, nil
}

// near are the selectors that may mean an image; no other does.
func (s *selectors) near(e index.Entry) iter.Seq[selector] {
	return func(yield func(selector) bool) {
		var all [][]selector
		for _, d := range append([]digest.Digest{e.Digest}, e.Aliases...) {
			all = append(all, s.byDigest[d], s.byPlace[place{e.Repository, d}])
		}
		for _, tag := range e.Tags {
			if len(s.byTag) > 0 {
				all = append(all, s.byTag[tagged{e.Repository, tag}])
			}
		}
		for _, some := range all {
			for _, w := range some {
				if !yield(w) {
					return
				}
			}
		}
	}
}

// uuidSet is what a lookup by name is limited to; nil for no UUIDs.
func uuidSet(items []item) map[uuid.UUID]struct{} {
	if len(items) == 0 {
		return nil
	}
	set := make(map[uuid.UUID]struct{}, len(items))
	for _, it := range items {
		id, _ := parseUUID(it.uuid)
		set[id] = struct{}{}
	}
	return set
}
