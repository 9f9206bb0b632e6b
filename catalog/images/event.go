package images

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/index"
)

// event is a change that is told to watchers. It is encoded once for all who get
// the same of it.
type event struct {
	index.Change

	// bytes are what frames come to, and dropped is set once nobody counts them any
	// more; guarded by the hub's mu.
	bytes   int64
	dropped bool

	mu     sync.Mutex
	frames map[variant][]byte // guarded by mu
}

// variant is what makes one watcher's form of an event another's too.
type variant struct {
	form form
	// host stands in front of the names of images; admin shows whose they are, and
	// by who has asked for the change.
	host      string
	admin, by bool
}

// The types of events that are no changes.
const (
	typeImage    = "image"
	typeBookmark = "bookmark"
	typeEnd      = "end"
)

// told is an event as clients get it.
type told struct {
	Type       string            `json:"type"`
	Revision   string            `json:"revision,omitempty"`
	Time       string            `json:"time,omitempty"`
	Repository string            `json:"repository,omitempty"`
	Digest     digest.Digest     `json:"digest,omitempty"`
	Tags       []toldTag         `json:"tags,omitempty"`
	By         string            `json:"by,omitempty"`
	Images     []json.RawMessage `json:"images,omitempty"`
	Gone       []toldGone        `json:"gone,omitempty"`
	// Of an end.
	Status  int    `json:"status,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

type toldTag struct {
	Name     string        `json:"name"`
	Digest   digest.Digest `json:"digest,omitempty"`
	Previous digest.Digest `json:"previous,omitempty"`
}

type toldGone struct {
	UUID   string        `json:"uuid"`
	Digest digest.Digest `json:"digest"`
}

// frame is an event in the form that a client reads.
func (f form) frame(t told) ([]byte, error) {
	text, err := encode(t)
	if err != nil {
		return nil, err
	}
	switch f {
	case formEvents:
		var b strings.Builder
		if t.Revision != "" {
			b.WriteString("id: " + t.Revision + "\n")
		}
		b.WriteString("event: " + t.Type + "\ndata: ")
		b.Write(text)
		b.WriteString("\n\n")
		return []byte(b.String()), nil
	case formLines:
		return append(text, '\n'), nil
	}
	return text, nil
}

// variantOf is the form in which the caller gets a change.
func (c *call) variantOf(f form, e *event) variant {
	return variant{f, c.host(), c.caller.Admin(), c.by(e.By) != ""}
}

// by is an account that has done something, "" if the caller is not to know.
func (c *call) by(account string) string {
	if account != "" && c.caller.MayRead(account) {
		return account
	}
	return ""
}

// frameOf is a change in the form in which the caller gets it. The images in it are
// read at most once for all who get the same: what they look like later, a later
// change tells.
func (c *call) frameOf(ctx context.Context, w *watcher, f form, e *event) ([]byte, error) {
	v := c.variantOf(f, e)
	e.mu.Lock()
	defer e.mu.Unlock()
	if frame := e.frames[v]; frame != nil {
		return frame, nil
	}
	t, err := c.tell(ctx, &e.Change)
	if err != nil {
		return nil, err
	}
	frame, err := f.frame(t)
	if err != nil {
		return nil, err
	}
	if e.frames == nil {
		e.frames = make(map[variant][]byte)
	}
	e.frames[v] = frame
	w.keep(e, len(frame))
	return frame, nil
}

// bare makes of a change what clients get, but for its images.
func (c *call) bare(change *index.Change) told {
	t := told{
		Type: string(change.Type), Revision: change.Revision.String(), Time: change.Time.Format(time.RFC3339Nano),
		Repository: change.Repository, Digest: change.Digest, By: c.by(change.By),
	}
	for _, tag := range change.Tags {
		t.Tags = append(t.Tags, toldTag(tag))
	}
	return t
}

// tell makes of a change what clients get, with its images as they are now.
func (c *call) tell(ctx context.Context, change *index.Change) (told, error) {
	t := c.bare(change)
	if len(change.Entries) == 0 {
		return t, nil
	}
	listed, err := c.catalog.Listed(ctx, change.Repository, change.Entries)
	if err != nil {
		return t, err
	}
	there := make(map[digest.Digest]bool, len(listed))
	for i := range listed {
		there[listed[i].Digest] = true
		t.Images = append(t.Images, renderCurrent(c, nil, &listed[i]))
	}
	for _, d := range change.Entries {
		if !there[d] {
			t.Gone = append(t.Gone, toldGone{index.ImageUUID(change.Repository, d).String(), d})
		}
	}
	return t, nil
}
