package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/registry/budget"
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

// tooMany is one that may pass: the client is told after how many seconds to try
// again.
type tooMany struct {
	problem
	retryAfter string
}

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

// Answers where there was no room in memory in time: for anybody, or for the
// account that asks.
var (
	busy = &problem{http.StatusServiceUnavailable, "UNAVAILABLE",
		"the registry holds as much in memory as it may; try again in a few seconds"}
	busyForYou = &problem{http.StatusTooManyRequests, "TOOMANYREQUESTS",
		"the requests of your account hold as much in memory as they may; try again once one of them has ended"}
)

// noRoom is the answer to a [budget.ErrFull].
func noRoom(err error) *problem {
	if errors.Is(err, budget.ErrAccountFull) {
		return busyForYou
	}
	return busy
}

func (r *Registry) fail(w http.ResponseWriter, req *http.Request, p *problem) {
	switch p {
	case busy:
		w.Header().Set("Retry-After", budget.RetryAfter(budget.ErrFull))
	case busyForYou:
		w.Header().Set("Retry-After", budget.RetryAfter(budget.ErrAccountFull))
	}
	r.write(w, req, p.status, p.body())
}

func (p *problem) body() errorBody {
	return errorBody{[]errorEntry{{Code: p.code, Message: p.message}}}
}

// failWith answers with whatever error came up, and returns the status.
func (r *Registry) failWith(w http.ResponseWriter, req *http.Request, err error) int {
	if errors.Is(err, budget.ErrFull) {
		p := noRoom(err)
		r.fail(w, req, p)
		return p.status
	}
	if passing := (*tooMany)(nil); errors.As(err, &passing) {
		w.Header().Set("Retry-After", passing.retryAfter)
	}
	status, body := answerTo(err)
	if status >= http.StatusInternalServerError {
		r.log.ErrorContext(req.Context(), "request failed", "error", err)
	}
	r.write(w, req, status, body)
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
	storage.TooMany:  {http.StatusTooManyRequests, "TOOMANYREQUESTS", "there are too many at the moment; try again"},
	// Clients know this code, show the message, and do not try again.
	storage.Immutable: {http.StatusPreconditionFailed, "TAG_INVALID", "the tag is immutable and points to something else"},
}

// answerTo is the one place where an error becomes an answer.
func answerTo(err error) (status int, body errorBody) {
	var one *problem
	var passing *tooMany
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
	case errors.As(err, &passing):
		return passing.status, passing.body()
	}
	p := coded[storage.CodeOf(err)]
	if errors.As(err, &known) && known.Message != "" {
		p.message = known.Message
	}
	return p.status, p.body()
}

// write answers with errors, each message ending in the request's ID.
func (r *Registry) write(w http.ResponseWriter, req *http.Request, status int, body errorBody) {
	recordOf(req.Context()).status = status
	if id := r.requestID(req.Context()); id != "" {
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
	if req.Method != http.MethodHead {
		_, _ = w.Write(buf.Bytes())
	}
}

// maxErrorBody bounds how much of an error is kept to be looked at.
const maxErrorBody = 4 << 20

// maxErrors bounds how many errors one answer holds: a manifest may name ten
// thousand layers that are all missing.
const maxErrors = 100

// responseFilter passes distribution's answers through, but for errors: it holds them
// back, so that what the client gets is always the specification's JSON, also
// where distribution's router answers with plain text, and never shows the
// inside of the server.
type responseFilter struct {
	http.ResponseWriter
	failed int // the status of an error, 0 until there is one
	wrote  bool
	body   bytes.Buffer
	status int // what was answered
	// long and clientName are the repository's name as distribution has it and
	// as the client wrote it. The client only ever sees its own.
	long, clientName string
	// prefix is what clients have in front of /v2.
	prefix string
	// created, if it is set, corrects the headers of an answer 201.
	created func(http.Header)
	// accepted does so for 202, or returns false if what was accepted is not
	// there, as the request's record says.
	accepted func(http.Header) bool
	// unread, if it is set, is told of an error between what is served and the
	// client.
	unread func(error)
}

func (r *responseFilter) WriteHeader(status int) {
	if r.wrote || r.failed != 0 {
		return
	}
	if status == http.StatusAccepted && r.accepted != nil && !r.accepted(r.Header()) {
		status = http.StatusInternalServerError // until finish has seen the record
	}
	if status < 400 {
		r.wrote, r.status = true, status
		if status == http.StatusCreated && r.created != nil {
			r.created(r.Header())
		}
		if location := r.Header().Get("Location"); location != "" {
			r.Header().Set("Location", strings.Replace(location, "/v2/"+r.long+"/", r.prefix+"/v2/"+r.clientName+"/", 1))
		}
		r.ResponseWriter.WriteHeader(status)
		return
	}
	r.failed = status
}

func (r *responseFilter) Write(p []byte) (int, error) {
	if r.failed == 0 {
		if !r.wrote {
			r.WriteHeader(http.StatusOK)
		}
		return r.ResponseWriter.Write(p)
	}
	if r.body.Len()+len(p) <= maxErrorBody {
		r.body.Write(p)
	}
	return len(p), nil
}

func (r *Registry) filter(w http.ResponseWriter, a *request) *responseFilter {
	w.Header().Del("Docker-Distribution-API-Version") // distribution adds its own
	return &responseFilter{ResponseWriter: w, long: a.name, clientName: a.clientName, prefix: r.prefix}
}

// ReadFrom implements io.ReaderFrom, so that a file reaches the connection
// without a copy.
func (r *responseFilter) ReadFrom(from io.Reader) (int64, error) {
	if !r.wrote && r.failed == 0 {
		r.WriteHeader(http.StatusOK)
	}
	if r.failed != 0 {
		return io.Copy(&r.body, io.LimitReader(from, maxErrorBody))
	}
	n, err := io.Copy(r.ResponseWriter, from)
	if err != nil && r.unread != nil {
		r.unread(err)
	}
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (r *responseFilter) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// finish answers with the error that was held back, if there is one, and
// returns the status of the answer.
func (r *Registry) finish(w *responseFilter, req *http.Request) int {
	if w.failed == 0 {
		if !w.wrote {
			return http.StatusOK // net/http answers so
		}
		return w.status
	}
	if err := recordOf(req.Context()).err; err != nil {
		return r.failWith(w.ResponseWriter, req, err)
	}
	var body errorBody
	if json.Unmarshal(w.body.Bytes(), &body) != nil || len(body.Errors) == 0 {
		body = errorBody{[]errorEntry{{Code: codeOf(w.failed), Message: strings.ToLower(http.StatusText(w.failed))}}}
	}
	body.Errors = body.Errors[:min(len(body.Errors), maxErrors)]
	if w.failed >= 500 {
		for i, e := range body.Errors {
			// The detail is a raw Go error; it is in the log.
			r.log.ErrorContext(req.Context(), "registry error", "code", e.Code, "message", e.Message, "detail", string(e.Detail))
			body.Errors[i].Detail = nil
			if e.Code == "UNKNOWN" {
				body.Errors[i].Message = "the registry could not do this; its log says why"
			}
		}
	}
	if w.long != w.clientName {
		for i, e := range body.Errors {
			body.Errors[i].Detail = bytes.ReplaceAll(e.Detail, []byte(strconv.Quote(w.long)), []byte(strconv.Quote(w.clientName)))
		}
	}
	r.write(w.ResponseWriter, req, w.failed, body)
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
