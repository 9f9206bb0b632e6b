package registry

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/storage"
)

// Referrer is a manifest that has a subject, as the list of referrers shows it.
type Referrer struct {
	MediaType    string
	Digest       digest.Digest
	Size         int64
	ArtifactType string
	Annotations  map[string]string
}

const (
	// referrersPage is how many referrers are read at a time.
	referrersPage = 256
	// maxReferrersBytes is how large an answer may become, unless one referrer
	// alone is larger: clients read an index up to the size of a manifest.
	maxReferrersBytes = storage.MaxManifestBytes / 2
)

// listReferrers answers what refers to a manifest ("Listing Referrers"): an
// index, empty for a subject that nobody knows. What older clients pushed under
// the fallback tag is merged into the first page.
func (r *Registry) listReferrers(w http.ResponseWriter, req *http.Request, a *request) {
	query := req.URL.Query()
	filter := query.Get("artifactType")
	list := referrerList{filter: filter, seen: make(map[digest.Digest]bool)}
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
		page, err := r.referrers(req.Context(), a.name, a.digest, after, referrersPage)
		if err != nil {
			r.failWith(w, req, err)
			return
		}
		more = len(page) == referrersPage
		for _, found := range page {
			fits := list.add(v1.Descriptor{
				MediaType: found.MediaType, Digest: found.Digest, Size: found.Size,
				ArtifactType: found.ArtifactType, Annotations: found.Annotations,
			})
			if !fits {
				r.linkReferrers(w, a, filter, after)
				more = false
				break
			}
			after = found.Digest
		}
	}
	if filter != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	list.write(w, req)
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
	filter string
	seen   map[digest.Digest]bool
	all    []json.RawMessage
	bytes  int
	limit  int // of bytes, 0 for none
}

// turn begins another page; what stood on the one before does not come again.
func (r *referrerList) turn() { r.all, r.bytes = nil, 0 }

// add says false for one that does not fit on the page any more. One fits on
// every page, however large it is.
func (r *referrerList) add(d v1.Descriptor) bool {
	if r.seen[d.Digest] || r.filter != "" && r.filter != d.ArtifactType {
		return true
	}
	data, err := json.Marshal(d)
	if err != nil {
		return true // strings and numbers always encode
	}
	if r.limit > 0 && r.bytes > 0 && r.bytes+len(data) > r.limit {
		return false
	}
	r.seen[d.Digest] = true
	r.all = append(r.all, data)
	r.bytes += len(data)
	return true
}

func (r *referrerList) write(w http.ResponseWriter, req *http.Request) {
	if r.all == nil {
		r.all = []json.RawMessage{}
	}
	body, _ := json.Marshal(struct {
		specs.Versioned
		MediaType string            `json:"mediaType"`
		Manifests []json.RawMessage `json:"manifests"`
	}{specs.Versioned{SchemaVersion: 2}, v1.MediaTypeImageIndex, r.all})
	w.Header().Set("Content-Type", v1.MediaTypeImageIndex)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if req.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}

// addFallback adds what the index under the fallback tag lists ("Referrers Tag
// Schema"), as far as it is stored.
func (r *Registry) addFallback(req *http.Request, a *request, list *referrerList) error {
	tag := fmt.Sprintf("%.32s-%.64s", a.digest.Algorithm(), a.digest.Encoded())
	target, err := r.catalog.Resolve(req.Context(), a.name, tag)
	var fallback cachedManifest
	if err == nil {
		fallback, err = r.manifest(req.Context(), a.name, target)
	}
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrTooLarge) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, d := range image.Descriptors(fallback.body) {
		_, err := r.catalog.Canonical(req.Context(), a.name, d.Digest)
		if errors.Is(err, storage.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		list.add(d)
	}
	return nil
}
