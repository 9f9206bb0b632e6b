package registry

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/berth-oci/berth/storage"
)

// sweepEvery is how often uploads that nobody continues are looked for.
const sweepEvery = 15 * time.Minute

// openUploads are the uploads that are not finished, as far as this process
// knows of them: what was begun or continued here, and what the start has found.
type openUploads struct {
	mu  sync.Mutex
	all map[storage.Upload]progress // guarded by mu
}

// progress is how far an upload has come, and when a client last asked for it.
type progress struct {
	bytes  int64
	client time.Time
}

// note notes how far an upload has come that a client asks for.
func (o *openUploads) note(repository, id string, bytes int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.all == nil {
		o.all = make(map[storage.Upload]progress)
	}
	o.all[storage.Upload{Repository: repository, ID: id}] = progress{bytes, time.Now()}
}

// found takes up how far an upload has come in storage, if that is further than was
// known, and returns how far that is. No client has asked for it.
func (o *openUploads) found(u storage.Upload, bytes int64) int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	p, known := o.all[u]
	if !known { // it has ended meanwhile: the next sweep sees that
		p.client = time.Now()
	}
	p.bytes = max(p.bytes, bytes)
	o.all[u] = p
	return p.bytes
}

// rests reports whether no client has asked for an upload since before.
func (o *openUploads) rests(u storage.Upload, before time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	p, known := o.all[u]
	return known && p.client.Before(before)
}

func (o *openUploads) forget(repository, id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.all, storage.Upload{Repository: repository, ID: id})
}

// bytes is how many an upload has received, if it is known.
func (o *openUploads) bytes(repository, id string) (bytes int64, known bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p, known := o.all[storage.Upload{Repository: repository, ID: id}]
	return p.bytes, known
}

func (o *openUploads) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.all)
}

// resting are those that no client has asked for since before.
func (o *openUploads) resting(before time.Time) (resting []storage.Upload) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for u, p := range o.all {
		if p.client.Before(before) {
			resting = append(resting, u)
		}
	}
	return resting
}

// watchUploads counts the uploads that were open at the start, and from then on
// stops counting those that were removed, until ctx ends.
func (r *Registry) watchUploads(ctx context.Context) {
	defer close(r.watched)
	if err := r.store.Uploads(ctx, func(u storage.OpenUpload) error { return r.countUpload(ctx, u) }); err != nil && ctx.Err() == nil {
		r.log.Error("uploads that were open at the start count only once they go on", "error", err)
	}
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			r.sweepUploads(ctx, now.Add(-sweepEvery))
		}
	}
}

// countUpload counts an upload that was found in storage, unless it has gone on
// meanwhile.
func (r *Registry) countUpload(ctx context.Context, u storage.OpenUpload) error {
	if _, known := r.quotas.open.bytes(u.Repository, u.ID); known {
		return nil
	}
	if err := r.quotas.resumed(ctx, u.Repository, u.ID, u.Bytes); err != nil {
		return err
	}
	_, err := r.store.Upload(ctx, u.Upload)
	if errors.Is(err, storage.ErrNotFound) {
		return r.quotas.ended(ctx, u.Repository, u.ID)
	}
	return err
}

// sweepUploads goes through the uploads that no client has asked for since before.
// One that was removed, by distribution's purger or whoever, counts no longer;
// any other goes on counting.
func (r *Registry) sweepUploads(ctx context.Context, before time.Time) {
	for _, u := range r.quotas.open.resting(before) {
		if ctx.Err() != nil {
			return
		}
		release, free := r.takeUpload(route{kind: kindUpload, name: u.Repository, upload: u.ID})
		if !free {
			continue // somebody is writing to it
		}
		found, err := r.store.Upload(ctx, u)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			err = r.quotas.ended(ctx, u.Repository, u.ID)
		case err == nil:
			err = r.quotas.counts(ctx, u, r.quotas.open.found(u, found.Bytes))
		}
		release()
		if err != nil {
			r.log.Warn("an upload may count too long", "repository", u.Repository, "upload", u.ID, "error", err)
		}
	}
}

// OpenUploads is how many uploads are not finished.
func (r *Registry) OpenUploads() int { return r.quotas.open.count() }
