package images

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/berth-oci/berth/catalog/index"
)

// batch is how many entries are read at a time.
const batch = 256

// which says which list is asked for, and where it is gone on with. What is
// wrong has been answered if it returns false without an error.
func (c *call) which(ctx context.Context) (q index.Query, after index.Cursor, ok bool, err error) {
	c.tellRevision()
	q, err = c.listQuery(ctx)
	var gone *goneError
	if errors.As(err, &gone) {
		return q, "", false, c.none(gone.item)
	}
	if err == nil && c.query.after != nil && c.query.after.cursor != "" {
		after, err = c.cursors.open(c.query.after.cursor, c.query)
	}
	return q, after, err == nil, err
}

// list answers with all images that the query lets through.
func (c *call) list(ctx context.Context) error {
	q, after, ok, err := c.which(ctx)
	if !ok {
		return err
	}
	n := batch
	head := c.r.Method == http.MethodHead
	if head {
		n = 1 // enough to know that the list can be read
	}
	// Nothing is said before the first batch is there: until then, what goes
	// wrong can still be told.
	found, cursor, err := c.catalog.List(ctx, q, after, n)
	if err != nil {
		return tooOld(err)
	}
	if head {
		writeHeader(c.w, success.code)
		return nil
	}
	s := c.begin(success)
	for {
		for i := range found {
			s.image(c, &found[i])
		}
		found = nil // the client is waited for with nothing but what is encoded
		s.flush()
		if cursor == "" {
			break
		}
		if err := ctx.Err(); err != nil {
			c.abort(err)
		}
		if found, cursor, err = c.catalog.List(ctx, q, cursor, n); err != nil {
			c.abort(err)
		}
	}
	s.end()
	return nil
}

// goneError says that a list is to start at an image that does not exist.
type goneError struct{ item item }

func (g *goneError) Error() string { return g.item.missing() }

// listQuery says which list the catalog is asked for. It is the one place
// where lists are limited.
func (c *call) listQuery(ctx context.Context) (index.Query, error) {
	q := index.Query{Brief: c.brief, Tagged: c.query.tagged, ByTime: c.query.byTime, Descending: c.query.descending}
	q.Within = visible(c.caller.Readable(), c.query.namespaces)
	start, excluded := c.query.from, false
	if start == nil {
		start, excluded = c.query.after, true
	}
	switch {
	case start == nil || start.cursor != "":
		return q, nil
	case start.entry != item{}:
		position, err := c.position(ctx, start.entry)
		if err != nil {
			return q, err
		}
		q.From = position
		if excluded {
			q.From.UUID = beside(position.UUID, q.Descending)
		}
	default:
		q.From = &index.Position{Time: start.time}
		if q.Descending != excluded {
			// Behind all images of that very time, whatever their UUID.
			q.From.UUID = uuid.Max
		} else if excluded {
			// Before all of them: no image has the first UUID after none.
			q.From.UUID = beside(uuid.Nil, false)
		}
	}
	return q, nil
}

// beside is the UUID that comes next, or before. No image has the first or the
// last of all.
func beside(id uuid.UUID, before bool) uuid.UUID {
	step, stop := byte(1), byte(0)
	if before {
		step, stop = 0xff, 0xff
	}
	for i := len(id) - 1; i >= 0; i-- {
		if id[i] += step; id[i] != stop {
			break
		}
	}
	return id
}

// position is the place of an image in the order by time. Filters have no say
// in it: the image need not be in the list that starts there.
func (c *call) position(ctx context.Context, it item) (*index.Position, error) {
	begin := time.Now()
	e, err := c.one(ctx, it)
	if errors.Is(err, index.ErrNotFound) {
		c.hidden += time.Since(begin)
		return nil, &goneError{it}
	} else if err != nil {
		return nil, err
	}
	return &index.Position{Time: e.Image.Created, UUID: e.UUID()}, nil
}

// visible is what a list is limited to: what the caller may read of what the
// filter names. Nil means everything.
func visible(readable, namespaces []string) []string {
	switch {
	case len(namespaces) == 0:
		return readable
	case readable == nil:
		return namespaces
	}
	both := []string{}
	for _, namespace := range namespaces {
		if index.Within(readable, namespace) {
			both = append(both, namespace)
			continue
		}
		for _, r := range readable {
			if strings.HasPrefix(r, namespace+"/") {
				both = append(both, r)
			}
		}
	}
	return both
}
