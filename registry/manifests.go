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

// putManifest takes a manifest. The body is read before the repository is
// taken, so that a slow client holds up nobody.
func (g *Registry) putManifest(w http.ResponseWriter, r *http.Request, found route) {
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
	change, err := g.begin(r.Context(), found.name)
	if err != nil {
		g.unavailable(w, r, err)
		return
	}
	defer change.Close()

	out := rebuild(r.WithContext(context.WithValue(r.Context(), changeKey{}, change)), found)
	out.Body = io.NopCloser(bytes.NewReader(body))
	out.ContentLength = int64(len(body))
	out.Header.Set("Content-Length", strconv.Itoa(len(body)))
	if contentType := r.Header.Get("Content-Type"); contentType == "" || isForm(contentType) {
		out.Header.Set("Content-Type", mediaTypeIn(body))
	}
	g.forward(w, out)
}

var tooLarge = &problem{http.StatusRequestEntityTooLarge, "SIZE_INVALID",
	"a manifest may have " + strconv.Itoa(storage.MaxManifestBytes) + " bytes at most"}

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
func (g *Registry) deleteManifest(w http.ResponseWriter, r *http.Request, found route) {
	ctx := r.Context()
	change, err := g.begin(ctx, found.name)
	if err != nil {
		g.unavailable(w, r, err)
		return
	}
	defer change.Close()

	var plan storage.Change
	if found.tag != "" {
		plan, err = change.Untagging(ctx, found.tag)
	} else {
		plan, err = change.Deletion(ctx, found.digest)
	}
	if errors.Is(err, storage.ErrNotFound) {
		g.fail(w, r, &problem{http.StatusNotFound, "MANIFEST_UNKNOWN", "the repository has no such manifest"})
		return
	}
	if err == nil {
		err = change.Intend(ctx, plan)
	}
	if err == nil {
		// From here on it is done to the end, whether the client waits or not.
		ctx = context.WithoutCancel(ctx)
		err = g.store.Complete(ctx, plan)
	}
	if err == nil {
		err = change.Commit(ctx)
	}
	if err != nil {
		g.unavailable(w, r, err)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}
