package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage/reference"
)

// maxHeld is the size in bytes up to which the entries of a lookup are held
// until it is known what to say before them.
const maxHeld = 64 << 10

// lookUp answers with what was asked for, item by item, each image once: where
// several items mean one, with the first of them.
//
// The status says what exists, and stands in front of all entries. So a first
// walk finds that out. If all entries fit into a small buffer meanwhile, they
// are the answer; else a second walk writes them as it reads them. An image
// that comes in between is still reported as missing; one that goes has the
// entry of a missing one, under a status from before it went.
func (c *call) lookUp(ctx context.Context) error {
	var (
		held bytes.Buffer
		full bool
		out  = entries{buf: &held}
		seen = make([]bool, len(c.items))
		all  = 0 // how many of the items exist
	)
	check := func() {
		if held.Len() > maxHeld {
			full, held = true, bytes.Buffer{}
		}
	}
	if len(c.items) > 1 {
		c.seen = newSeen()
	}
	for i, it := range c.items {
		begin := time.Now()
		var err error
		seen[i], err = c.each(ctx, it, func(e index.Entry) error {
			if full || c.r.Method == http.MethodHead {
				return errEnough
			}
			out.image(c, &e)
			check()
			return nil
		})
		if err != nil {
			return err
		}
		if seen[i] {
			all++
			continue
		}
		c.hidden += time.Since(begin)
		if !full {
			out.add(it.absent())
			check()
		}
	}
	o := c.outcome(all)
	if c.r.Method == http.MethodHead {
		writeHeader(c.w, o.code)
		return nil
	}
	s := c.begin(o)
	c.out = s
	if !full {
		s.pending.Write(held.Bytes())
		s.end()
		return nil
	}
	c.again(ctx, s, seen)
	s.end()
	return nil
}

// again is the second walk of lookUp, over what the first has seen.
func (c *call) again(ctx context.Context, s *stream, seen []bool) {
	if c.seen != nil {
		c.seen.answered = make(map[uuid.UUID]struct{})
	}
	for i, it := range c.items {
		found, begin := false, time.Now()
		if seen[i] {
			var err error
			found, err = c.each(ctx, it, func(e index.Entry) error {
				s.image(c, &e)
				return nil
			})
			if err != nil {
				c.abort(err)
			}
		}
		if !found {
			c.hidden += time.Since(begin)
			s.add(it.absent())
		}
		s.flush()
	}
}

// outcome says how a lookup went of which so many items exist.
func (c *call) outcome(exist int) outcome {
	switch asked := len(c.items); {
	case exist == asked:
		return success
	case exist > 0:
		return outcome{http.StatusOK, "partial_success", fmt.Sprintf("%d of %d images do not exist", asked-exist, asked)}
	case asked == 1:
		return c.notFound(c.items[0].missing())
	default:
		return c.notFound(fmt.Sprintf("none of %d images exists", asked))
	}
}

func (c *call) notFound(message string) outcome {
	return outcome{http.StatusNotFound, "error", c.message(c.r, message)}
}

// none answers that an image which the answer depends on does not exist.
func (c *call) none(it item) error {
	o := c.notFound(it.missing())
	if c.r.Method == http.MethodHead {
		writeHeader(c.w, o.code)
		return nil
	}
	s := c.begin(o)
	s.add(it.absent())
	s.end()
	return nil
}

// errEnough ends a walk over entries early.
var errEnough = errors.New("enough")

// each calls visit for every image that is what the item asks for, that all
// filters let through and that no item before it was answered with: several only
// for a digest without a name. It reports whether there is any, answered before
// or not. visit ends it with errEnough.
func (c *call) each(ctx context.Context, it item, visit func(index.Entry) error) (found bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	err = c.walk(ctx, it, func(e index.Entry, whole bool) (bool, error) {
		ok, err := c.judged(ctx, e)
		if !ok || err != nil {
			return false, err
		}
		if c.seen != nil && !c.seen.first(e) {
			found = true
			return true, nil
		}
		if !whole {
			if e, err = c.catalog.Entry(ctx, e.Repository, e.Digest); err != nil {
				return false, err
			}
		}
		found = true
		return true, visit(e)
	})
	if errors.Is(err, index.ErrNotFound) || errors.Is(err, errEnough) {
		err = nil
	}
	return found, err
}

// one returns the first image that is what the item asks for, or
// [index.ErrNotFound].
func (c *call) one(ctx context.Context, it item) (index.Entry, error) {
	var found index.Entry
	err := c.walk(ctx, it, func(e index.Entry, _ bool) (bool, error) {
		found = e
		return true, errEnough
	})
	if errors.Is(err, errEnough) {
		return found, nil
	}
	return index.Entry{}, err
}

// walk calls try for the images that are what the item asks for, and says whether
// each is whole, or without what is large: see seen. Of those that a name may
// mean, the first that try takes is the one: alice/app as it stands, else
// official/alice/app.
func (c *call) walk(ctx context.Context, it item, try func(e index.Entry, whole bool) (bool, error)) error {
	if it.uuid != "" {
		id, _ := parseUUID(it.uuid) // checked when it was read
		e, err := c.catalog.ByUUID(ctx, id, c.caller.Readable())
		if err == nil && it.named() {
			err = c.meant(ctx, it, e)
		}
		if err == nil {
			_, err = try(e, true)
		}
		return err
	}
	w, err := c.hosts.selector(it) // likewise
	if err != nil {
		return err
	}
	if !w.anywhere {
		return c.named(ctx, w, try)
	}
	for after := ""; ; {
		found, err := c.catalog.ByDigest(ctx, w.digest, c.caller.Readable(), after, batch)
		if err != nil {
			return err
		}
		for _, e := range found {
			if _, err := try(e, true); err != nil {
				return err
			}
		}
		if len(found) == 0 {
			return nil
		}
		after = found[len(found)-1].Repository
		found = nil // as in list
		if c.out != nil {
			c.out.flush()
		}
	}
}

// meant returns [index.ErrNotFound] if an image is not what an item asks for
// beside its UUID.
func (c *call) meant(ctx context.Context, it item, e index.Entry) error {
	w, err := c.hosts.selector(it) // checked when it was read
	if err != nil {
		return err
	}
	ok, err := c.means(ctx, w, e)
	if err == nil && !ok {
		err = index.ErrNotFound
	}
	return err
}

// named is walk for an image with a name.
func (c *call) named(ctx context.Context, w selector, try func(e index.Entry, whole bool) (bool, error)) error {
	for i, repository := range w.repositories {
		if !c.caller.MayRead(repository) || i > 0 && !c.inFolder(repository) {
			continue // it is not asked for
		}
		e, whole, err := c.find(ctx, repository, w)
		if errors.Is(err, index.ErrNotFound) || err == nil && !w.matches(e) {
			continue
		} else if err != nil {
			return err
		}
		if ok, err := try(e, whole); ok || err != nil {
			return err
		}
	}
	return index.ErrNotFound
}

// inFolder reports whether an official repository, which a name may mean beside
// itself, can be there: nothing lies in a folder that does not exist.
func (c *call) inFolder(repository string) bool {
	folder := reference.Folder(repository)
	return folder == "" || c.opts.Folder == nil || c.opts.Folder(folder)
}

// passes reports whether the filters let an image through. It is the one place
// where lookups are limited.
func (c *call) passes(ctx context.Context, e index.Entry) (bool, error) {
	if len(c.query.namespaces) > 0 && !index.Within(c.query.namespaces, e.Repository) {
		return false, nil
	}
	if c.query.tagged && len(e.Tags) == 0 {
		return false, nil
	}
	if c.only != nil {
		if _, ok := c.only[e.UUID()]; !ok {
			return false, nil
		}
	}
	if c.within == nil {
		return true, nil
	}
	for w := range c.within.near(e) {
		if ok, err := c.means(ctx, w, e); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// means reports whether an image is what w asks for, and not merely one that it
// could mean if another did not come first.
func (c *call) means(ctx context.Context, w selector, e index.Entry) (bool, error) {
	if !w.matches(e) {
		return false, nil
	}
	if w.anywhere || w.repositories[0] == e.Repository {
		return true, nil
	}
	first := false
	err := c.named(ctx, w, func(found index.Entry, _ bool) (bool, error) {
		first = found.Repository == e.Repository
		return true, nil
	})
	if errors.Is(err, index.ErrNotFound) {
		return false, nil // gone meanwhile
	}
	return first, err
}
