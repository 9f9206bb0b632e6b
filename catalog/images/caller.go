package images

import (
	"errors"
	"net/http"

	"github.com/berth-oci/berth/registry/access"
)

// identify says who asks, and answers whoever may not: in a closed registry
// every route wants an account, but for the lists of images where some are
// public.
func (h *handler) identify(w http.ResponseWriter, r *http.Request, lists bool) (access.Caller, bool) {
	id := access.Of(r)
	if id.Err == nil && (!id.Caller.Anonymous() || lists && id.Caller.MayList()) {
		return id.Caller, true
	}
	err := id.Refuse(w, r, "", "")
	why := &failure{http.StatusUnauthorized, "authorization: an account is wanted; send its token as Bearer base64(user:secret), or as Basic"}
	switch {
	case errors.Is(err, access.ErrTooManyFailures):
		why = &failure{http.StatusTooManyRequests, "authorization: too many failed attempts from this address; wait a moment"}
	case errors.Is(err, access.ErrUnauthorized):
		why.message = "authorization: " + err.Error()
	}
	h.fail(w, r, why)
	return access.Caller{}, false
}
