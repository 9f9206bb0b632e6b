package access

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
)

// ErrNoCredentials is the error where an account is wanted and a request brings
// none.
var ErrNoCredentials = errors.New("authentication required")

// Identity is who a request comes from, as [Gate.Wrap] has found out.
type Identity struct {
	// Caller is who asks. It may do nothing if the credentials are wrong.
	Caller Caller
	// Err is nil, or [ErrUnauthorized] for wrong credentials.
	Err error

	gate *Gate
}

type identityKey struct{}

// Wrap returns a handler that finds out, once, who a request comes from before
// next answers it. It refuses nobody: what a caller may do, and in which form it
// is told that it may not, next knows (see [Of] and [Identity.Refuse]).
func (g *Gate) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, err := g.Identify(r)
		id := &Identity{Caller: caller, Err: err, gate: g}
		if h, ok := r.Context().Value(holderKey{}).(*holder); ok {
			h.name.Store(new(caller.Name()))
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), identityKey{}, id)))
	})
}

// holder is where a gate leaves the name of a caller for who wraps it.
type holder struct{ name atomic.Pointer[string] }

type holderKey struct{}

// Hold returns a context in which a gate further in leaves who it has found, for
// [Held].
func Hold(ctx context.Context) context.Context {
	return context.WithValue(ctx, holderKey{}, &holder{})
}

// Held returns the account that a gate has found in a context made by [Hold], ""
// for none, or if no gate has seen the request.
func Held(ctx context.Context) string {
	if h, ok := ctx.Value(holderKey{}).(*holder); ok {
		if name := h.name.Load(); name != nil {
			return *name
		}
	}
	return ""
}

// Of returns who a request comes from. A request that no gate has seen comes
// from [Everyone]: whoever serves it without one has no accounts.
func Of(r *http.Request) *Identity {
	if id, ok := r.Context().Value(identityKey{}).(*Identity); ok {
		return id
	}
	return &Identity{Caller: Everyone()}
}

// ErrRights is the error where what a caller may read has changed since.
var ErrRights = errors.New("what you may read has changed")

// Again finds out once more who a request comes from, for an answer that goes on:
// [ErrUnauthorized] if its credentials are not good any more, [ErrRights] if who it
// is may read something else by now. Otherwise it is the caller of now, whose
// credentials may end at another time.
func (i *Identity) Again(r *http.Request) (Caller, error) {
	if i.gate == nil {
		return i.Caller, nil
	}
	now, err := i.gate.Identify(r)
	if err == nil && !now.sees(i.Caller) {
		err = ErrRights
	}
	return now, err
}

// Refuse makes the headers of an answer of 401 or 429, and returns why it is
// given: [ErrTooManyFailures] for 429, [ErrUnauthorized] for wrong credentials,
// [ErrNoCredentials] if there are none. Wrong ones are refused slower and
// slower. The challenge is for an action on a repository, as in
// [Gate.Challenge].
func (i *Identity) Refuse(w http.ResponseWriter, r *http.Request, repository, action string) error {
	why := i.Err
	if why != nil {
		if err := i.gate.Slow(r.Context(), r); err != nil {
			w.Header().Set("Retry-After", RetryAfter(err))
			return ErrTooManyFailures
		}
	} else {
		why = ErrNoCredentials
	}
	if i.gate != nil {
		w.Header().Set("WWW-Authenticate", i.gate.Challenge(r, repository, action))
	}
	return why
}
