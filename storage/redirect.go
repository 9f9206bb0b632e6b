package storage

import (
	"net/http"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
)

// onlyGets sends clients to where the driver keeps a blob only for its bytes.
// Whether a blob is there, and how large it is, berth says itself: HEAD must be
// answered with 200 ("Checking if content exists in the registry" in the
// distribution specification), with headers that no bucket sends, and to
// clients that push and cannot reach the bucket.
type onlyGets struct{ storagedriver.StorageDriver }

func (o onlyGets) RedirectURL(r *http.Request, path string) (string, error) {
	if r.Method != http.MethodGet {
		return "", nil
	}
	return o.StorageDriver.RedirectURL(r, path)
}
