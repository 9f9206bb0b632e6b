package images

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/index"
)

// countedFeed counts what is read of the index.
type countedFeed struct {
	real
	changes, listed atomic.Int64
}

func (c *countedFeed) Changes(ctx context.Context, after index.Revision, n int) ([]index.Change, error) {
	c.changes.Add(1)
	return c.real.Changes(ctx, after, n)
}

func (c *countedFeed) Listed(ctx context.Context, repository string, digests []digest.Digest) ([]index.Entry, error) {
	c.listed.Add(1)
	return c.real.Listed(ctx, repository, digests)
}

// newHub is a hub without anybody who watches.
func newHub(c Catalog) *hub {
	return &hub{catalog: bounded{c, nil}, log: slog.New(slog.DiscardHandler), stats: &Streams{}}
}

// until waits until a hub has read so far.
func (h *hub) until(t *testing.T, r index.Revision) {
	t.Helper()
	for range 3000 {
		h.mu.Lock()
		head := h.current.head
		h.mu.Unlock()
		if head == r {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the hub does not read the feed")
}

// TestHubWakes: a change wakes those who get it, and nobody else; and is read once,
// however many they are.
func TestHubWakes(t *testing.T) {
	c := &countedFeed{real: newReal(t)}
	h := newHub(c)
	const each = 100
	watchers := make(map[string][]*watcher)
	for i := range each {
		for name, f := range map[string]*filter{
			"all":   newFilter(nil, changesQuery{}),
			"alice": newFilter([]string{"alice", "official"}, changesQuery{}),
			"own":   newFilter([]string{fmt.Sprint("user", i), "official"}, changesQuery{}),
			"app":   newFilter(nil, changesQuery{repositories: []string{"alice/app"}}),
			"untag": newFilter(nil, changesQuery{types: []index.ChangeType{index.Untagged}}),
		} {
			w := h.watch(f, c.Last())
			w.news(c.Last())
			watchers[name] = append(watchers[name], w)
		}
	}
	check := func(repository string, woken map[string]int) {
		t.Helper()
		at := c.Last()
		last := c.push(repository, "one", fmt.Sprint("v", at.N), "")
		h.until(t, last)
		for name, all := range watchers {
			n := 0
			for _, w := range all {
				want := last // that there is nothing for it
				select {
				case <-w.wake:
					n++
					want = at
				default:
				}
				if after, head := w.news(at); head != last || after != want {
					t.Errorf("%s: %v to %v", name, after, head)
				}
			}
			if n != woken[name] {
				t.Errorf("%s: %d of %s are woken, want %d", repository, n, name, woken[name])
			}
		}
	}
	check("alice/app", map[string]int{"all": each, "alice": each, "app": each})
	check("alice/other", map[string]int{"all": each, "alice": each})
	check("user7/app", map[string]int{"all": each, "own": 1})
	check("official/nginx", map[string]int{"all": each, "alice": each, "own": each})
	if n := c.changes.Load(); n > 4 {
		t.Errorf("the feed is read %d times for 4 changes", n)
	}
	for _, all := range watchers {
		for _, w := range all {
			w.close()
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.current != nil || h.stats.Open() != 0 {
		t.Errorf("%d still watch", h.stats.Open())
	}
}

// TestHubEncodesOnce: what several get alike is read and encoded once; also for who
// comes a little later.
func TestHubEncodesOnce(t *testing.T) {
	c := &countedFeed{real: newReal(t)}
	server := serve(t, c, Options{PublicHost: "r.example.com"})
	url := server.URL + "/v1/changes"
	begin := c.Last()
	var all []*watching
	for range 20 {
		s := streamOf(t, url)
		s.want("bookmark  0/0")
		all = append(all, s)
	}
	const n = 10
	for i := range n {
		c.push("alice/app", fmt.Sprint(i), "v1", "")
		for _, s := range all {
			if e, _ := s.next(); e.Type != "push" {
				t.Fatalf("got %s", e)
			}
		}
	}
	late := streamOf(t, url+"?since="+begin.String())
	for range n {
		late.next()
	}
	if listed := c.listed.Load(); listed != n {
		t.Errorf("images were read %d times for %d changes", listed, n)
	}
}

// TestHubFallsBack: who is further behind than what is kept in memory reads the
// index, and misses nothing.
func TestHubFallsBack(t *testing.T) {
	c := newReal(t)
	h := newHub(c)
	begin := c.Last()
	holder := h.watch(newFilter(nil, changesQuery{}), begin)
	defer holder.close()
	const n = tailEvents + 300
	for i := range n {
		c.publish("alice/app", index.Update{Tag: map[string]digest.Digest{"t": digest.FromString(fmt.Sprint(i))}})
	}
	h.until(t, c.Last())
	if h.mu.Lock(); len(h.current.tail) != tailEvents {
		t.Errorf("%d are kept", len(h.current.tail))
	}
	h.mu.Unlock()
	w := h.watch(newFilter(nil, changesQuery{}), begin)
	defer w.close()
	at, head := w.news(begin)
	for at != head {
		events, err := w.events(t.Context(), at, head)
		if err != nil || len(events) == 0 {
			t.Fatal(err)
		}
		for _, e := range events {
			if e.Revision.N != at.N+1 {
				t.Fatalf("%v follows on %v", e.Revision, at)
			}
			at = e.Revision
		}
	}
	if at.N != n {
		t.Errorf("read up to %v", at)
	}
}

// TestHubFails: a feed that cannot be read ends who watches, and who comes after it
// begins anew.
func TestHubFails(t *testing.T) {
	broken := &brokenFeed{real: newReal(t), err: errors.New("disk on fire")}
	broken.looks.Store(1)
	h := newHub(broken)
	w := h.watch(newFilter(nil, changesQuery{}), broken.Last())
	broken.push("alice/app", "one", "v1", "")
	select {
	case <-w.reader.failed:
	case <-time.After(time.Minute):
		t.Fatal("nobody is told")
	}
	next := h.watch(newFilter(nil, changesQuery{}), broken.Last())
	if next.reader == w.reader {
		t.Error("it goes on")
	}
	w.close()
	next.close()
	if h.current != nil {
		t.Error("somebody watches")
	}
}

// TestFrameBudget: what events are encoded to is bounded, also while nobody comes
// for it any more.
func TestFrameBudget(t *testing.T) {
	c := newReal(t)
	h := newHub(c)
	w := h.watch(newFilter(nil, changesQuery{}), c.Last())
	defer w.close()
	for range 20 {
		last := c.push("alice/app", "one", "v1", "")
		h.until(t, last)
		h.mu.Lock()
		e := w.reader.tail[len(w.reader.tail)-1]
		h.mu.Unlock()
		w.keep(e, tailBytes/4)
		h.mu.Lock()
		if w.reader.bytes > tailBytes+tailBytes/4 || len(w.reader.tail) > 7 {
			t.Errorf("%d bytes of %d events are kept", w.reader.bytes, len(w.reader.tail))
		}
		h.mu.Unlock()
	}
}
