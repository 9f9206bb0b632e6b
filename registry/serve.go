package registry

// What is read is answered here, from the index and from storage: whether it is
// there, and what a tag points to, the index says. What /v2 and /v1 answer is
// then one history, however far a change that is under way has come in storage.
// The index shows nothing that is not stored.

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/registry/budget"
	"github.com/berth-oci/berth/storage"
)

// getManifest serves a manifest ("Pulling manifests"), under the digest in
// the request, or that of the tag. It supports Range and conditional requests (RFC 9110).
// distribution would refuse clients that do not say that they accept the type,
// which the specification does not ask for.
func (r *Registry) getManifest(w http.ResponseWriter, req *http.Request, a *request) {
	named, err := a.digest, error(nil)
	if a.tag != "" {
		named, err = r.catalog.Resolve(req.Context(), a.name, a.tag)
	}
	held := r.memory.Hold()
	defer held.Release()
	var m cached
	if err == nil && req.Method == http.MethodHead {
		var told func()
		if told, err = r.promise(req.Context(), a.name, named); err == nil {
			defer told()
		}
	}
	if err == nil {
		m, err = r.manifest(req.Context(), held, a.name, named)
	}
	switch {
	case errors.Is(err, storage.ErrNotFound) && !errors.Is(err, storage.ErrDamaged):
		r.fail(w, req, unknownManifest)
		return
	case errors.Is(err, storage.ErrTooLarge):
		r.fail(w, req, &problem{http.StatusInternalServerError, "UNKNOWN", "the stored manifest is larger than a manifest may be"})
		return
	case err != nil:
		r.failWith(w, req, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", m.mediaType)
	h.Set("Docker-Content-Digest", named.String())
	h.Set("ETag", `"`+named.String()+`"`)
	r.serve(w, req, m.body)
	if req.Method == http.MethodGet {
		r.catalog.NotePull(a.name, named)
	}
}

// serve answers with content that is in memory. The headers that say what it is
// are set.
func (r *Registry) serve(w http.ResponseWriter, req *http.Request, body []byte) {
	if whole(req) {
		h := w.Header()
		h.Set("Accept-Ranges", "bytes")
		h.Set("Content-Length", strconv.Itoa(len(body)))
		if req.Method != http.MethodHead {
			_, _ = w.Write(body) // the client is gone
		}
		return
	}
	filtered := &responseFilter{ResponseWriter: w}
	http.ServeContent(filtered, req, "", time.Time{}, bytes.NewReader(body))
	r.finish(filtered, req)
}

// whole reports whether a request is for all of something, whatever it is now: the
// answer needs none of what [http.ServeContent] looks at.
func whole(req *http.Request) bool {
	for _, name := range [...]string{"Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"} {
		if _, given := req.Header[name]; given {
			return false
		}
	}
	return true
}

// manifest reads a manifest that the repository has, by any of its digests, and
// takes room for it first. One whose bytes do not have its digest is not served:
// the error is then storage.ErrDamaged.
func (r *Registry) manifest(ctx context.Context, held *budget.Hold, repository string, d digest.Digest) (cached, error) {
	canonical, err := r.catalog.Canonical(ctx, repository, d)
	if err != nil {
		return cached{}, err
	}
	if m, ok := r.manifests.get(canonical); ok && !r.store.Quarantined(canonical) {
		// A slow client holds it also once it is no longer in the cache.
		if len(m.body) > smallManifest {
			err = held.Grow(ctx, int64(len(m.body)))
		}
		return m, err
	}
	stored, info, err := r.store.Repository(repository).OpenManifest(ctx, canonical)
	if err != nil {
		return cached{}, err
	}
	defer stored.Close()
	body, err := held.ReadAll(ctx, stored, info.Size)
	if err != nil {
		return cached{}, err
	}
	if canonical.Algorithm().FromBytes(body) != canonical {
		return cached{}, r.damaged(ctx, repository, canonical)
	}
	// What does not say what it is, is what clients ask for first.
	m := cached{body, cmp.Or(image.MediaType(body), v1.MediaTypeImageManifest)}
	r.manifests.put(canonical, m)
	return m, nil
}

var unknownBlob = &problem{http.StatusNotFound, "BLOB_UNKNOWN", "the repository has no such blob"}

// blobMaxAge is how long a blob may be kept by caches: its bytes never change.
const blobMaxAge = 365 * 24 * time.Hour

// getBlob serves a blob ("Pulling blobs"), under the digest in the request,
// or redirects the client to where the driver keeps it. It supports Range and
// conditional requests (RFC 9110).
func (r *Registry) getBlob(w http.ResponseWriter, req *http.Request, a *request) {
	if req.Method == http.MethodHead {
		told, err := r.promise(req.Context(), a.name, a.digest)
		if err != nil {
			r.failWith(w, req, err)
			return
		}
		defer told()
	}
	size, linked, err := r.catalog.Linked(req.Context(), a.name, a.digest)
	if err == nil && !linked {
		err = storage.ErrNotFound
	}
	canonical := a.digest
	if err == nil && canonical.Algorithm() != digest.Canonical {
		canonical, err = r.store.Repository(a.name).Canonical(req.Context(), a.digest)
	}
	if err == nil && r.redirects && !r.store.Quarantined(canonical) {
		var elsewhere string
		if elsewhere, err = r.store.Redirect(req, canonical); elsewhere != "" {
			http.Redirect(w, req, elsewhere, http.StatusTemporaryRedirect)
			return
		}
	}
	var content io.ReadSeekCloser
	var small []byte
	if err == nil {
		if small = r.smallBlob(req, canonical); small == nil {
			content, err = r.openBlob(req.Context(), canonical, size)
		}
	}
	switch {
	case errors.Is(err, storage.ErrNotFound):
		r.fail(w, req, unknownBlob)
		return
	case err != nil:
		r.failWith(w, req, err)
		return
	}
	if content != nil {
		defer content.Close()
		small = r.readSmall(req, canonical, content, size)
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Docker-Content-Digest", a.digest.String())
	h.Set("ETag", `"`+a.digest.String()+`"`)
	h.Set("Cache-Control", "max-age="+strconv.Itoa(int(blobMaxAge/time.Second)))
	if small != nil {
		r.serve(w, req, small)
		return
	}
	filtered := &responseFilter{ResponseWriter: w, unread: func(err error) { r.unreadable(req.Context(), canonical, err) }}
	http.ServeContent(filtered, req, "", time.Time{}, content)
	r.finish(filtered, req)
}

// smallBlob is the content of a blob that was read before, nil if it was not. Who
// only asks whether it is there is told of what is stored: clients that push do,
// and would leave out what is to be healed.
func (r *Registry) smallBlob(req *http.Request, d digest.Digest) []byte {
	if req.Method == http.MethodHead {
		return nil
	}
	if m, ok := r.blobs.get(d); ok && !r.store.Quarantined(d) {
		return m.body
	}
	return nil
}

// readSmall reads a blob that is small, and keeps it if its bytes have its
// digest. Otherwise the result is nil, and the content at its beginning.
func (r *Registry) readSmall(req *http.Request, d digest.Digest, content io.ReadSeeker, size int64) []byte {
	if size > maxSmallBlob || req.Method == http.MethodHead {
		return nil
	}
	body := make([]byte, size)
	_, err := io.ReadFull(content, body)
	if err == nil && d.Algorithm().FromBytes(body) == d {
		r.blobs.put(d, cached{body: body})
		return body
	}
	// Whatever is wrong, serving it as it is shows it again.
	_, _ = content.Seek(0, io.SeekStart)
	return nil
}

// promise has what a client asks for, and is about to be told of, stay for as long as
// a push may take. It stays in any case until told is called.
func (r *Registry) promise(ctx context.Context, repository string, d digest.Digest) (told func(), err error) {
	told, err = r.store.Rely(ctx, storage.GuardHead, d)
	if err != nil || r.readOnly {
		return told, err
	}
	if err := r.catalog.Renew(ctx, repository, d); err != nil {
		told()
		return nil, err
	}
	return told, nil
}
