package images

import (
	"context"
	"log/slog"
	"sync"

	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage/reference"
)

const (
	// tailEvents is how many of the last changes are kept in memory, and tailBytes
	// how much of what they were encoded to.
	tailEvents = 1024
	tailBytes  = 8 << 20
	// readChanges is how many changes are read at once.
	readChanges = 256
)

// hub lets any number of watchers follow the feed, which it reads once for all of
// them. A change wakes those watchers alone that get it: who does not is not even
// looked at one by one, but with all who have the same filter, and only where the
// filter names the namespace of the change. Each watcher has a place in the feed and
// nothing else: what it has still to send it takes from the last changes, which all
// share, or, if it is further behind, from the index.
type hub struct {
	catalog Catalog
	log     *slog.Logger
	stats   *Streams

	mu      sync.Mutex
	current *reader // nil while nobody watches; guarded by mu
}

// reader reads the feed as long as somebody watches. Everything is guarded by the
// hub's mu.
type reader struct {
	watchers int
	stop     context.CancelFunc
	// failed is closed if the feed cannot be read.
	failed chan struct{}
	// head is how far the feed has been read; tail are the last changes up to there,
	// without a gap.
	head  index.Revision
	tail  []*event
	bytes int64 // of what those in tail have been encoded to
	// groups are by the text of their filter; everywhere are those that let through
	// every namespace, and the others are by namespace.
	groups     map[string]*group
	everywhere map[*group]struct{}
	bySpace    map[string]map[*group]struct{}
}

// group are the watchers with one filter.
type group struct {
	*filter
	watchers map[*watcher]struct{}
}

// watcher is one who watches.
type watcher struct {
	hub    *hub
	reader *reader
	group  *group
	// wake is full if there is something to look at.
	wake chan struct{}
	// first is the number of the first change that it gets and has not looked at, 0
	// for none; guarded by the hub's mu.
	first uint64
}

// watch begins to watch what comes after a revision: next says at once that all
// after it has to be looked at.
func (h *hub) watch(f *filter, after index.Revision) *watcher {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.current
	if r == nil {
		r = h.begin()
	}
	g := r.groups[f.text]
	if g == nil {
		g = &group{f, make(map[*watcher]struct{})}
		r.groups[f.text] = g
		r.enter(g)
	}
	w := &watcher{hub: h, reader: r, group: g, wake: make(chan struct{}, 1), first: after.N + 1}
	g.watchers[w] = struct{}{}
	r.watchers++
	h.stats.open.Add(1)
	return w
}

// begin starts to read. The caller holds mu.
func (h *hub) begin() *reader {
	ctx, stop := context.WithCancel(context.Background())
	r := &reader{
		stop: stop, failed: make(chan struct{}), head: h.catalog.Last(),
		groups: make(map[string]*group), everywhere: make(map[*group]struct{}), bySpace: make(map[string]map[*group]struct{}),
	}
	h.current = r
	go h.run(ctx, r)
	return r
}

// close ends the watching.
func (w *watcher) close() {
	h, r := w.hub, w.reader
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stats.open.Add(-1)
	delete(w.group.watchers, w)
	if len(w.group.watchers) == 0 {
		delete(r.groups, w.group.text)
		r.leave(w.group)
	}
	if r.watchers--; r.watchers == 0 {
		r.stop()
		if h.current == r {
			h.current = nil
		}
	}
}

// spaces are the namespaces that a filter lets through, at least; all of them if
// all is set.
func (f *filter) spaces() (spaces map[string]struct{}, all bool) {
	spaces = make(map[string]struct{})
	from := f.within
	if f.all {
		if from = f.repositories; from == nil {
			return nil, true
		}
	}
	for name := range from {
		spaces[reference.Namespace(name)] = struct{}{}
	}
	return spaces, false
}

func (r *reader) enter(g *group) {
	spaces, all := g.spaces()
	if all {
		r.everywhere[g] = struct{}{}
	}
	for space := range spaces {
		if r.bySpace[space] == nil {
			r.bySpace[space] = make(map[*group]struct{})
		}
		r.bySpace[space][g] = struct{}{}
	}
}

func (r *reader) leave(g *group) {
	delete(r.everywhere, g)
	spaces, _ := g.spaces()
	for space := range spaces {
		if delete(r.bySpace[space], g); len(r.bySpace[space]) == 0 {
			delete(r.bySpace, space)
		}
	}
}

// run reads the feed until ctx ends.
func (h *hub) run(ctx context.Context, r *reader) {
	head := r.head // which nobody else writes
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.catalog.Grown(head):
		}
		changes, err := h.catalog.Changes(ctx, head, readChanges)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			h.fail(r, err)
			return
		}
		if len(changes) > 0 {
			h.spread(r, changes)
			head = changes[len(changes)-1].Revision
		}
	}
}

// fail ends all who watch; who comes next begins anew.
func (h *hub) fail(r *reader, err error) {
	h.log.Error("images API: changes cannot be read", "error", err)
	h.mu.Lock()
	defer h.mu.Unlock()
	close(r.failed)
	if h.current == r {
		h.current = nil
	}
}

// spread takes up changes, and wakes who gets one.
func (h *hub) spread(r *reader, changes []index.Change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range changes {
		e := &event{Change: changes[i]}
		r.tail = append(r.tail, e)
		for g := range r.everywhere {
			g.tell(e)
		}
		for g := range r.bySpace[reference.Namespace(e.Repository)] {
			g.tell(e)
		}
	}
	r.head = changes[len(changes)-1].Revision
	for len(r.tail) > tailEvents || r.bytes > tailBytes && len(r.tail) > 1 {
		r.bytes -= r.tail[0].bytes
		r.tail[0].dropped = true
		r.tail[0] = nil
		r.tail = r.tail[1:]
	}
}

// tell wakes the watchers of a group if they get a change. The caller holds mu.
func (g *group) tell(e *event) {
	if !g.passes(&e.Change) {
		return
	}
	for w := range g.watchers {
		if w.first == 0 {
			w.first = e.Revision.N
			select {
			case w.wake <- struct{}{}:
			default:
			}
		}
	}
}

// news says, to who has all up to a revision, up to where there is more, and after
// which revision that begins: what lies between is not for it.
func (w *watcher) news(at index.Revision) (after, head index.Revision) {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	first := w.first
	w.first = 0
	if head = w.reader.head; head.N <= at.N {
		return at, at // the feed has not been read so far
	}
	if first == 0 {
		return head, head
	}
	at.N = max(at.N, first-1)
	return at, head
}

// events returns the changes after one and up to another, which is later, some at a
// time, shared if they are among the last.
func (w *watcher) events(ctx context.Context, after, head index.Revision) ([]*event, error) {
	n := int(min(head.N-after.N, readChanges)) //nolint:gosec // small
	if shared := w.shared(after, n); shared != nil {
		return shared, nil
	}
	changes, err := w.hub.catalog.Changes(ctx, after, n)
	if err != nil {
		return nil, err
	}
	events := make([]*event, len(changes))
	for i := range changes {
		events[i] = &event{Change: changes[i], dropped: true}
	}
	return events, nil
}

func (w *watcher) shared(after index.Revision, n int) []*event {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	tail := w.reader.tail
	if len(tail) == 0 || tail[0].Revision.N > after.N+1 || after.Start != tail[0].Revision.Start {
		return nil
	}
	at := int(after.N + 1 - tail[0].Revision.N) //nolint:gosec // not negative
	if at >= len(tail) {
		return nil
	}
	return append([]*event(nil), tail[at:min(at+n, len(tail))]...)
}

// keep counts what an event was encoded to, for as long as it is among the last.
func (w *watcher) keep(e *event, bytes int) {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	if !e.dropped {
		e.bytes += int64(bytes)
		w.reader.bytes += int64(bytes)
	}
}
