package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage"
)

// problem is an error in the form of the distribution specification ("Error
// Codes"): what a client is told.
type problem struct {
	status  int
	code    string
	message string
}

// Error implements error.
func (p *problem) Error() string { return p.code + ": " + p.message }

// problems are several that differ in their details only.
type problems struct {
	problem
	details []digest.Digest
}

type errorBody struct {
	Errors []errorEntry `json:"errors"`
}

type errorEntry struct {
	Code    string          `json:"code"`
	Message string          `json:"message"`
	Detail  json.RawMessage `json:"detail,omitempty"`
}

func (g *Registry) fail(w http.ResponseWriter, r *http.Request, p *problem) {
	g.write(w, r, p.status, p.body())
}

func (p *problem) body() errorBody {
	return errorBody{[]errorEntry{{Code: p.code, Message: p.message}}}
}

// failWith answers with whatever error came up, and returns the status.
func (g *Registry) failWith(w http.ResponseWriter, r *http.Request, err error) int {
	status, body := answerTo(err)
	if status >= http.StatusInternalServerError {
		g.log.ErrorContext(r.Context(), "request failed", "error", err)
	}
	g.write(w, r, status, body)
	return status
}

// coded says how each code of an error is answered.
var coded = map[storage.Code]problem{
	storage.Unavailable: {http.StatusServiceUnavailable, "UNAVAILABLE",
		"the registry could not complete this; it happens later as a whole, or not at all; try again"},
	storage.Full: {http.StatusInsufficientStorage, "UNAVAILABLE",
		"the registry's disk is full; it can be read, and written again once there is room"},
	storage.NotFound: {http.StatusNotFound, "NOT_FOUND", "there is no such thing"},
	storage.Conflict: {http.StatusConflict, "CONFLICT", "something else changed it meanwhile; try again"},
	storage.Invalid:  {http.StatusBadRequest, "MANIFEST_INVALID", "the request is not valid"},
	storage.Quota:    {http.StatusForbidden, "DENIED", "the storage quota would be exceeded"},
	storage.Damaged:  {http.StatusInternalServerError, "UNKNOWN", "what is stored under this name is damaged"},
	storage.TooLarge: {http.StatusRequestEntityTooLarge, "SIZE_INVALID", "it is larger than the registry takes"},
}

// answerTo is the one place where an error becomes an answer.
func answerTo(err error) (status int, body errorBody) {
	var one *problem
	var several *problems
	var known *storage.Error
	switch {
	case errors.As(err, &several):
		for _, d := range several.details {
			detail, _ := json.Marshal(d) // a string always encodes
			body.Errors = append(body.Errors, errorEntry{several.code, several.message, detail})
		}
		return several.status, body
	case errors.As(err, &one):
		return one.status, one.body()
	}
	p := coded[storage.CodeOf(err)]
	if errors.As(err, &known) && known.Message != "" {
		p.message = known.Message
	}
	return p.status, p.body()
}

// write answers with errors, each message ending in the request's ID.
func (g *Registry) write(w http.ResponseWriter, r *http.Request, status int, body errorBody) {
	if id := g.requestID(r.Context()); id != "" {
		for i := range body.Errors {
			body.Errors[i].Message += fmt.Sprintf(" (request %s)", id)
		}
	}
	var buf bytes.Buffer
	encoder := json.NewEncoder(&buf)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(body); err != nil {
		buf.Reset()
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(buf.Len()))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(buf.Bytes())
	}
}

// maxErrorBody bounds how much of an error is kept to be looked at.
const maxErrorBody = 4 << 20

// maxErrors bounds how many errors one answer holds: a manifest may name ten
// thousand layers that are all missing.
const maxErrors = 100

// guard passes distribution's answers through, but for errors: it holds them
// back, so that what the client gets is always the specification's JSON, also
// where distribution's router answers with plain text, and never shows the
// inside of the server.
type guard struct {
	http.ResponseWriter
	failed int // the status of an error, 0 until there is one
	wrote  bool
	body   bytes.Buffer
	status int // what was answered
	// long and given are the repository's name as distribution has it and as
	// the client wrote it. The client only ever sees its own.
	long, given string
	// prefix is what clients have in front of /v2.
	prefix string
	// created, if it is set, corrects the headers of an answer 201.
	created func(http.Header)
	// accepted does so for 202.
	accepted func(http.Header)
}

func (w *guard) WriteHeader(status int) {
	if w.wrote || w.failed != 0 {
		return
	}
	if status < 400 {
		w.wrote, w.status = true, status
		if status == http.StatusCreated && w.created != nil {
			w.created(w.Header())
		}
		if status == http.StatusAccepted && w.accepted != nil {
			w.accepted(w.Header())
		}
		if location := w.Header().Get("Location"); location != "" {
			w.Header().Set("Location", strings.Replace(location, "/v2/"+w.long+"/", w.prefix+"/v2/"+w.given+"/", 1))
		}
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.failed = status
}

func (w *guard) Write(p []byte) (int, error) {
	if w.failed == 0 {
		if !w.wrote {
			w.WriteHeader(http.StatusOK)
		}
		return w.ResponseWriter.Write(p)
	}
	if w.body.Len()+len(p) <= maxErrorBody {
		w.body.Write(p)
	}
	return len(p), nil
}

func (g *Registry) guard(w http.ResponseWriter, a *asked) *guard {
	return &guard{ResponseWriter: w, long: a.name, given: a.given, prefix: g.prefix}
}

// Unwrap lets http.ResponseController reach the connection.
func (w *guard) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// finish answers with the error that was held back, if there is one, and
// returns the status of the answer.
func (g *Registry) finish(w *guard, r *http.Request) int {
	if w.failed == 0 {
		if !w.wrote {
			return http.StatusOK // net/http answers so
		}
		return w.status
	}
	if err := recordOf(r.Context()).err; err != nil {
		return g.failWith(w.ResponseWriter, r, err)
	}
	var body errorBody
	if json.Unmarshal(w.body.Bytes(), &body) != nil || len(body.Errors) == 0 {
		body = errorBody{[]errorEntry{{Code: codeOf(w.failed), Message: strings.ToLower(http.StatusText(w.failed))}}}
	}
	body.Errors = body.Errors[:min(len(body.Errors), maxErrors)]
	if w.failed >= 500 {
		for i, e := range body.Errors {
			// The detail is a raw Go error; it is in the log.
			g.log.ErrorContext(r.Context(), "registry error", "code", e.Code, "message", e.Message, "detail", string(e.Detail))
			body.Errors[i].Detail = nil
			if e.Code == "UNKNOWN" {
				body.Errors[i].Message = "the registry could not do this; its log says why"
			}
		}
	}
	if w.long != w.given {
		for i, e := range body.Errors {
			body.Errors[i].Detail = bytes.ReplaceAll(e.Detail, []byte(strconv.Quote(w.long)), []byte(strconv.Quote(w.given)))
		}
	}
	g.write(w.ResponseWriter, r, w.failed, body)
	return w.failed
}

func codeOf(status int) string {
	switch status {
	case http.StatusMethodNotAllowed:
		return "UNSUPPORTED"
	case http.StatusNotFound:
		return "NOT_FOUND"
	case http.StatusRequestedRangeNotSatisfiable:
		return "RANGE_INVALID"
	case http.StatusPreconditionFailed:
		return "PRECONDITION_FAILED"
	default:
		return "UNKNOWN"
	}
}
