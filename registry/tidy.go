package registry

import (
	"context"
	"net/http"
	"sync"

	"github.com/berth-oci/berth/storage"
)

// A request that fails because storage does leaves nothing behind: neither the
// upload that it began or went on with, nor bytes that it stored and could not
// link. What cannot be removed either, because the disk is at its end, is
// removed as soon as an upload succeeds again.

// leftovers are the uploads that could not be removed.
type leftovers struct {
	mu  sync.Mutex
	all map[storage.Upload]struct{} // guarded by mu
}

// maxLeftovers bounds the memory for them; the purger finds the rest.
const maxLeftovers = 10_000

func (l *leftovers) add(u storage.Upload) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = make(map[storage.Upload]struct{})
	}
	if len(l.all) < maxLeftovers {
		l.all[u] = struct{}{}
	}
}

// take returns some, which the caller puts back if they stay.
func (l *leftovers) take() (some []storage.Upload) {
	const atOnce = 100
	l.mu.Lock()
	defer l.mu.Unlock()
	for u := range l.all {
		if len(some) == atOnce {
			break
		}
		some = append(some, u)
		delete(l.all, u)
	}
	return some
}

// tidy ends a request to an upload: if storage has refused it, with what it
// wrote.
func (r *Registry) tidy(req *http.Request, a *request, noted *storage.Uploads) {
	ctx := context.WithoutCancel(req.Context())
	if recordOf(ctx).status < http.StatusInternalServerError {
		for _, u := range r.leftovers.take() {
			r.discard(ctx, u.Repository, u.ID)
		}
		return
	}
	for _, u := range noted.All() {
		r.discard(ctx, u.Repository, u.ID)
	}
	if a.kind == kindUpload && req.Method != http.MethodGet && req.Method != http.MethodHead {
		r.discard(ctx, a.name, a.upload)
	}
}

// undo removes the bytes of a push that failed.
func (r *Registry) undo(ctx context.Context, p *storage.Push, repository string) {
	if err := p.Undo(context.WithoutCancel(ctx), repository); err != nil {
		r.log.WarnContext(ctx, "bytes of a failed push stay", "repository", repository, "error", err)
	}
}

// hasRoom refuses bytes that would leave too little room on the disk, before
// they are read, and reports whether there is room. A mount and the end of an
// upload bring none.
func (r *Registry) hasRoom(w http.ResponseWriter, req *http.Request, a *request) bool {
	begins := a.kind == kindUploads && !req.URL.Query().Has("mount")
	if req.ContentLength == 0 && !begins || !a.write || req.Method == http.MethodDelete {
		return true
	}
	err := r.store.Room(req.ContentLength)
	if err == nil {
		return true
	}
	w.Header().Set("Connection", "close") // the body is not read
	r.failWith(w, req, err)
	return false
}
