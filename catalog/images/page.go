package images

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/berth-oci/berth/catalog/index"
)

// maxPage is the size in bytes at which a page ends before it has as many images
// as were asked for. Its link to the next one stands in front of them, so a page
// is held until it is known where it ends.
const maxPage = 4 << 20

// page answers with a part of a list, and a link to the next one if there is
// one (RFC 8288).
func (c *call) page(ctx context.Context) error {
	q, after, ok, err := c.which(ctx)
	if !ok {
		return err
	}
	held := c.opts.Memory.Hold()
	defer held.Release()
	var (
		page  bytes.Buffer
		out   = entries{buf: &page}
		taken = 0
	)
	for left := c.query.count; left > 0 && page.Len() < maxPage; {
		found, next, err := c.catalog.List(ctx, q, after, min(batch, left))
		if err != nil {
			return tooOld(err)
		}
		page.Grow(len(found) * usualImage)
		for i := range found {
			out.image(c, &found[i])
		}
		after = next
		if after == "" {
			break
		}
		left -= len(found)
		if err := held.Grow(ctx, int64(page.Cap()-taken)); err != nil {
			return err
		}
		taken = page.Cap()
	}
	more, err := c.more(ctx, q, after)
	if err != nil {
		return err
	}
	if more {
		link, err := c.next(after)
		if err != nil {
			return err
		}
		c.w.Header().Set("Link", link)
	}
	if c.r.Method == http.MethodHead {
		writeHeader(c.w, success.code)
		return nil
	}
	s := c.begin(success)
	s.send()
	if _, err := c.w.Write(page.Bytes()); err != nil {
		panic(http.ErrAbortHandler) // as in send
	}
	s.end()
	return nil
}

// more reports whether an image follows in a list: the end of one is not known
// before it has been looked for.
func (c *call) more(ctx context.Context, q index.Query, after index.Cursor) (bool, error) {
	for after != "" {
		found, next, err := c.catalog.List(ctx, q, after, 1)
		if err != nil {
			return false, tooOld(err)
		}
		if len(found) > 0 {
			return true, nil
		}
		after = next
	}
	return false, nil
}

// next is the link to the page that begins behind a cursor: what was asked, with
// another after.
func (c *call) next(after index.Cursor) (string, error) {
	v := url.Values{"after": {c.cursors.seal(after, c.query)}}
	p, err := readParameters(c.r.URL.RawQuery)
	if err != nil {
		return "", err
	}
	for name, values := range p {
		if name != "from" && name != "after" {
			v[name] = values
		}
	}
	return "<" + pathOf(c.opts.PublicURL) + c.r.URL.EscapedPath() + "?" + v.Encode() + `>; rel="next"`, nil
}

// pathOf is the path of a URL: that of the public one stands in front of ours.
func pathOf(public string) string {
	u, err := url.Parse(public)
	if err != nil {
		return ""
	}
	return u.EscapedPath()
}

// tooOld says of a cursor that can no longer be gone on from what is to be done.
func tooOld(err error) error {
	if errors.Is(err, index.ErrCursor) {
		return malformed("query parameter after: too much has changed since that page was read; want the list read again from its beginning")
	}
	return err
}
