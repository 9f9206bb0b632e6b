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
	var m cachedManifest
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
	filtered := &responseFilter{ResponseWriter: w}
	http.ServeContent(filtered, req, "", time.Time{}, bytes.NewReader(m.body))
	r.finish(filtered, req)
}

// manifest reads a manifest that the repository has, by any of its digests, and
// takes room for it first. One whose bytes do not have its digest is not served:
// the error is then storage.ErrDamaged.
func (r *Registry) manifest(ctx context.Context, held *budget.Hold, repository string, d digest.Digest) (cachedManifest, error) {
	canonical, err := r.catalog.Canonical(ctx, repository, d)
	if err != nil {
		return cachedManifest{}, err
	}
	if m, ok := r.manifests.get(canonical); ok && !r.store.Quarantined(canonical) {
		return m, nil
	}
	stored, info, err := r.store.Repository(repository).OpenManifest(ctx, canonical)
	if err != nil {
		return cachedManifest{}, err
	}
	defer stored.Close()
	body, err := held.ReadAll(ctx, stored, info.Size)
	if err != nil {
		return cachedManifest{}, err
	}
	if canonical.Algorithm().FromBytes(body) != canonical {
		return cachedManifest{}, r.damaged(ctx, repository, canonical)
	}
	// What does not say what it is, is what clients ask for first.
	m := cachedManifest{body, cmp.Or(image.MediaType(body), v1.MediaTypeImageManifest)}
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
	if err == nil {
		content, err = r.openBlob(req.Context(), canonical, size)
	}
	switch {
	case errors.Is(err, storage.ErrNotFound):
		r.fail(w, req, unknownBlob)
		return
	case err != nil:
		r.failWith(w, req, err)
		return
	}
	defer content.Close()
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Docker-Content-Digest", a.digest.String())
	h.Set("ETag", `"`+a.digest.String()+`"`)
	h.Set("Cache-Control", "max-age="+strconv.Itoa(int(blobMaxAge/time.Second)))
	filtered := &responseFilter{ResponseWriter: w, unread: func(err error) { r.unreadable(req.Context(), canonical, err) }}
	http.ServeContent(filtered, req, "", time.Time{}, content)
	r.finish(filtered, req)
}
