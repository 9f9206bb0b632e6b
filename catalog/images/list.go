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

// list answers with all images that the query lets through, a page of them if
// it has a count.
func (c *call) list(ctx context.Context) error {
	q, err := c.listQuery(ctx)
	var gone *goneError
	if errors.As(err, &gone) {
		return c.none(gone.item)
	} else if err != nil {
		return err
	}
	n, left := batch, c.query.count
	if left > 0 {
		n = min(n, left)
	}
	head := c.r.Method == http.MethodHead
	if head {
		n = 1 // enough to know that the list can be read
	}
	// Nothing is said before the first batch is there: until then, what goes
	// wrong can still be told.
	found, cursor, err := c.catalog.List(ctx, q, "", n)
	if err != nil {
		return err
	}
	if head {
		writeHeader(c.w, success.code)
		return nil
	}
	s := c.begin(success)
	for {
		for _, e := range found {
			s.add(c.render(c, e))
		}
		count := len(found)
		found = nil // the client is waited for with nothing but what is encoded
		s.flush()
		if left > 0 {
			if left -= count; left <= 0 {
				break
			}
			n = min(n, left)
		}
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
	q := index.Query{Tagged: c.query.tagged, ByTime: c.query.byTime, Descending: c.query.descending}
	q.Within = visible(c.caller.Readable(), c.query.namespace)
	from := c.query.from
	switch {
	case from == nil:
	case from.entry != item{}:
		position, err := c.position(ctx, from.entry)
		if err != nil {
			return q, err
		}
		q.From = position
	default:
		q.From = &index.Position{Time: from.time}
		if q.Descending {
			// Images of that very time are included, whatever their UUID.
			q.From.UUID = uuid.Max
		}
	}
	return q, nil
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
func visible(readable []string, namespace string) []string {
	switch {
	case namespace == "":
		return readable
	case readable == nil:
		return []string{namespace}
	}
	both := []string{}
	for _, r := range readable {
		if r == namespace || strings.HasPrefix(namespace, r+"/") {
			return []string{namespace}
		}
		if strings.HasPrefix(r, namespace+"/") {
			both = append(both, r)
		}
	}
	return both
}
