package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"github.com/berth-oci/berth/storage"
)

// Lists of tags and repositories come from the index: sorted, at a cost that
// follows the answer, and only of what the caller may read ("Listing Tags" in
// the distribution specification; the catalog is distribution's own).

const (
	// maxTags and maxRepositories are how many names one answer has at most;
	// the next page is linked.
	maxTags            = 10000
	maxRepositories    = 1000
	defaultPerCatalog  = 100
	paginationProblems = "PAGINATION_NUMBER_INVALID"
)

func (r *Registry) listTags(w http.ResponseWriter, req *http.Request, a *request) {
	n, p := pageSize(req, maxTags, maxTags)
	if p != nil {
		r.fail(w, req, p)
		return
	}
	// One more than is asked for tells whether there is a next page.
	tags, err := r.catalog.TagNames(req.Context(), a.name, req.URL.Query().Get("last"), n+1)
	if errors.Is(err, storage.ErrNotFound) {
		r.fail(w, req, unknownRepository)
		return
	}
	if err != nil {
		r.failWith(w, req, err)
		return
	}
	tags = page(w, r.prefix+route{kind: kindTags, name: a.clientName}.path(), tags, n)
	writeJSON(w, req, struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{a.clientName, tags})
}

func (r *Registry) listRepositories(w http.ResponseWriter, req *http.Request, a *request) {
	n, p := pageSize(req, defaultPerCatalog, maxRepositories)
	if p != nil {
		r.fail(w, req, p)
		return
	}
	names, err := r.catalog.Repositories(req.Context(), a.caller.Readable(), req.URL.Query().Get("last"), n+1)
	if err != nil {
		r.failWith(w, req, err)
		return
	}
	names = page(w, r.prefix+a.path(), names, n)
	writeJSON(w, req, struct {
		Repositories []string `json:"repositories"`
	}{names})
}

// pageSize reads n.
func pageSize(r *http.Request, byDefault, limit int) (int, *problem) {
	given := r.URL.Query().Get("n")
	if given == "" {
		return byDefault, nil
	}
	n, err := strconv.Atoi(given)
	if err != nil || n < 0 {
		return 0, &problem{http.StatusBadRequest, paginationProblems, "n is not valid: it wants a number of entries, 0 or more"}
	}
	return min(n, limit), nil
}

// page cuts a list to n entries and links to the next page, if there is one.
func page(w http.ResponseWriter, path string, names []string, n int) []string {
	if len(names) <= n {
		return append([]string{}, names...)
	}
	names = names[:n]
	if n > 0 {
		query := url.Values{"n": {strconv.Itoa(n)}, "last": {names[n-1]}}
		w.Header().Set("Link", "<"+path+"?"+query.Encode()+`>; rel="next"`)
	}
	return names
}

func writeJSON(w http.ResponseWriter, r *http.Request, value any) {
	var buf bytes.Buffer
	encoder := json.NewEncoder(&buf)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value) // names and numbers always encode
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(buf.Len()))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(buf.Bytes())
	}
}
