package images

import (
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage/reference"
)

// form is how changes are answered.
type form int

const (
	formJSON   form = iota // one answer
	formEvents             // a stream of events, as browsers read it
	formLines              // a stream of a JSON object in each line
)

// mediaTypes are those of the forms.
var mediaTypes = [...]string{formJSON: "application/json", formEvents: "text/event-stream", formLines: "application/x-ndjson"}

// formOf chooses the form that a client wants most: of those with equal weight
// that which it names most exactly, and then the first.
func formOf(accept []string) (form, error) {
	if len(accept) == 0 {
		return formJSON, nil
	}
	best, weight, exact := form(-1), 0.0, -1
	for f, mediaType := range mediaTypes {
		q, how := accepts(accept, mediaType)
		if q > weight || q == weight && q > 0 && how > exact {
			best, weight, exact = form(f), q, how
		}
	}
	if best < 0 {
		return 0, &failure{http.StatusNotAcceptable, "header Accept: " + shown(strings.Join(accept, ", ")) + " fits nothing that there is; want one of " + strings.Join(mediaTypes[:], ", ")}
	}
	return best, nil
}

// accepts is the weight that the most exact range which fits gives a media type,
// and how exact that is (RFC 9110, 12.5.1).
func accepts(accept []string, mediaType string) (weight float64, exact int) {
	exact = -1
	kind, _, _ := strings.Cut(mediaType, "/")
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		name, parameters, err := mime.ParseMediaType(strings.TrimSpace(part))
		how := slices.Index([]string{"*/*", kind + "/*", mediaType}, name)
		if err != nil || how <= exact {
			continue
		}
		q := 1.0
		if text, given := parameters["q"]; given {
			if q, err = strconv.ParseFloat(text, 64); err != nil || q < 0 || q > 1 {
				continue
			}
		}
		weight, exact = q, how
	}
	return weight, exact
}

const (
	maxChanges = 1000             // in one JSON answer
	maxWait    = 60 * time.Second // of one JSON answer
)

// changesQuery is which changes are asked for.
type changesQuery struct {
	form form
	// since is nil if none was given.
	since   *index.Revision
	initial bool
	// namespaces and repositories limit what is answered, types too; none do not.
	namespaces, repositories []string
	types                    []index.ChangeType
	limit                    int
	wait                     time.Duration
}

// changesParameters are the parameters of the query, and how each is read.
var changesParameters = map[string]func(q *changesQuery, values []string) error{
	"since":      (*changesQuery).readSince,
	"initial":    (*changesQuery).readInitial,
	"namespace":  func(q *changesQuery, values []string) (err error) { q.namespaces, err = namespaces(values); return err },
	"repository": (*changesQuery).readRepositories,
	"type":       (*changesQuery).readTypes,
	"limit":      (*changesQuery).readLimit,
	"wait_s":     (*changesQuery).readWait,
}

var changesNames = []string{"since", "initial", "namespace", "repository", "type", "limit", "wait_s"}

// parseChanges reads a request for changes; its errors are *failure. What it does
// not know it refuses: a filter that is left out would answer with everything.
func parseChanges(r *http.Request) (q changesQuery, err error) {
	q.limit = maxChanges
	if q.form, err = formOf(r.Header.Values("Accept")); err != nil {
		return q, err
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return q, malformed("query: %s is not percent-encoded", shown(r.URL.RawQuery))
	}
	for name := range values {
		if changesParameters[name] == nil {
			return q, malformed("query parameter %s: not known; want one of %s", shown(name), strings.Join(changesNames, ", "))
		}
	}
	for _, name := range changesNames {
		if given, ok := values[name]; ok {
			if err := changesParameters[name](&q, given); err != nil {
				return q, err
			}
		}
	}
	if err := q.readLastEvent(r.Header); err != nil {
		return q, err
	}
	return q, q.check(values, r)
}

// readLastEvent reads where a client goes on that has been cut off: it asks for
// the same URL again, with this header.
func (q *changesQuery) readLastEvent(h http.Header) error {
	last := h.Get("Last-Event-ID")
	if last == "" {
		return nil
	}
	q.initial = false
	if err := q.readSince([]string{last}); err != nil {
		return malformed("header Last-Event-ID: %s is no revision; %s", shown(last), wantRevision)
	}
	return nil
}

// check refuses what does not go together, and a body.
func (q *changesQuery) check(values url.Values, r *http.Request) error {
	switch {
	case q.initial && q.since != nil:
		return malformed("query parameters initial and since: both are given; want one of them: initial begins with what is there now")
	case q.initial && q.form == formJSON:
		return malformed("query parameter initial: wants a stream, by the header Accept: text/event-stream or application/x-ndjson; or ask /v1/images, whose header Berth-Revision is where to go on")
	case q.form != formJSON && (values.Has("limit") || values.Has("wait_s")):
		return malformed("query parameters limit and wait_s: are of one JSON answer, and this is a stream; leave them out, or want application/json")
	}
	var some [1]byte
	if n, err := io.ReadFull(r.Body, some[:]); n > 0 || err != nil && err != io.EOF {
		return malformed("body: there is none here; want the filters in the query")
	}
	return nil
}

const wantRevision = "want one as berth has given it out, like 8c1f0a5e93b7d264.1042"

// once is the value of a parameter that has one.
func onceOf(name string, values []string) (string, error) {
	for _, v := range values[1:] {
		if v != values[0] {
			return "", malformed("query parameter %s: given as %s and as %s; want one value", name, shown(values[0]), shown(v))
		}
	}
	return values[0], nil
}

func (q *changesQuery) readSince(values []string) error {
	text, err := onceOf("since", values)
	if err != nil {
		return err
	}
	r, err := index.ParseRevision(text)
	if err != nil {
		return malformed("query parameter since: %s is no revision; %s", shown(text), wantRevision)
	}
	q.since = &r
	return nil
}

func (q *changesQuery) readInitial(values []string) (err error) {
	text, err := onceOf("initial", values)
	if err == nil {
		q.initial, _, err = parameters{"initial": {text}}.flag("initial")
	}
	return err
}

func (q *changesQuery) readRepositories(values []string) (err error) {
	if q.repositories, err = byEitherName(values); err == nil && len(values) > maxNamespaces {
		return malformed("query parameter repository: more than %d are given; want at most that many at once", maxNamespaces)
	}
	return err
}

// byEitherName are repositories, of which official ones may have their short name.
func byEitherName(values []string) (all []string, err error) {
	for _, value := range values {
		if !reference.IsName(value) {
			return nil, malformed("query parameter repository: %s is not a repository; want one by its name, like user/app; %s", shown(value), wantName)
		}
		all = append(all, value)
		if !strings.HasPrefix(value, reference.Official+"/") {
			all = append(all, reference.Official+"/"+value)
		}
	}
	return all, nil
}

func (q *changesQuery) readTypes(values []string) error {
	for text := range strings.SplitSeq(strings.Join(values, ","), ",") {
		t := index.ChangeType(text)
		if !slices.Contains(index.ChangeTypes, t) {
			return malformed("query parameter type: %s is no type of a change; want push, tag, untag, delete or change", shown(text))
		}
		q.types = append(q.types, t)
	}
	return nil
}

func (q *changesQuery) readLimit(values []string) error {
	n, err := number("limit", values, 1, maxChanges)
	q.limit = n
	return err
}

func (q *changesQuery) readWait(values []string) error {
	n, err := number("wait_s", values, 0, int(maxWait/time.Second))
	q.wait = time.Duration(n) * time.Second
	return err
}

// number is the value of a parameter that is a whole number.
func number(name string, values []string, least, most int) (int, error) {
	text, err := onceOf(name, values)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, malformed("query parameter %s: %s is no such number; want a whole one from %d to %d", name, shown(text), least, most)
	}
	return n, nil
}
