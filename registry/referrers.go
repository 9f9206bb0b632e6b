package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/registry/budget"
	"github.com/berth-oci/berth/storage"
)

const (
	// referrersPage is how many referrers are read at a time.
	referrersPage = 256
	// maxReferrersBytes is how large an answer may become, in bytes, unless one
	// referrer alone is larger, or what is under the fallback tag. Clients read
	// an index up to the size of a manifest; here, an answer is held in memory.
	maxReferrersBytes = 1 << 20
)

// listReferrers answers what refers to a manifest ("Listing Referrers"): an
// index, empty for a subject that nobody knows. What older clients pushed under
// the fallback tag is merged into the first page.
func (r *Registry) listReferrers(w http.ResponseWriter, req *http.Request, a *request) {
	query := req.URL.Query()
	filter := query.Get("artifactType")
	list := referrerList{ctx: req.Context(), held: r.memory.Hold(), filter: filter, seen: make(map[digest.Digest]bool)}
	defer list.held.Release()
	if err := r.addFallback(req, a, &list); err != nil {
		r.failWith(w, req, err)
		return
	}
	after := digest.Digest(query.Get("last"))
	if after != "" {
		list.turn()
	}
	list.limit = maxReferrersBytes
	for more := true; more; {
		page, next, err := r.referrers(req.Context(), a.name, a.digest, filter, after, referrersPage)
		if err != nil {
			r.failWith(w, req, err)
			return
		}
		more = next != ""
		for _, found := range page {
			fits, err := list.add(found.Digest, found.ArtifactType, found)
			if err != nil {
				r.failWith(w, req, err)
				return
			}
			if !fits {
				r.linkReferrers(w, a, filter, after)
				more, next = false, after
				break
			}
			after = found.Digest
		}
		after = next
	}
	if filter != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	const head = `{"schemaVersion":2,"mediaType":"` + v1.MediaTypeImageIndex + `","manifests":[`
	writeList(w, req, v1.MediaTypeImageIndex, head, "", list.all)
}

// beforeAll sorts before every digest: with it, a list goes on after what was
// merged into it, at the first referrer.
const beforeAll = digest.Digest("-")

// linkReferrers links to the page that goes on after a digest.
func (r *Registry) linkReferrers(w http.ResponseWriter, a *request, filter string, after digest.Digest) {
	next := url.Values{"last": {cmp.Or(after, beforeAll).String()}}
	if filter != "" {
		next.Set("artifactType", filter)
	}
	path := r.prefix + route{kind: kindReferrers, name: a.clientName, digest: a.digest}.path()
	w.Header().Set("Link", "<"+path+"?"+next.Encode()+`>; rel="next"`)
}

// referrerList gathers one page.
type referrerList struct {
	ctx    context.Context
	held   *budget.Hold // room for all
	filter string
	seen   map[digest.Digest]bool
	all    []string // JSON
	bytes  int
	limit  int // of bytes, 0 for none
}

// turn begins another page; what stood on the one before does not come again.
func (r *referrerList) turn() { r.all, r.bytes = nil, 0 }

// add takes up a descriptor, and returns false for one that does not fit on the
// page any more. One fits on every page, however large it is. The error is that
// there is no room in memory.
func (r *referrerList) add(d digest.Digest, artifactType string, descriptor any) (fits bool, err error) {
	if r.skips(d, artifactType) {
		return true, nil
	}
	var data strings.Builder
	enc := json.NewEncoder(&data)
	enc.SetEscapeHTML(false) // which may make six bytes of one
	if enc.Encode(descriptor) != nil {
		return true, nil // strings and numbers always encode
	}
	if r.limit > 0 && r.bytes > 0 && r.bytes+data.Len() > r.limit {
		return false, nil
	}
	if err := r.held.Grow(r.ctx, int64(data.Len())); err != nil {
		return false, err
	}
	r.seen[d] = true
	r.all = append(r.all, strings.TrimSpace(data.String()))
	r.bytes += data.Len()
	return true, nil
}

// skips reports whether a descriptor is not to be in the list, or is already.
func (r *referrerList) skips(d digest.Digest, artifactType string) bool {
	return r.seen[d] || r.filter != "" && r.filter != artifactType
}

// addFallback adds what the index under the fallback tag lists ("Referrers Tag
// Schema"), as far as it is stored.
func (r *Registry) addFallback(req *http.Request, a *request, list *referrerList) error {
	tag := fmt.Sprintf("%.32s-%.64s", a.digest.Algorithm(), a.digest.Encoded())
	target, err := r.catalog.Resolve(req.Context(), a.name, tag)
	held := r.memory.Hold()
	defer held.Release()
	var fallback cached
	if err == nil {
		fallback, err = r.manifest(req.Context(), held, a.name, target)
	}
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrTooLarge) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, d := range image.Descriptors(fallback.body) {
		if list.skips(d.Digest, d.ArtifactType) {
			continue
		}
		_, err := r.catalog.Canonical(req.Context(), a.name, d.Digest)
		if errors.Is(err, storage.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if _, err := list.add(d.Digest, d.ArtifactType, d); err != nil {
			return err
		}
	}
	return nil
}
