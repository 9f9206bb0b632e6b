package images

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/index"
)

const (
	usualHistory = 100   // changes in an answer
	maxHistory   = 1000  // the same, at most
	maxLookedAt  = 10000 // changes of the repository, for one answer
)

// imageHistory is who and when of an image, as far as that is known.
type imageHistory struct {
	UUID       string        `json:"uuid"`
	Repository string        `json:"repository"`
	Digest     digest.Digest `json:"digest"`
	Tags       []tagHistory  `json:"tags"`
	Pulls      int64         `json:"pulls"`
	LastPull   string        `json:"last_pull,omitempty"`
	Changes    []told        `json:"changes"`
}

// tagHistory is who has set a tag last, and when; neither if that is not known.
type tagHistory struct {
	Name     string `json:"name"`
	PushTime string `json:"push_time,omitempty"`
	By       string `json:"by,omitempty"`
}

// history answers with what has happened to an image, the latest first.
func (c *call) history() error {
	ctx := c.r.Context()
	limit, before, err := parseHistory(c.r.URL.RawQuery)
	if err != nil {
		return err
	}
	id, _ := parseUUID(c.id)
	begin := time.Now()
	e, err := c.catalog.ByUUID(ctx, id, c.caller.Readable())
	if errors.Is(err, index.ErrNotFound) {
		c.hidden += time.Since(begin)
		return &failure{http.StatusNotFound, "there is no image with the uuid " + shown(c.id)}
	} else if err != nil {
		return err
	}
	h := imageHistory{UUID: e.UUID().String(), Repository: e.Repository, Digest: e.Digest, Tags: []tagHistory{}, Changes: []told{}}
	if err := c.whoAndWhen(ctx, e, &h); err != nil {
		return err
	}
	next, err := c.past(ctx, e, &h, before, limit)
	if err != nil {
		return goneRevision(err)
	}
	if next != (index.Revision{}) {
		q := url.Values{"before": {next.String()}, "limit": {fmt.Sprint(limit)}}
		c.w.Header().Set("Link", "</v1/images/"+h.UUID+"/history?"+q.Encode()+`>; rel="next"`)
	}
	writeData(c.w, c.r, "history", h, c.start.Add(c.hidden))
	return nil
}

// parseHistory reads the query; its errors are *failure.
func parseHistory(raw string) (limit int, before index.Revision, err error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return 0, before, malformed("query: %s is not percent-encoded", shown(raw))
	}
	limit = usualHistory
	for name, given := range values {
		switch name {
		case "limit":
			limit, err = number("limit", given, 1, maxHistory)
		case "before":
			var text string
			if text, err = onceOf("before", given); err == nil {
				if before, err = index.ParseRevision(text); err != nil || before.N == 0 {
					err = malformed("query parameter before: %s is no revision; %s", shown(text), wantRevision)
				}
			}
		default:
			err = malformed("query parameter %s: not known; want limit or before", shown(name))
		}
		if err != nil {
			return 0, before, err
		}
	}
	return limit, before, nil
}

// whoAndWhen adds who has pushed the tags, and how often the image was pulled.
func (c *call) whoAndWhen(ctx context.Context, e index.Entry, h *imageHistory) error {
	for _, tag := range e.Tags {
		t := tagHistory{Name: tag}
		p, err := c.catalog.Pushed(ctx, e.Repository, tag)
		switch {
		case err == nil:
			t.PushTime, t.By = timestamp(p.Time), c.by(p.By)
		case !errors.Is(err, index.ErrNotFound):
			return err
		}
		h.Tags = append(h.Tags, t)
	}
	pulls, err := c.catalog.Pulls(ctx, e.Repository, e.Digest)
	if h.Pulls = pulls.Count; pulls.Count > 0 {
		h.LastPull = pulls.Last.Format(time.DateOnly)
	}
	return err
}

// past adds the changes of the image, and returns where it goes on, if it does.
func (c *call) past(ctx context.Context, e index.Entry, h *imageHistory, before index.Revision, limit int) (next index.Revision, err error) {
	for looked := 0; looked < maxLookedAt; {
		changes, next, err := c.catalog.History(ctx, e.Repository, before, batch)
		if err != nil {
			return next, err
		}
		for i := range changes {
			before = changes[i].Revision
			looked++
			if concerns(&changes[i], e) {
				h.Changes = append(h.Changes, c.bare(&changes[i]))
			}
			if len(h.Changes) == limit && (i+1 < len(changes) || next != (index.Revision{})) {
				return before, nil
			}
		}
		if next == (index.Revision{}) {
			return next, nil
		}
		before = next
	}
	return before, nil
}

// concerns reports whether a change was about an image.
func concerns(change *index.Change, e index.Entry) bool {
	if e.Has(change.Digest) {
		return true
	}
	for _, tag := range change.Tags {
		if e.Has(tag.Digest) || e.Has(tag.Previous) {
			return true
		}
	}
	for _, d := range change.Entries {
		if e.Has(d) {
			return true
		}
	}
	return false
}
