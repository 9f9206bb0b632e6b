package registry

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"github.com/berth-oci/berth/registry/budget"
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
	held := r.memory.Hold()
	defer held.Release()
	// One more than is asked for tells whether there is a next page.
	tags, err := readNames(req, held, n+1, func(after string, n int) ([]string, error) {
		return r.catalog.TagNames(req.Context(), a.name, after, n)
	})
	if errors.Is(err, storage.ErrNotFound) {
		r.fail(w, req, unknownRepository)
		return
	}
	if err != nil {
		r.failWith(w, req, err)
		return
	}
	tags = page(w, r.prefix+route{kind: kindTags, name: a.clientName}.path(), tags, n)
	writeNames(w, req, `{"name":"`+a.clientName+`","tags":[`, tags)
}

func (r *Registry) listRepositories(w http.ResponseWriter, req *http.Request, a *request) {
	n, p := pageSize(req, defaultPerCatalog, maxRepositories)
	if p != nil {
		r.fail(w, req, p)
		return
	}
	held := r.memory.Hold()
	defer held.Release()
	within := a.caller.Readable()
	names, err := readNames(req, held, n+1, func(after string, n int) ([]string, error) {
		return r.catalog.Repositories(req.Context(), within, after, n)
	})
	if err != nil {
		r.failWith(w, req, err)
		return
	}
	names = page(w, r.prefix+a.path(), names, n)
	writeNames(w, req, `{"repositories":[`, names)
}

const (
	// namesAtOnce is how many names are read at a time.
	namesAtOnce = 500
	// stringBytes is what a string takes beside its bytes.
	stringBytes = 16
	// listBuffer is how many bytes of a list are written at a time.
	listBuffer = 16 << 10
)

// readNames reads n names, or as many as there are, after those that the client
// has. They have room in memory until the client has taken them: a list may be a
// megabyte, and a client slow. Who waits for room has no more than a few of them.
func readNames(req *http.Request, held *budget.Hold, n int, read func(after string, n int) ([]string, error)) (all []string, err error) {
	after := req.URL.Query().Get("last")
	for len(all) < n {
		want := min(n-len(all), namesAtOnce)
		some, err := read(after, want)
		if errors.Is(err, storage.ErrNotFound) && len(all) > 0 {
			return all, nil // it was deleted meanwhile
		}
		if err != nil {
			return nil, err
		}
		bytes := len(some) * stringBytes
		for _, name := range some {
			bytes += len(name)
		}
		if err := held.Grow(req.Context(), int64(bytes)); err != nil {
			return nil, err
		}
		if all = append(all, some...); len(some) < want {
			break
		}
		after = some[len(some)-1]
	}
	return all, nil
}

// writeNames answers with the beginning of a JSON object and names, which are its
// last value. Neither tags nor repositories have characters that JSON escapes.
func writeNames(w http.ResponseWriter, req *http.Request, head string, names []string) {
	writeList(w, req, "application/json", head, `"`, names)
}

// writeList answers with the beginning of a JSON object and a list, which is its last
// value, without putting it together first. Each of the list has the quote before
// and after it.
func writeList(w http.ResponseWriter, req *http.Request, mediaType, head, quote string, list []string) {
	const tail = "]}\n"
	size := len(head) + len(tail) + max(len(list)-1, 0) + 2*len(quote)*len(list)
	for _, one := range list {
		size += len(one)
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(size))
	w.WriteHeader(http.StatusOK)
	if req.Method == http.MethodHead {
		return
	}
	out := bufio.NewWriterSize(w, min(size, listBuffer)) // it keeps the first error: the client is gone
	_, _ = out.WriteString(head)
	for i, one := range list {
		if i > 0 {
			_ = out.WriteByte(',')
		}
		_, _ = out.WriteString(quote)
		_, _ = out.WriteString(one)
		_, _ = out.WriteString(quote)
	}
	_, _ = out.WriteString(tail)
	_ = out.Flush()
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
		return names
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
