package server

import (
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// flights counts the requests in flight of one kind. Where there are too many,
// the one that is furthest behind is cut off in favour of a new one.
type flights struct {
	limit int
	lobby int // how many may wait, 0 for any number
	full  reason
	shed  func(reason)

	mu       sync.Mutex
	in       map[*exchange]netip.Prefix // whose it is; guarded by mu, like what follows
	byClient map[netip.Prefix]int
	waiting  int
	// looked is how often room was to be made for a client since lookedAt: all who
	// wait ask again and again.
	looked   map[netip.Prefix]int
	lookedAt time.Time
}

func newFlights(limit int, full reason, shed func(reason)) *flights {
	return &flights{limit: limit, full: full, shed: shed, in: map[*exchange]netip.Prefix{}, byClient: map[netip.Prefix]int{}, looked: map[netip.Prefix]int{}}
}

// enter reports whether the request has a place; it waits a moment for one.
func (f *flights) enter(r *http.Request, x *exchange) bool {
	if f.try(x) {
		return true
	}
	if !f.enterLobby() {
		f.shed(f.full)
		return false
	}
	defer f.leaveLobby()
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

// enterLobby reports whether one more may wait.
func (f *flights) enterLobby() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lobby > 0 && f.waiting >= f.lobby {
		return false
	}
	f.waiting++
	return true
}

func (f *flights) leaveLobby() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting--
}

// try gives the request a place, maybe that of another. What loses its place is
// waiting for its client, and ends at once.
func (f *flights) try(x *exchange) bool {
	var client netip.Prefix
	if peer, err := netip.ParseAddrPort(x.request.RemoteAddr); err == nil {
		client = networkOf(peer)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.in) >= f.limit && !f.makeRoom(client) {
		return false
	}
	f.in[x] = client
	f.byClient[client]++
	return true
}

// looks is how often in a moment, which is again, all that are in flight are
// gone through for one client.
const looks = 8

// makeRoom lets somebody go, in favour of a client. What has been found to be
// busy is not looked at again for the same one before a moment is over.
func (f *flights) makeRoom(client netip.Prefix) bool {
	now := time.Now()
	if now.Sub(f.lookedAt) >= again {
		clear(f.looked)
		f.lookedAt = now
	}
	if f.looked[client] >= looks {
		return false
	}
	if f.letGo(now, client) {
		f.looked[client]++
		return true
	}
	f.looked[client] = looks
	return false
}

func (f *flights) letGo(now time.Time, client netip.Prefix) bool {
	var worst *exchange
	var worstFew bool
	var longest time.Duration
	most := busiest(f.byClient)
	for x, other := range f.in {
		need := settle
		if other != client {
			need = mayLose(f.byClient[other], f.byClient[client])
		}
		behind, spared := x.behind(now), few(f.byClient[other], most)
		switch {
		case behind < need, behind == 0, spared && f.byClient[client] >= f.byClient[other]:
			continue
		case worst == nil:
		case spared != worstFew:
			if spared {
				continue
			}
		case behind <= longest:
			continue
		}
		worst, worstFew, longest = x, spared, behind
	}
	if worst == nil || !worst.cut() {
		return false
	}
	f.remove(worst)
	f.shed(tooFarBehind)
	return true
}

func (f *flights) leave(x *exchange) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.remove(x)
}

// remove gives a place back. The caller holds mu.
func (f *flights) remove(x *exchange) {
	client, ok := f.in[x]
	if !ok {
		return
	}
	delete(f.in, x)
	if f.byClient[client]--; f.byClient[client] == 0 {
		delete(f.byClient, client)
	}
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
	if route == changesRoute {
		// Nobody waits for a place that may be taken for days.
		if !s.followers.try(x) {
			s.followers.shed(s.followers.full)
			turnAway(w, r, x, s.followers.full)
			return
		}
		defer s.followers.leave(x)
		h.ServeHTTP(w, r)
		return
	}
	if x.streams {
		// Of HTTP/2, who is to be answered takes up memory too, and so does who
		// waits: of a crowd some are not even answered.
		if !s.streams.try(x) {
			s.streams.shed(s.streams.full)
			panic(http.ErrAbortHandler)
		}
		defer s.streams.leave(x)
	}
	kinds := []*flights{s.requests}
	switch {
	case probe(route):
		kinds = nil
	case route == "v2_uploads":
		kinds = append(kinds, s.uploads)
	}
	for _, f := range kinds {
		if !f.enter(r, x) {
			turnAway(w, r, x, f.full)
			return
		}
		defer f.leave(x)
	}
	h.ServeHTTP(w, r)
}

// hurry is how long a client of HTTP/2 may take for an answer that there is no
// place for it.
const hurry = 100 * time.Millisecond

// turnAway answers a request that there is no place for.
func turnAway(w http.ResponseWriter, r *http.Request, x *exchange, why reason) {
	w.Header().Set("Retry-After", why.retryAfter())
	if !x.complete.Load() {
		x.closing(w.Header()) // the body is not read
	}
	if x.streams {
		x.out.hurry(hurry) // or it would be as if it had a place
	}
	answer(w, r, why.status(), why.message())
}
