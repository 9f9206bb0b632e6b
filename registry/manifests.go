package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/berth-oci/berth/storage"
)

// getManifest reads a manifest. Whether it is there, and what a tag points to,
// the index says: what /v2 and /v1 answer is then one history, however a change
// that is under way has come in storage. The index shows nothing that is not
// stored.
func (g *Registry) getManifest(w http.ResponseWriter, r *http.Request, a *asked) {
	target := a.route
	var err error
	if a.tag != "" {
		target.tag = ""
		target.digest, err = g.catalog.Resolve(r.Context(), a.name, a.tag)
	} else {
		var there bool
		if there, err = g.catalog.Holds(r.Context(), a.name, a.digest); err == nil && !there {
			err = storage.ErrNotFound
		}
	}
	switch {
	case errors.Is(err, storage.ErrNotFound):
		g.fail(w, r, unknownManifest)
	case err != nil:
		g.unavailable(w, r, err)
	default:
		g.forward(w, rebuild(r, target), a)
	}
}

var unknownManifest = &problem{http.StatusNotFound, "MANIFEST_UNKNOWN", "the repository has no such manifest"}

// putManifest takes a manifest. The body is read before the repository is
// taken, so that a slow client holds up nobody.
func (g *Registry) putManifest(w http.ResponseWriter, r *http.Request, a *asked) {
	if r.ContentLength > storage.MaxManifestBytes {
		w.Header().Set("Connection", "close")
		g.fail(w, r, tooLarge)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, storage.MaxManifestBytes))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		g.fail(w, r, tooLarge)
		return
	case err != nil:
		g.fail(w, r, &problem{http.StatusBadRequest, "MANIFEST_INVALID", "the manifest ended before it was complete"})
		return
	}
	if problem := checkManifest(body); problem != nil {
		g.fail(w, r, problem)
		return
	}
	change, err := g.begin(r.Context(), a.name)
	if err != nil {
		g.unavailable(w, r, err)
		return
	}
	p := &push{Change: change, counted: func() {}}
	defer p.end()

	out := rebuild(r.WithContext(context.WithValue(r.Context(), pushKey{}, p)), a.route)
	out.Body = io.NopCloser(bytes.NewReader(body))
	out.ContentLength = int64(len(body))
	out.Header.Set("Content-Length", strconv.Itoa(len(body)))
	if contentType := r.Header.Get("Content-Type"); contentType == "" || isForm(contentType) {
		out.Header.Set("Content-Type", mediaTypeIn(body))
	}
	status := g.forward(w, out, a)
	e := g.event(r, a, "push")
	if e.Status = status; status < 400 {
		g.names.stored(a.name)
		e.Digest = w.Header().Get("Docker-Content-Digest")
	}
	g.record(r, e)
}

var tooLarge = &problem{http.StatusRequestEntityTooLarge, "SIZE_INVALID",
	"a manifest may have " + strconv.Itoa(storage.MaxManifestBytes) + " bytes at most"}

// maxDescriptors is how many layers, or manifests of an index, a manifest may
// have. distribution reports every one that is wrong, at a cost of time and
// memory that a small manifest of a million empty ones makes unbearable.
const maxDescriptors = 16384

// checkManifest refuses what distribution would take for a fault of its own, or
// choke on.
func checkManifest(body []byte) *problem {
	var m struct {
		SchemaVersion json.RawMessage `json:"schemaVersion"`
		Layers        descriptors     `json:"layers"`
		Manifests     descriptors     `json:"manifests"`
	}
	err := json.Unmarshal(body, &m)
	switch {
	case errors.Is(err, errTooManyDescriptors):
		return &problem{http.StatusBadRequest, "MANIFEST_INVALID",
			"a manifest may have " + strconv.Itoa(maxDescriptors) + " layers or manifests at most"}
	case err != nil:
		return &problem{http.StatusBadRequest, "MANIFEST_INVALID", "the manifest is not a JSON object of the form that the image specification gives it"}
	case string(m.SchemaVersion) != "2":
		return &problem{http.StatusBadRequest, "MANIFEST_INVALID", "the manifest's schemaVersion is not 2"}
	}
	return nil
}

// descriptors counts the elements of a list.
type descriptors int

var errTooManyDescriptors = errors.New("too many descriptors")

// UnmarshalJSON stops at the first element that is too many.
func (n *descriptors) UnmarshalJSON(list []byte) error {
	*n = 0
	d := json.NewDecoder(bytes.NewReader(list))
	if open, err := d.Token(); err != nil || open != json.Delim('[') {
		return err // null, or something that distribution refuses
	}
	for d.More() {
		var element json.RawMessage
		if err := d.Decode(&element); err != nil {
			return err
		}
		if *n++; *n > maxDescriptors {
			return errTooManyDescriptors
		}
	}
	return nil
}

// mediaTypeIn is what a manifest says it is, for clients that send none.
func mediaTypeIn(body []byte) string {
	var m struct {
		MediaType string `json:"mediaType"`
	}
	_ = json.Unmarshal(body, &m)
	return m.MediaType
}

// deleteManifest deletes a tag, or a manifest with the tags that point to it
// and, if it is an index, every manifest below it that nothing else holds.
//
// distribution's own deletion looks the tags up before it removes them, so that
// one which moves in between is lost, and answers 202 also if it failed.
func (g *Registry) deleteManifest(w http.ResponseWriter, r *http.Request, a *asked) {
	err := g.remove(r.Context(), a.name, func(ctx context.Context, change Change) (storage.Change, error) {
		if a.tag != "" {
			return change.Untagging(ctx, a.tag)
		}
		return change.Deletion(ctx, a.digest)
	})
	switch {
	case errors.Is(err, storage.ErrNotFound):
		g.fail(w, r, unknownManifest)
		return
	case err != nil:
		g.unavailable(w, r, err)
		return
	}
	e := g.event(r, a, "delete")
	e.Status = http.StatusAccepted
	g.record(r, e)
	w.WriteHeader(http.StatusAccepted)
}

// remove does a deletion that is planned once the repository is taken. It
// returns storage.ErrNotFound if there is nothing to delete.
func (g *Registry) remove(ctx context.Context, repository string, plan func(context.Context, Change) (storage.Change, error)) error {
	change, err := g.begin(ctx, repository)
	if err != nil {
		return err
	}
	defer change.Close()
	planned, err := plan(ctx, change)
	if err != nil {
		return err
	}
	if err := change.Intend(ctx, planned); err != nil {
		return err
	}
	// From here on it is done to the end, whether the client waits or not.
	ctx = context.WithoutCancel(ctx)
	if err := change.Hide(ctx); err != nil {
		return err
	}
	if err := g.store.Complete(ctx, planned); err != nil {
		return err
	}
	return change.Commit(ctx)
}
