package server

import (
	"context"
	"net/http"
	"sync"
)

// perAccount are the requests in flight of one kind, of each account.
type perAccount struct {
	limit int
	full  reason
	shed  func(reason)

	mu sync.Mutex
	of map[string]*flights // no more than there are accounts; guarded by mu
}

func newPerAccount(limit int, full reason, shed func(reason)) *perAccount {
	return &perAccount{limit: limit, full: full, shed: shed, of: map[string]*flights{}}
}

func (p *perAccount) flights(account string) *flights {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.of[account]
	if f == nil {
		f = newFlights(p.limit, p.full, p.shed)
		// Who waits here has one of the places that all share.
		f.lobby = max(1, p.limit/8)
		p.of[account] = f
	}
	return f
}

type exchangeKey struct{}

// ofAccount lets in no more requests of one account to h than it may have, and
// answers others with 429. Who asks is known by then. Where there are accounts,
// those without one have together what one account has.
func (s *Server) ofAccount(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x, paced := r.Context().Value(exchangeKey{}).(*exchange)
		account := ""
		if s.options.Account != nil {
			account = s.options.Account(r)
		}
		if !paced || account == "" && s.open() {
			h.ServeHTTP(w, r)
			return
		}
		kinds := []*perAccount{s.accountRequests}
		switch {
		case routeOf(r.URL.Path) == changesRoute:
			kinds = []*perAccount{s.accountStreams}
		case account == "":
			kinds = []*perAccount{s.anonymous}
		case routeOf(r.URL.Path) == "v2_uploads":
			kinds = append(kinds, s.accountUploads)
		}
		for _, kind := range kinds {
			f := kind.flights(account)
			if !f.enter(r, x) {
				turnAway(w, r, x, f.full)
				return
			}
			defer f.leave(x)
		}
		h.ServeHTTP(w, r)
	})
}

// open reports whether there are no accounts.
func (s *Server) open() bool { return s.options.Browsers.Open == nil || s.options.Browsers.Open() }

// gated is h behind the gate that finds out who asks, and the limits of accounts.
func (s *Server) gated(h http.Handler) http.Handler {
	h = s.ofAccount(h)
	if s.options.Gate == nil {
		return h
	}
	return s.options.Gate(h)
}

func withExchange(ctx context.Context, x *exchange) context.Context {
	return context.WithValue(ctx, exchangeKey{}, x)
}
