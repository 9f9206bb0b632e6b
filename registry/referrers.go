package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

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
	// maxReferrersBytes is how large one answer may become: an index like any
	// other.
	maxReferrersBytes = storage.MaxManifestBytes / 2
)

// listReferrers answers what refers to a manifest ("Listing Referrers"): an
// index, empty for a subject that nobody knows. What older clients pushed under
// the fallback tag is merged into the first page.
func (g *Registry) listReferrers(w http.ResponseWriter, r *http.Request, a *asked) {
	query := r.URL.Query()
	filter := query.Get("artifactType")
	list := referrerList{filter: filter, seen: make(map[digest.Digest]bool)}
	after := digest.Digest(query.Get("last"))
	if after == "" {
		if err := g.addFallback(r, a, &list); err != nil {
			g.unavailable(w, r, err)
			return
		}
	}
	for more := true; more && !list.full(); {
		page, err := g.referrers(r.Context(), a.name, a.digest, after, referrersPage)
		if err != nil {
			g.unavailable(w, r, err)
			return
		}
		more = len(page) == referrersPage
		for _, found := range page {
			if list.full() {
				more = true
				break
			}
			after = found.Digest
			list.add(v1.Descriptor{
				MediaType: found.MediaType, Digest: found.Digest, Size: found.Size,
				ArtifactType: found.ArtifactType, Annotations: found.Annotations,
			})
		}
		if more && list.full() {
			next := url.Values{"last": {after.String()}}
			if filter != "" {
				next.Set("artifactType", filter)
			}
			path := route{kind: kindReferrers, name: a.given, digest: a.digest}.path()
			w.Header().Set("Link", "<"+path+"?"+next.Encode()+`>; rel="next"`)
		}
	}
	if filter != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	list.write(w, r)
}

// referrerList gathers one page.
type referrerList struct {
	filter string
	seen   map[digest.Digest]bool
	all    []json.RawMessage
	bytes  int
}

func (l *referrerList) full() bool { return l.bytes >= maxReferrersBytes }

func (l *referrerList) add(d v1.Descriptor) {
	if l.seen[d.Digest] || l.filter != "" && l.filter != d.ArtifactType {
		return
	}
	data, err := json.Marshal(d)
	if err != nil {
		return // strings and numbers always encode
	}
	l.seen[d.Digest] = true
	l.all = append(l.all, data)
	l.bytes += len(data)
}

func (l *referrerList) write(w http.ResponseWriter, r *http.Request) {
	if l.all == nil {
		l.all = []json.RawMessage{}
	}
	body, _ := json.Marshal(struct {
		specs.Versioned
		MediaType string            `json:"mediaType"`
		Manifests []json.RawMessage `json:"manifests"`
	}{specs.Versioned{SchemaVersion: 2}, v1.MediaTypeImageIndex, l.all})
	w.Header().Set("Content-Type", v1.MediaTypeImageIndex)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}

// addFallback adds what the index under the fallback tag lists ("Referrers Tag
// Schema"), as far as it is stored.
func (g *Registry) addFallback(r *http.Request, a *asked, list *referrerList) error {
	tag := strings.Replace(a.digest.String(), ":", "-", 1)
	target, err := g.catalog.Resolve(r.Context(), a.name, tag[:min(len(tag), 128)])
	var body []byte
	if err == nil {
		body, err = g.manifest(r, a.name, target)
	}
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrTooLarge) {
		return nil
	}
	if err != nil {
		return err
	}
	var index v1.Index
	if json.NewDecoder(bytes.NewReader(body)).Decode(&index) != nil {
		return nil
	}
	for _, d := range index.Manifests {
		_, err := g.catalog.Canonical(r.Context(), a.name, d.Digest)
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
