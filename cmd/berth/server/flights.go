package server

import (
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// flights counts the requests in flight of one kind. Where there are too many,
// the one that is furthest behind is cut off in favour of a new one.
type flights struct {
	limit int
	full  reason
	shed  func(reason)

	mu sync.Mutex
	in map[*exchange]struct{} // guarded by mu
}

func newFlights(limit int, full reason, shed func(reason)) *flights {
	return &flights{limit: limit, full: full, shed: shed, in: map[*exchange]struct{}{}}
}

// enter reports whether the request has a place; it waits a moment for one.
func (f *flights) enter(r *http.Request, x *exchange) bool {
	if f.try(x) {
		return true
	}
	tick := time.NewTicker(again)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; {
		select {
		case <-r.Context().Done():
			return false
		case <-tick.C:
		}
		if f.try(x) {
			return true
		}
		if time.Now().After(end) {
			f.shed(f.full)
			return false
		}
	}
}

func (f *flights) try(x *exchange) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.in) < f.limit {
		f.in[x] = struct{}{}
		return true
	}
	var worst *exchange
	longest, now := settle, time.Now()
	for other := range f.in {
		if behind := other.behind(now); behind >= longest {
			worst, longest = other, behind
		}
	}
	if worst != nil && worst.cut() {
		f.shed(tooFarBehind)
	}
	return false // its place is free once its handler has seen it
}

func (f *flights) leave(x *exchange) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.in, x)
}

func (f *flights) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.in)
}

// logAll logs each request that is still in flight.
func (f *flights) logAll(log *slog.Logger) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for x := range f.in {
		r := x.request
		log.WarnContext(r.Context(), "request cut off by the end of berth", "method", shown(r.Method), "path", shown(r.URL.Path),
			"client", r.RemoteAddr, "seconds", time.Since(x.begin).Seconds())
	}
}

// cut ends the waiting for the client of a request, and reports whether that
// was not done before.
func (x *exchange) cut() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over {
		return false // what it had belongs to other requests now
	}
	first := x.in.stop()
	x.out.stop()
	past := time.Unix(1, 0)
	_ = x.control.SetReadDeadline(past)
	_ = x.control.SetWriteDeadline(past)
	return first
}

// finish says that there is nothing to cut any more.
func (x *exchange) finish() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.over = true
}

// limited lets in no more requests to h than there may be, and answers others
// with 503. Whether berth is well can always be asked.
func (s *Server) limited(w http.ResponseWriter, r *http.Request, x *exchange, h http.Handler) {
	route := routeOf(r.URL.Path)
	kinds := []*flights{s.requests}
	switch {
	case probe(route):
		kinds = nil
	case route == "v2_uploads":
		kinds = append(kinds, s.uploads)
	}
	for _, f := range kinds {
		if !f.enter(r, x) {
			w.Header().Set("Retry-After", f.full.retryAfter())
			if !x.complete.Load() {
				w.Header().Set("Connection", "close") // the body is not read
			}
			answer(w, r, http.StatusServiceUnavailable, f.full.message())
			return
		}
		defer f.leave(x)
	}
	h.ServeHTTP(w, r)
}
