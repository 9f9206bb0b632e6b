package images

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/index"
)

const (
	// tagBatch is how many tags are read at a time.
	tagBatch = 64
	// maxSizes is how many images a repository's tags are remembered to mean, so
	// that one with many tags is read once.
	maxSizes = 4096
)

// tagEntry is a tag as the control plane lists it.
type tagEntry struct {
	Name     string        `json:"name"`
	Digest   digest.Digest `json:"digest"`
	Size     int64         `json:"size"`
	PushTime string        `json:"push_time"`
}

// repositories answers with the control plane's list: one entry for each
// repository with a listed image, by its long name, and with details=true its
// tags. Names and tags are read as they are written, in their order, so that each
// that is there all the time is in it exactly once.
func (c *call) repositories(ctx context.Context) error {
	if q := c.query; len(c.items) > 0 || q.byTime {
		return malformed("query parameter details: it lists repositories; want with it no more than namespace and tagged, or a lookup or a page without it")
	}
	within := visible(c.caller.Readable(), c.query.namespaces)
	c.tellRevision()
	names, err := c.catalog.Repositories(ctx, within, "", batch)
	if err != nil {
		return err
	}
	if c.r.Method == http.MethodHead {
		writeHeader(c.w, success.code)
		return nil
	}
	s := c.begin(success)
	for len(names) > 0 {
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				c.abort(err)
			}
			if err := c.repository(ctx, s, name); err != nil {
				c.abort(err)
			}
		}
		if names, err = c.catalog.Repositories(ctx, within, names[len(names)-1], batch); err != nil {
			c.abort(err)
		}
	}
	s.end()
	return nil
}

// repository writes the entry of a repository, if it has a listed image.
func (c *call) repository(ctx context.Context, s *stream, name string) error {
	ok, err := c.holds(ctx, name)
	if !ok || err != nil {
		return err
	}
	s.next()
	s.pending.Write(appendString([]byte(`{"name":`), name))
	if !*c.query.details {
		s.pending.WriteByte('}')
		s.flush()
		return nil
	}
	s.pending.WriteString(`,"tags":[`)
	tags := entries{buf: &s.pending}
	err = c.eachTags(ctx, name, func(some []tagEntry) error {
		if err := c.pushTimes(ctx, name, some); err != nil {
			return err
		}
		for _, tag := range some {
			if tag.PushTime == "" {
				continue // gone meanwhile
			}
			tags.add(tag)
		}
		s.flush()
		return nil
	})
	s.pending.WriteString("]}")
	return err
}

// holds reports whether a repository has an image that the filters let through.
func (c *call) holds(ctx context.Context, repository string) (bool, error) {
	if c.query.tagged {
		found := false
		err := c.eachTags(ctx, repository, func([]tagEntry) error { found = true; return errEnough })
		if errors.Is(err, errEnough) {
			err = nil
		}
		return found, err
	}
	// By name, so that the repository's own come before those below it.
	q := index.Query{Within: []string{repository}}
	for after := index.Cursor(""); ; {
		found, next, err := c.catalog.List(ctx, q, after, 1)
		if err != nil {
			return false, err
		}
		if len(found) > 0 {
			return found[0].Repository == repository, nil
		}
		if next == "" {
			return false, nil
		}
		after = next
	}
}

// eachTags calls visit with the tags of a repository that point to an image, a
// batch at a time, in their order. visit ends it with an error.
func (c *call) eachTags(ctx context.Context, repository string, visit func([]tagEntry) error) error {
	images := make(map[digest.Digest]*index.Entry) // nil for what is no image
	for after := ""; ; {
		names, err := c.catalog.TagNames(ctx, repository, after, tagBatch)
		if errors.Is(err, index.ErrNotFound) || err == nil && len(names) == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		after = names[len(names)-1]
		var some []tagEntry
		for _, name := range names {
			d, err := c.catalog.Resolve(ctx, repository, name)
			if errors.Is(err, index.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			e, known := images[d]
			if !known {
				if len(images) == maxSizes {
					clear(images)
				}
				if e, err = c.outline(ctx, repository, d); err != nil {
					return err
				}
				images[d] = e
			}
			if e != nil {
				some = append(some, tagEntry{Name: name, Digest: e.Digest, Size: e.Image.Size})
			}
		}
		if len(some) == 0 {
			continue
		}
		if err := visit(some); err != nil {
			return err
		}
	}
}

// outline is an image without what may be large, nil if it is none.
func (c *call) outline(ctx context.Context, repository string, d digest.Digest) (*index.Entry, error) {
	e, err := c.catalog.Entry(ctx, repository, d)
	if errors.Is(err, index.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	small := &index.Entry{Digest: e.Digest}
	small.Image.Size = e.Image.Size
	return small, nil
}

// pushTimes fills in when tags were set. It leaves out those that are gone.
func (c *call) pushTimes(ctx context.Context, repository string, tags []tagEntry) error {
	for i := range tags {
		at, err := c.catalog.TagTime(ctx, repository, tags[i].Name)
		if errors.Is(err, index.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		tags[i].PushTime = timestamp(at.Truncate(time.Second))
	}
	return nil
}
