package images

import (
	"errors"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/berth-oci/berth/registry/access"
)

// identify says who asks, and answers whoever may not: in a closed registry
// every route wants an account, but for the lists of images where some are
// public.
func (h *handler) identify(w http.ResponseWriter, r *http.Request) (access.Caller, bool) {
	id := access.Of(r)
	lists := routes[r.URL.EscapedPath()] != nil
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

// amounts are what a quota limits, and what is used of it. What berth does not
// know of (instances, memory, …) is not in them.
type amounts struct {
	// ImageStorage is in bytes; in hard, it is left out where there is no limit.
	ImageStorage *int64 `json:"image_storage_bytes,omitempty"`
	Images       *int64 `json:"images,omitempty"`
}

type quota struct {
	UUID string  `json:"uuid"`
	Used amounts `json:"used"`
	Hard amounts `json:"hard"`
}

// quotas answers GET /v1/users/quotas: what the account that asks stores, and
// how much it may. An open registry has no accounts, and no quotas.
func (h *handler) quotas(w http.ResponseWriter, r *http.Request, caller access.Caller, start time.Time) error {
	all := []quota{}
	if name := caller.Name(); name != "" {
		usage, err := h.catalog.Usage(r.Context(), name)
		if err == nil {
			usage.Bytes, err = h.opts.Used(r.Context(), name)
		}
		if err != nil {
			return err
		}
		q := quota{
			UUID: uuid.NewSHA1(uuid.NameSpaceURL, []byte("oci://"+name)).String(),
			Used: amounts{&usage.Bytes, &usage.Images},
		}
		if account, ok := h.opts.Accounts.Current().Account(name); ok && account.Quota > 0 {
			q.Hard.ImageStorage = &account.Quota
		}
		all = append(all, q)
	}
	writeData(w, r, "quotas", all, start)
	return nil
}
