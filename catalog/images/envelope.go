package images

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/registry/budget"
)

// codeNotFound is the platform's error code of an entry for something that
// does not exist.
const codeNotFound = 8

// failure is an answer other than success: its message names what was wrong
// and what would be right.
type failure struct {
	status  int
	message string
}

func (f *failure) Error() string { return f.message }

// malformed is the answer to a value that is not what its field wants.
func malformed(format string, args ...any) *failure {
	return &failure{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// shown quotes a client's value for a message, cut where it is long.
func shown(value string) string {
	const most = 120
	if len(value) <= most {
		return strconv.Quote(value)
	}
	end := most
	for end > most-utf8.UTFMax && !utf8.RuneStart(value[end]) {
		end--
	}
	return strconv.Quote(value[:end]) + "…"
}

// fail answers with an error, before anything else was written. Whatever is
// not a *failure is none of the client's business: it goes to the log.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	ctx := r.Context()
	var f *failure
	if errors.Is(err, budget.ErrFull) {
		w.Header().Set("Retry-After", budget.RetryAfter(err))
		f = &failure{http.StatusServiceUnavailable, "as much is held in memory as may be; try again in a few seconds"}
		if errors.Is(err, budget.ErrAccountFull) {
			f = &failure{http.StatusTooManyRequests, "the requests of your account hold as much in memory as they may; try again once one of them has ended"}
		}
	} else if !errors.As(err, &f) {
		if ctx.Err() != nil {
			// The client has gone; there is no one to tell.
			panic(http.ErrAbortHandler)
		}
		h.opts.Log.ErrorContext(ctx, "images API: cannot answer", "error", err, "request_id", h.opts.RequestID(ctx))
		f = &failure{http.StatusInternalServerError, "the list of images cannot be read now; try again later"}
	}
	type status struct {
		Status int `json:"status"`
	}
	body, err := encode(struct {
		Status  string   `json:"status"`
		Message string   `json:"message"`
		Errors  []status `json:"errors"`
	}{"error", h.message(r, f.message), []status{{f.status}}})
	if err != nil {
		panic(err) // strings and numbers only
	}
	writeHeader(w, f.status)
	_, _ = w.Write(append(body, '\n'))
}

// message adds the request's ID, by which the log tells more.
func (h *handler) message(r *http.Request, text string) string {
	if id := h.opts.RequestID(r.Context()); id != "" {
		return text + " (request " + id + ")"
	}
	return text
}

func writeHeader(w http.ResponseWriter, status int) {
	header := w.Header()
	header.Set("Content-Type", "application/json")
	// The very next list must show the last push, whatever lies in between.
	header.Set("Cache-Control", "no-store")
	// Values that anyone may have pushed are in here as they are.
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
}

// encode returns a value's JSON, with nothing escaped that JSON does not ask to.
func encode(value any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(value)
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), err
}

// outcome is what an answer says before its entries.
type outcome struct {
	code    int
	status  string
	message string
}

var success = outcome{http.StatusOK, "success", ""}

// open begins an envelope with images in it, up to the first of them.
func (o outcome) open() []byte {
	var buf bytes.Buffer
	buf.WriteString(`{"status":"` + o.status + `",`)
	if o.message != "" {
		text, err := encode(o.message)
		if err != nil {
			panic(err) // a string
		}
		buf.WriteString(`"message":`)
		buf.Write(text)
		buf.WriteByte(',')
	}
	if o.code >= http.StatusBadRequest {
		buf.WriteString(`"errors":[{"status":` + strconv.Itoa(o.code) + `}],`)
	}
	buf.WriteString(`"data":{"images":[`)
	return buf.Bytes()
}

// closing ends the envelope that open began.
func closing(start time.Time) []byte {
	return []byte(`]},"op_time_us":` + strconv.FormatInt(time.Since(start).Microseconds(), 10) + "}\n")
}

// writeData answers with what is small and no list of images.
func writeData(w http.ResponseWriter, r *http.Request, name string, list any, start time.Time) {
	body, err := encode(struct {
		Status string         `json:"status"`
		Data   map[string]any `json:"data"`
		Took   int64          `json:"op_time_us"`
	}{success.status, map[string]any{name: list}, time.Since(start).Microseconds()})
	if err != nil {
		panic(err) // strings and numbers only
	}
	writeHeader(w, success.code)
	if r.Method != http.MethodHead {
		_, _ = w.Write(append(body, '\n'))
	}
}

// entries gathers the elements of an array, with commas in between.
type entries struct {
	buf *bytes.Buffer
	any bool
}

// next begins an element.
func (e *entries) next() {
	if e.any {
		e.buf.WriteByte(',')
	}
	e.any = true
}

func (e *entries) add(value any) {
	data, err := encode(value)
	if err != nil {
		panic(err) // strings and numbers only
	}
	e.next()
	e.buf.Write(data)
}

// usualImage is the size in bytes that an image has room for before it is encoded.
const usualImage = 1 << 10

func (e *entries) image(c *call, i *index.Entry) {
	e.next()
	e.buf.Grow(usualImage)
	e.buf.Write(c.render(c, e.buf.AvailableBuffer(), i))
}

// absent is the entry for something that was asked for and does not exist.
type absent struct {
	Status  string `json:"status"`
	Message string `json:"message"`
	Error   int    `json:"error"`
	Digest  string `json:"digest,omitempty"`
	Tag     string `json:"tag,omitempty"`
	UUID    string `json:"uuid,omitempty"`
}

func (i item) absent() absent {
	return absent{"error", i.missing(), codeNotFound, i.digest, i.tag, i.uuid}
}

// missing says that nothing is what the item asks for.
func (i item) missing() string {
	switch {
	case i.uuid != "" && i.named():
		return "there is no image with the uuid " + shown(i.uuid) + " that also is what else was asked for"
	case i.uuid != "":
		return "there is no image with the uuid " + shown(i.uuid)
	case i.digest != "" && i.tag != "":
		return "there is no image with the digest " + shown(i.digest) + " and the tag " + shown(i.tag)
	case i.digest != "":
		return "there is no image with the digest " + shown(i.digest)
	default:
		return "there is no image with the tag " + shown(i.tag)
	}
}
