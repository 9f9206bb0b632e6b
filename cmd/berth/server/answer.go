package server

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// codes are the codes of the distribution specification ("Error Codes") for
// what this package answers by itself.
var codes = map[int]string{
	http.StatusRequestTimeout:      "SIZE_INVALID",
	http.StatusTooManyRequests:     "TOOMANYREQUESTS",
	http.StatusInternalServerError: "UNKNOWN",
	http.StatusServiceUnavailable:  "UNAVAILABLE",
}

// answer answers with an error in the form of the API that was asked, before
// anything else was written. What a handler has said of its own answer is
// dropped.
func answer(w http.ResponseWriter, r *http.Request, status int, message string) {
	h := w.Header()
	for _, name := range []string{"Content-Length", "Content-Encoding", "Content-Range", "Etag", "Last-Modified", "Location", "Docker-Content-Digest"} {
		h.Del(name)
	}
	if !isAPI(r.URL.Path) {
		writeText(w, r, status, message)
		return
	}
	if id := RequestID(r.Context()); id != "" {
		message += " (request " + id + ")"
	}
	type entry struct {
		Code    string `json:"code,omitempty"`
		Message string `json:"message,omitempty"`
		Status  int    `json:"status,omitempty"`
	}
	body := struct {
		Status  string  `json:"status,omitempty"`
		Message string  `json:"message,omitempty"`
		Errors  []entry `json:"errors"`
	}{Errors: []entry{{Code: codes[status], Message: message}}}
	if isImages(r.URL.Path) {
		body.Status, body.Message, body.Errors = "error", message, []entry{{Status: status}}
	}
	text, _ := json.Marshal(body) // strings and numbers
	text = append(text, '\n')
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(text) // the client is gone
	}
}

func isRegistry(path string) bool { return path == "/v2" || strings.HasPrefix(path, "/v2/") }

func isImages(path string) bool {
	return path == "/v1" || strings.HasPrefix(path, "/v1/") || path == "/images"
}

func isHarbor(path string) bool { return strings.HasPrefix(path, "/api/v2.0/") }

func isAPI(path string) bool {
	return isRegistry(path) || isImages(path) || isHarbor(path) || path == "/token"
}
