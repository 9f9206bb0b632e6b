package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"regexp"
	"strconv"

	"github.com/berth-oci/berth/registry/access"
	"github.com/berth-oci/berth/storage"
	"github.com/berth-oci/berth/storage/reference"
)

// upload passes on a step of a blob's upload: its start, a chunk, its end.
func (r *Registry) upload(w http.ResponseWriter, req *http.Request, a *request) {
	rec := &record{}
	ctx, noted := storage.NoteUploads(withRecord(storage.Uploading(req.Context()), rec))
	req = req.WithContext(ctx)
	out := rebuild(req, a.route)
	// A mount that is refused is a plain upload, also if a digest is given.
	whole := a.kind == kindUploads && out.URL.Query().Has("digest") && !out.URL.Query().Has("mount")
	if a.kind == kindUploads {
		if err := r.mount(out, a.caller); err != nil {
			r.failWith(w, req, err)
			return
		}
	}
	if p := checkContentRange(out); p != nil {
		r.fail(w, req, p)
		return
	}
	if a.kind == kindUpload && req.Method != http.MethodGet && req.Method != http.MethodHead {
		release, free := r.takeUpload(a.route)
		if !free {
			w.Header().Set("Connection", "close") // the body is not read
			r.tellRange(w, out, a)
			r.fail(w, req, &problem{http.StatusRequestedRangeNotSatisfiable, "RANGE_INVALID", "another request is writing to this upload"})
			return
		}
		defer release()
	}
	defer r.tidy(req, a, noted)
	if req.Method == http.MethodDelete {
		r.cancelUpload(w, req, a)
		return
	}
	if err := r.mayUpload(out, a); err != nil {
		w.Header().Set("Connection", "close") // the body is not read
		if storage.CodeOf(err) == storage.Quota && a.kind == kindUpload {
			r.discard(req.Context(), a.name, a.upload)
		}
		r.recordRefusal(req, a, r.failWith(w, req, err), err)
		return
	}
	if !r.hasRoom(w, req, a) {
		return
	}
	single := ""
	if whole {
		if out, single = r.singlePost(w, out, a); out == nil {
			return
		}
	}
	if status := r.passUpload(w, out, a, rec); single != "" && status != http.StatusCreated {
		rec.discard = single // nobody knows of it who could go on with it
	}
	if rec.discard != "" {
		r.discard(req.Context(), a.name, rec.discard)
	}
}

// passUpload lets distribution do its part, completes what it answers, and
// returns the status.
func (r *Registry) passUpload(w http.ResponseWriter, out *http.Request, a *request, rec *record) int {
	body := &uploadBody{ReadCloser: out.Body}
	out.Body = body
	filtered := r.filter(w, a)
	filtered.accepted = func(h http.Header) bool {
		if rec.err != nil { // distribution does not look whether a chunk could be flushed
			for _, name := range []string{"Location", "Range", "Docker-Upload-UUID"} {
				h.Del(name)
			}
			return false
		}
		h.Set("OCI-Chunk-Min-Length", "1") // any chunk will do
		return true
	}
	r.app.ServeHTTP(filtered, out)
	if filtered.failed == http.StatusRequestedRangeNotSatisfiable {
		r.tellRange(w, out, a)
	}
	if body.failed != nil && rec.err == nil {
		rec.err = &problem{http.StatusBadRequest, "SIZE_INVALID", "the body ended before it was complete"}
	}
	status := r.finish(filtered, out)
	if status == http.StatusForbidden {
		r.recordRefusal(out, a, status, rec.err)
	}
	return status
}

// takeUpload takes an upload for one request, if it is free. distribution would
// let two write over each other, and then vouch for bytes that are not the ones
// that it counted. The one that comes second is told to ask how far the first
// has come.
func (r *Registry) takeUpload(upload route) (release func(), free bool) {
	key := upload.path()
	if _, taken := r.uploads.LoadOrStore(key, nil); taken {
		return nil, false
	}
	return func() { r.uploads.Delete(key) }, true
}

// uploadBody notes that a body could not be read to its end, which distribution
// takes for a fault of its own.
type uploadBody struct {
	io.ReadCloser
	failed error
}

func (u *uploadBody) Read(p []byte) (int, error) {
	n, err := u.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		u.failed = err
	}
	return n, err
}

// checkContentRange refuses a Content-Range that is none. Of a body without a
// length, distribution would not look at it at all, and put a chunk where it
// does not belong; so such a body gets the length that its range says.
func checkContentRange(out *http.Request) *problem {
	given := out.Header.Get("Content-Range")
	if given == "" {
		return nil
	}
	m := rangePattern.FindStringSubmatch(given)
	if m == nil {
		return &problem{http.StatusRequestedRangeNotSatisfiable, "RANGE_INVALID", "Content-Range is not valid: it wants the first and the last byte, like 0-1023"}
	}
	if out.Header.Get("Content-Length") == "" {
		length := out.ContentLength
		if length < 0 {
			first, _ := strconv.ParseInt(m[1], 10, 64) // 18 digits fit
			last, _ := strconv.ParseInt(m[2], 10, 64)
			length = last - first + 1
		}
		out.Header.Set("Content-Length", strconv.FormatInt(length, 10))
	}
	return nil
}

// singlePost makes of a POST with a digest and a body ("Single POST") the upload
// that it stands for, which is finished by the request that it returns. It
// returns nil if the upload could not be started, and has answered then.
func (r *Registry) singlePost(w http.ResponseWriter, out *http.Request, a *request) (finish *http.Request, id string) {
	start := out.Clone(out.Context())
	start.Body, start.ContentLength = http.NoBody, 0
	start.Header.Del("Content-Length")
	start.URL.RawQuery = ""
	answer := httptest.NewRecorder()
	r.app.ServeHTTP(answer, start)
	location, err := url.Parse(answer.Header().Get("Location"))
	refused := recordOf(out.Context()).err
	if answer.Code != http.StatusAccepted || err != nil || refused != nil {
		r.failWith(w, out, cmp.Or(refused, fmt.Errorf("an upload could not be started: %d %s", answer.Code, answer.Body)))
		if answer.Code == http.StatusAccepted && err == nil {
			r.discard(out.Context(), a.name, path.Base(location.Path))
		}
		return nil, ""
	}
	query := location.Query()
	query.Set("digest", out.URL.Query().Get("digest"))
	finish = out.Clone(out.Context())
	finish.Method = http.MethodPut
	finish.URL = &url.URL{Path: location.Path, RawQuery: query.Encode()}
	finish.RequestURI = finish.URL.RequestURI()
	return finish, path.Base(location.Path)
}

// tellRange adds to a refused chunk how far the upload has come and where it
// goes on ("Pushing a blob in chunks"): distribution says neither.
func (r *Registry) tellRange(w http.ResponseWriter, out *http.Request, a *request) {
	status := out.Clone(withRecord(out.Context(), &record{}))
	status.Method, status.Body, status.ContentLength = http.MethodGet, http.NoBody, 0
	for _, name := range []string{"Content-Length", "Content-Range"} {
		status.Header.Del(name)
	}
	answer := r.filter(httptest.NewRecorder(), a)
	r.app.ServeHTTP(answer, status)
	for _, name := range []string{"Range", "Location", "Docker-Upload-UUID"} {
		if value := answer.Header().Get(name); value != "" {
			w.Header().Set(name, value)
		}
	}
}

// rangePattern is the Content-Range of a chunk ("Pushing a blob in chunks"): not
// that of RFC 9110, and of numbers that fit.
var rangePattern = regexp.MustCompile(`^([0-9]{1,18})-([0-9]{1,18})$`)

// discard removes what is left of an upload that was refused. It counts as long as
// it cannot be removed.
func (r *Registry) discard(ctx context.Context, repository, id string) {
	err := r.store.RemoveUpload(context.WithoutCancel(ctx), repository, id)
	if err == nil {
		err = r.quotas.ended(ctx, repository, id)
	}
	if err != nil {
		r.log.WarnContext(ctx, "a refused upload stays until storage lets it go", "error", err)
		r.leftovers.add(storage.Upload{Repository: repository, ID: id})
	}
}

// mount settles what a mount is from ("Mounting a blob from another
// repository"). A source that the caller may not read is none, and one that is
// not named is any that it may: without one, a plain upload begins, exactly as
// if the blob did not exist.
func (r *Registry) mount(out *http.Request, caller access.Caller) error {
	query := out.URL.Query()
	blob, err := reference.ParseDigest(query.Get("mount"))
	if err != nil {
		query.Del("mount")
		query.Del("from")
		out.URL.RawQuery = query.Encode()
		return nil
	}
	from := query.Get("from")
	switch {
	case from == "":
		from, err = r.catalog.MountSource(out.Context(), blob, caller.Readable())
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
	default:
		if from = r.names.long(from); !reference.IsName(from) || !caller.MayRead(from) {
			from = ""
		}
	}
	if from == "" {
		query.Del("mount")
		query.Del("from")
	} else {
		query.Set("from", from)
	}
	out.URL.RawQuery = query.Encode()
	return nil
}

// mayUpload returns an error if a step of an upload may not be taken, before its
// body is read: because of what else the namespace has, or because the body is
// declared larger than what there is room for.
func (r *Registry) mayUpload(out *http.Request, a *request) error {
	if out.Method == http.MethodGet || out.Method == http.MethodHead || out.Method == http.MethodDelete {
		return nil
	}
	if err := r.quotas.pushable(out.Context(), reference.Namespace(a.name), a.kind == kindUploads); err != nil {
		return err
	}
	declared := out.ContentLength
	if declared < 0 { // then a Content-Range may say it
		declared, _ = strconv.ParseInt(out.Header.Get("Content-Length"), 10, 64)
	}
	return r.quotas.fits(out.Context(), a.name, a.upload, declared)
}
