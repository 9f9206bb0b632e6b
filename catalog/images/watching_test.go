package images

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// real is a catalog of an index that keeps a feed.
type real struct {
	indexed
	t testing.TB
}

func newReal(t testing.TB) real {
	t.Helper()
	return real{newIndex(t), t}
}

// publish makes a change.
func (r real) publish(repository string, u index.Update) index.Revision {
	r.t.Helper()
	l, err := r.Acquire(context.Background(), repository)
	if err != nil {
		r.t.Fatal(err)
	}
	revision, err := r.Publish(context.Background(), l, u)
	if err = errors.Join(err, r.Release(context.Background(), l)); err != nil {
		r.t.Fatal(err)
	}
	return revision
}

// push pushes an image that differs from others by its name, by an account.
func (r real) push(repository, name, tag, by string) index.Revision {
	d := digest.FromString(name)
	return r.publish(repository, index.Update{
		Put: []image.Description{{Digest: d, Image: &image.Image{Created: time.Unix(7, 0), Kernel: true, Platforms: []image.Platform{}}}},
		Tag: map[string]digest.Digest{tag: d}, By: by, At: time.Unix(9, 0),
	})
}

// seenEvent is an event as a client sees it.
type seenEvent struct {
	told
	id, event string // of a stream of events
	Images    []struct {
		UUID  string   `json:"uuid"`
		URL   string   `json:"url"`
		Tags  []string `json:"tags"`
		Users []string `json:"users"`
	} `json:"images"`
}

func (e seenEvent) String() string {
	text := e.Type + " " + e.Repository
	for _, tag := range e.Tags {
		text += " " + tag.Name
	}
	return fmt.Sprintf("%s %d/%d", text, len(e.Images), len(e.Gone))
}

// watching is a client that reads a stream.
type watching struct {
	t      testing.TB
	code   int
	header http.Header
	body   io.ReadCloser
	lines  *bufio.Reader
}

// watch asks for changes; header is pairs of names and values.
func watch(t testing.TB, url string, header ...string) *watching {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return &watching{t, resp.StatusCode, resp.Header, resp.Body, bufio.NewReader(resp.Body)}
}

func streamOf(t testing.TB, url string, header ...string) *watching {
	t.Helper()
	w := watch(t, url, append(header, "Accept", "text/event-stream")...)
	if w.code != http.StatusOK || w.header.Get("Content-Type") != "text/event-stream" || w.header.Get("X-Accel-Buffering") != "no" {
		t.Fatalf("%d %v", w.code, w.header)
	}
	return w
}

// next is the next event of a stream of events; false at its end.
func (w *watching) next() (e seenEvent, more bool) {
	w.t.Helper()
	for {
		line, err := w.lines.ReadString('\n')
		if err == io.EOF && line == "" {
			return e, false
		}
		if err != nil {
			w.t.Fatal(err)
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch field {
		case "id":
			e.id = value
		case "event":
			e.event = value
		case "data":
			if err := json.Unmarshal([]byte(value), &e); err != nil {
				w.t.Fatalf("%v: %s", err, value)
			}
		case "":
			if e.Type == "" || e.event != e.Type || e.id != e.Revision {
				w.t.Fatalf("event %q, id %q, and in data %q, %q", e.event, e.id, e.Type, e.Revision)
			}
			return e, true
		default:
			w.t.Fatalf("line %q", line)
		}
	}
}

// want reads events, which are to be these.
func (w *watching) want(events ...string) (last seenEvent) {
	w.t.Helper()
	for _, want := range events {
		e, more := w.next()
		if !more || e.String() != want {
			w.t.Fatalf("got %s, %v, want %s", e, more, want)
		}
		last = e
	}
	return last
}

// changesOf reads one JSON answer.
func changesOf(t testing.TB, url string) (all []seenEvent) {
	t.Helper()
	w := watch(t, url)
	var a struct {
		Status string `json:"status"`
		Data   struct {
			Changes []seenEvent `json:"changes"`
		} `json:"data"`
		OpTime *int64 `json:"op_time_us"`
	}
	if err := json.NewDecoder(w.body).Decode(&a); err != nil || w.code != http.StatusOK || a.Status != "success" || a.OpTime == nil {
		t.Fatalf("%s: %d, %v", url, w.code, err)
	}
	last := a.Data.Changes[len(a.Data.Changes)-1]
	if last.Type != typeBookmark {
		t.Fatalf("%s ends with %s", url, last)
	}
	return a.Data.Changes
}

func brief(events []seenEvent) string {
	var all []string
	for _, e := range events {
		all = append(all, e.String())
	}
	return strings.Join(all, ", ")
}
