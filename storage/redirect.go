package storage

import (
	"net/http"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"
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

// Redirect returns the URL at which a client gets the bytes of a digest from the
// driver's own server, "" if they are to come from here.
func (s *Store) Redirect(r *http.Request, d digest.Digest) (string, error) {
	if d.Validate() != nil {
		return "", ErrNotFound
	}
	elsewhere, err := s.driver.RedirectURL(r, blobPath(d))
	if err != nil {
		return "", translate(err)
	}
	return elsewhere, nil
}
