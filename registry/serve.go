package registry

import (
	"bytes"
	"cmp"
	"errors"
	"net/http"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/registry/budget"
	"github.com/berth-oci/berth/storage"
)

// getManifest serves a manifest ("Pulling manifests"), under the digest by which
// it was asked or tagged, with Range and conditions as RFC 9110 has them.
//
// Whether it is there, and what a tag points to, the index says: what /v2 and
// /v1 answer is then one history, however far a change that is under way has
// come in storage. The index shows nothing that is not stored. distribution
// would also refuse clients that do not say that they accept the type, which
// the specification does not ask for.
func (r *Registry) getManifest(w http.ResponseWriter, req *http.Request, a *request) {
	named, err := a.digest, error(nil)
	if a.tag != "" {
		named, err = r.catalog.Resolve(req.Context(), a.name, a.tag)
	}
	held := r.memory.Hold()
	defer held.Release()
	var body []byte
	if err == nil {
		body, err = r.manifest(req, held, a.name, named)
	}
	switch {
	case errors.Is(err, storage.ErrNotFound):
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
	// What does not say what it is, is what clients ask for first.
	h.Set("Content-Type", cmp.Or(image.MediaType(body), v1.MediaTypeImageManifest))
	h.Set("Docker-Content-Digest", named.String())
	h.Set("ETag", `"`+named.String()+`"`)
	filtered := &responseFilter{ResponseWriter: w}
	http.ServeContent(filtered, req, "", time.Time{}, bytes.NewReader(body))
	r.finish(filtered, req)
}

// manifest reads a manifest, and takes room for it first.
func (r *Registry) manifest(req *http.Request, held *budget.Hold, repository string, d digest.Digest) ([]byte, error) {
	canonical, err := r.catalog.Canonical(req.Context(), repository, d)
	if err != nil {
		return nil, err
	}
	stored, info, err := r.store.Repository(repository).OpenManifest(req.Context(), canonical)
	if err != nil {
		return nil, err
	}
	defer stored.Close()
	return held.ReadAll(req.Context(), stored, info.Size)
}
