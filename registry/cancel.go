package registry

import (
	"errors"
	"net/http"

	"github.com/berth-oci/berth/storage"
)

// cancelUpload ends an upload that is not to be finished. The request has taken it.
// It is meant whichever of its addresses the client has: distribution would
// refuse to cancel by one from before the last chunk.
func (r *Registry) cancelUpload(w http.ResponseWriter, req *http.Request, a *request) {
	_, err := r.store.Upload(req.Context(), storage.Upload{Repository: a.name, ID: a.upload})
	switch {
	case errors.Is(err, storage.ErrNotFound):
		r.fail(w, req, &problem{http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "there is no such upload"})
		return
	case err != nil:
		r.failWith(w, req, err)
		return
	}
	r.discard(req.Context(), a.name, a.upload)
	w.Header().Set("Docker-Upload-UUID", a.upload)
	w.WriteHeader(http.StatusNoContent)
}
