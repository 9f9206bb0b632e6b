package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/distribution/distribution/v3/registry/api/errcode"
)

// problem is an answer that says what went wrong, in the form of the
// distribution specification ("Error Codes").
type problem struct {
	status  int
	code    string
	message string
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
	g.write(w, r, p.status, errorBody{[]errorEntry{{Code: p.code, Message: p.message}}})
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
	if stopped := refusalOf(r.Context()); stopped.err != nil {
		return g.failWith(w.ResponseWriter, r, stopped.err)
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
	w.Header().Del("X-Content-Type-Options")
	g.write(w.ResponseWriter, r, w.failed, body)
	return w.failed
}

// failWith answers with an error that knows its code, as quotas make it.
func (g *Registry) failWith(w http.ResponseWriter, r *http.Request, err error) int {
	var several errcode.Errors
	if errors.As(err, &several) {
		return g.failWithAll(w, r, several)
	}
	var known errcode.Error
	if !errors.As(err, &known) {
		g.unavailable(w, r, err)
		return http.StatusServiceUnavailable
	}
	d := known.Code.Descriptor()
	g.fail(w, r, &problem{d.HTTPStatusCode, d.Value, known.Message})
	return d.HTTPStatusCode
}

// failWithAll answers with several errors of one kind.
func (g *Registry) failWithAll(w http.ResponseWriter, r *http.Request, several errcode.Errors) int {
	var body errorBody
	status := http.StatusBadRequest
	for _, err := range several {
		var known errcode.Error
		if !errors.As(err, &known) {
			continue
		}
		d := known.Code.Descriptor()
		detail, _ := json.Marshal(known.Detail)
		status = d.HTTPStatusCode
		body.Errors = append(body.Errors, errorEntry{Code: d.Value, Message: known.Message, Detail: detail})
	}
	g.write(w, r, status, body)
	return status
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
