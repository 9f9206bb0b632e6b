package registry

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/registry/budget"
	"github.com/berth-oci/berth/storage"
	"github.com/berth-oci/berth/storage/reference"
)

var unknownManifest = &problem{http.StatusNotFound, "MANIFEST_UNKNOWN", "the repository has no such manifest"}

// putManifest takes a manifest ("Pushing Manifests"). The body is read before
// the repository is taken, so that a slow client holds up nobody. distribution
// gets it under its canonical digest; what other digest and which tags the
// client named is done beside it, in the same change.
func (r *Registry) putManifest(w http.ResponseWriter, req *http.Request, a *request) {
	if err := r.quotas.pushable(req.Context(), reference.Namespace(a.name), false); err != nil {
		w.Header().Set("Connection", "close") // the body is not read
		r.recordRefusal(req, a, r.failWith(w, req, err), err)
		return
	}
	held := r.memory.Hold()
	defer held.Release()
	body, p := readManifest(w, req, held)
	var document image.Document
	if p == nil {
		var free func()
		document, free, p = r.parseManifest(req, body)
		defer free()
	}
	var tags []string
	if p == nil {
		tags, p = checkNames(req, a, body)
	}
	if p != nil {
		r.fail(w, req, p)
		return
	}
	tx, err := r.begin(req.Context(), a.name)
	if err != nil {
		r.failWith(w, req, err)
		return
	}
	in := &push{tx: tx, tags: tags, document: document, released: func(namespace, key string) {
		// Memory of this process cannot fail to be freed; another index ends the
		// reservation by itself.
		_ = r.quotas.released(req.Context(), namespace, key)
	}}
	defer in.end()
	if err := precondition(req, a, tx); err != nil {
		r.failWith(w, req, err)
		return
	}
	target := route{kind: kindManifest, name: a.name, digest: digest.Canonical.FromBytes(body)}
	named := target.digest
	if a.digest != "" && a.digest != target.digest {
		named, in.as = a.digest, a.digest
	}
	rec := &record{push: in}
	out := rebuild(req.WithContext(withRecord(req.Context(), rec)), target)
	out.Body = io.NopCloser(bytes.NewReader(body))
	out.ContentLength = int64(len(body))
	out.Header.Set("Content-Length", strconv.Itoa(len(body)))
	if contentType := req.Header.Get("Content-Type"); contentType == "" || isForm(contentType) {
		out.Header.Set("Content-Type", document.Stated)
	}
	filtered := r.filter(w, a)
	filtered.created = func(h http.Header) {
		h.Set("Location", strings.Replace(h.Get("Location"), target.digest.String(), named.String(), 1))
		tellPushed(h, a, named, in)
	}
	r.app.ServeHTTP(filtered, out)
	e := r.event(req, a, "push")
	e.Tag = strings.Join(tags, ",")
	if e.Status = r.finish(filtered, out); e.Status < 400 {
		r.names.stored(a.name)
		e.Digest = named.String()
	}
	if e.Status == http.StatusForbidden {
		e.Action, e.Detail = "refused", why(rec.err)
	}
	r.record(req, e)
}

// tellPushed says in the headers of an answer what has become of a push.
func tellPushed(h http.Header, a *request, named digest.Digest, in *push) {
	h.Set("Docker-Content-Digest", named.String())
	for _, tag := range in.tags {
		if a.tag == "" {
			h.Add("OCI-Tag", tag)
		}
	}
	if in.document.Subject != "" { // ("Pushing Manifests with Subject")
		h.Set("OCI-Subject", in.document.Subject.String())
	}
}

// checkNames checks the digest under which a manifest is pushed, and returns the tags
// that the push sets.
func checkNames(r *http.Request, a *request, body []byte) (tags []string, p *problem) {
	if tags, p = tagsFor(r, a); p != nil {
		return nil, p
	}
	if a.digest != "" && a.digest.Algorithm().FromBytes(body) != a.digest {
		return nil, &problem{http.StatusBadRequest, "DIGEST_INVALID", "the manifest does not have the digest under which it is pushed"}
	}
	return tags, nil
}

// readManifest reads a body that may be a manifest.
func readManifest(w http.ResponseWriter, r *http.Request, held *budget.Hold) ([]byte, *problem) {
	if r.ContentLength > storage.MaxManifestBytes {
		w.Header().Set("Connection", "close")
		return nil, tooLarge
	}
	body, err := held.ReadAll(r.Context(), http.MaxBytesReader(w, r.Body, storage.MaxManifestBytes), r.ContentLength)
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, tooLarge
	case errors.Is(err, budget.ErrFull):
		w.Header().Set("Connection", "close") // what is still to come is not read
		return nil, noRoom(err)
	case err != nil:
		return nil, &problem{http.StatusBadRequest, "MANIFEST_INVALID", "the manifest ended before it was complete"}
	}
	return body, nil
}

// maxTagParameters bounds how many tags one push may set.
const maxTagParameters = 100

// tagsFor are the tags that a push sets: the one in the path, or, where it has
// a digest, those of the parameter tag.
func tagsFor(r *http.Request, a *request) ([]string, *problem) {
	if a.tag != "" {
		return []string{a.tag}, nil
	}
	given, _ := url.ParseQuery(r.URL.RawQuery)
	tags := slices.Compact(slices.Sorted(slices.Values(given["tag"])))
	if len(tags) > maxTagParameters {
		return nil, &problem{http.StatusBadRequest, "TAG_INVALID", "a push may set " + strconv.Itoa(maxTagParameters) + " tags at most"}
	}
	for _, tag := range tags {
		if !reference.IsTag(tag) {
			return nil, &problem{http.StatusBadRequest, "TAG_INVALID", wrongTag}
		}
	}
	return tags, nil
}

// precondition checks If-Match and If-None-Match of a push by tag, which clients
// use to change a tag only if it is what they think it is (RFC 9110, 13.1).
func precondition(r *http.Request, a *request, tx Tx) error {
	match, none := r.Header.Get("If-Match"), r.Header.Get("If-None-Match")
	if a.tag == "" || match == "" && none == "" {
		return nil
	}
	current, err := tx.Resolve(r.Context(), a.tag)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	if match != "" && !hasETag(match, current) || none != "" && hasETag(none, current) {
		return &problem{http.StatusPreconditionFailed, "PRECONDITION_FAILED", "the tag is not what the push wants it to be"}
	}
	return nil
}

// hasETag reports whether a list of entity tags has that of a digest; * stands for
// any, and no digest has none.
func hasETag(list string, d digest.Digest) bool {
	if d == "" {
		return false
	}
	for tag := range strings.SplitSeq(list, ",") {
		tag = strings.Trim(strings.TrimPrefix(strings.TrimSpace(tag), "W/"), `"`)
		if tag == "*" || tag == d.String() {
			return true
		}
	}
	return false
}

var tooLarge = &problem{http.StatusRequestEntityTooLarge, "SIZE_INVALID",
	"a manifest may have " + strconv.Itoa(storage.MaxManifestBytes) + " bytes at most"}

const (
	// smallManifest is how many bytes a manifest may have that is parsed without
	// asking whether there is room for what becomes of it.
	smallManifest = 64 << 10
	// parsedFactor is how many times its bytes a manifest roughly takes while it
	// is stored and described.
	parsedFactor = 8
)

// parseManifest reads the body of a push, once for all who need it. free is
// called once the push has ended; it is never nil.
func (r *Registry) parseManifest(req *http.Request, body []byte) (document image.Document, free func(), p *problem) {
	free = func() {}
	if len(body) > smallManifest {
		taken, err := r.memory.Work(req.Context(), int64(parsedFactor*len(body)))
		if err != nil {
			return document, free, noRoom(err)
		}
		free = taken
	}
	document, err := image.Parse(body)
	if err == nil {
		return document, free, nil
	}
	p = &problem{http.StatusBadRequest, "MANIFEST_INVALID", "the manifest cannot be read"}
	var refused *storage.Error
	if errors.As(err, &refused) {
		p.message = refused.Message
	}
	return document, free, p
}

// deleteManifest deletes a tag, or a manifest with the tags that point to it
// and, if it is an index, every manifest below it that nothing else holds
// ("Deleting Manifests").
//
// distribution's own deletion looks the tags up before it removes them, so that
// one which moves in between is lost, and answers 202 also if it failed.
func (r *Registry) deleteManifest(w http.ResponseWriter, req *http.Request, a *request) {
	var err error
	if a.tag != "" {
		err = r.catalog.Untag(req.Context(), a.name, a.tag)
	} else {
		err = r.catalog.Delete(req.Context(), a.name, a.digest)
	}
	switch {
	case errors.Is(err, storage.ErrNotFound):
		r.fail(w, req, unknownManifest)
		return
	case err != nil:
		r.failWith(w, req, err)
		return
	}
	e := r.event(req, a, "delete")
	e.Status = http.StatusAccepted
	r.record(req, e)
	w.WriteHeader(http.StatusAccepted)
}
