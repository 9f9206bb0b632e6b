package harness

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	"go.yaml.in/yaml/v3"
)

// Whatever berth answers beside the API of OCI must be what openapi.yaml says of
// it: every client of the tests looks. A request must be, too, unless it was
// refused; then it was wrong on purpose.

// mostDescribed is the size in bytes of the largest answer that is looked at.
const mostDescribed = 1 << 20

// Description is openapi.yaml, read so that a field which is not in it is wrong.
type Description struct {
	mu        sync.Mutex // the validator promises nothing
	validator validator.Validator
}

var description = sync.OnceValues(func() (*Description, error) {
	text, err := os.ReadFile(DescriptionFile())
	if err != nil {
		return nil, err
	}
	return NewDescription(text)
})

// DescriptionFile is where openapi.yaml is.
func DescriptionFile() string { return filepath.Join(Root(), "catalog", "images", "openapi.yaml") }

// NewDescription reads a document, and compiles it for many answers.
func NewDescription(text []byte) (*Description, error) { return newDescription(text) }

// NewLazyDescription reads a document that is asked about a few answers: for each it
// compiles no more than it needs.
func NewLazyDescription(text []byte) (*Description, error) {
	return newDescription(text, config.WithSchemaCache(nil))
}

func newDescription(text []byte, options ...config.Option) (*Description, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, err
	}
	if schemas := child(child(root.Content[0], "components"), "schemas"); schemas != nil {
		for i := 0; i+1 < len(schemas.Content); i += 2 {
			if schemas.Content[i].Value != "Item" { // of which unknown keys are ignored
				closeObjects(schemas.Content[i+1])
			}
		}
	}
	text, err := yaml.Marshal(&root)
	if err != nil {
		return nil, err
	}
	document, err := libopenapi.NewDocument(text)
	if err != nil {
		return nil, err
	}
	v, errs := validator.NewValidator(document, append(options, config.WithFormatAssertions(), config.WithoutSecurityValidation())...)
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return &Description{validator: v}, nil
}

// Valid returns what makes the document none of OpenAPI.
func (d *Description) Valid() error {
	_, problems := d.validator.ValidateDocument()
	var all []error
	for _, p := range problems {
		all = append(all, p)
	}
	return errors.Join(all...)
}

// child is the value of a key, nil for none.
func child(mapping *yaml.Node, key string) *yaml.Node {
	if mapping != nil {
		for i := 0; i+1 < len(mapping.Content); i += 2 {
			if mapping.Content[i].Value == key {
				return mapping.Content[i+1]
			}
		}
	}
	return nil
}

// closeObjects lets the objects of a schema have no properties but those that it
// names.
func closeObjects(schema *yaml.Node) {
	if child(schema, "type") != nil && child(schema, "properties") != nil && child(schema, "additionalProperties") == nil {
		schema.Content = append(schema.Content,
			&yaml.Node{Kind: yaml.ScalarNode, Value: "additionalProperties"}, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "false"})
	}
	for _, below := range schema.Content {
		closeObjects(below)
	}
}

// Described reports whether openapi.yaml is to say what a path answers.
func Described(path string) bool {
	switch path {
	case "/images", "/token", "/healthz", "/readyz", "/metrics", "/v1":
		return true
	}
	return strings.HasPrefix(path, "/v1/") || strings.HasPrefix(path, "/api/v2.0/")
}

// Check returns what is wrong with an answer, and with the request if that was
// taken.
func (d *Description) Check(method string, target *url.URL, requestBody []byte, a *Answer) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if method == http.MethodHead {
		if len(a.Body) > 0 {
			return fmt.Errorf("HEAD %s is answered with a body", target)
		}
		return nil
	}
	asked := *target
	asked.Path, asked.RawPath = plain(target), ""
	if stranger(asked.Path) == asked.Path && asked.Path != "/token" {
		method = http.MethodGet // which is what any other means there
	}
	known := d.route(method, asked.Path)
	if !known {
		method, asked = http.MethodGet, url.URL{Path: stranger(asked.Path)}
		if a.Status < 400 {
			return fmt.Errorf("%s answers with %d, and openapi.yaml does not have it", target, a.Status)
		}
	}
	r, err := http.NewRequest(method, "http://berth"+asked.RequestURI(), nil)
	if err != nil {
		return err
	}
	answer := &http.Response{StatusCode: a.Status, Header: a.Header, Body: io.NopCloser(bytes.NewReader(a.Body)), Request: r}
	_, problems := d.validator.ValidateHttpResponse(r, answer)
	what := fmt.Sprintf("the answer %d %.2000s", a.Status, a.Body)
	if taken := a.Status < 400 || bytes.Contains(a.Body, []byte(`"op_time_us"`)); len(problems) == 0 && known && taken {
		if method == http.MethodGet && json.Valid(requestBody) {
			r.Body, r.Header = io.NopCloser(bytes.NewReader(requestBody)), http.Header{"Content-Type": {"application/json"}}
		}
		if method == http.MethodGet {
			_, problems = d.validator.ValidateHttpRequestSync(r)
			what = fmt.Sprintf("the request %.2000s", requestBody)
		}
	}
	for _, p := range problems {
		text := p.Message + ": " + p.Reason
		for _, s := range p.SchemaValidationErrors {
			text += "; " + s.FieldPath + " " + s.Reason
		}
		err = errors.Join(err, errors.New(text))
	}
	if err != nil {
		return fmt.Errorf("%s: openapi.yaml has %s otherwise: %w", target, what, err)
	}
	return nil
}

// plain is the path of a URL, with a word in place of each part that is encoded: it
// may hold a slash, and is one part for berth.
func plain(target *url.URL) string {
	parts := strings.Split(target.EscapedPath(), "/")
	for i, part := range parts {
		if strings.Contains(part, "%") {
			parts[i] = "encoded"
		}
	}
	return strings.Join(parts, "/")
}

// route reports whether a path has a method in the document.
func (d *Description) route(method, path string) bool {
	r, err := http.NewRequest(method, "http://berth/", nil)
	if err != nil {
		return false // nobody can send it
	}
	r.URL = &url.URL{Scheme: "http", Host: "berth", Path: path}
	_, problems := d.validator.ValidateHttpResponse(r, &http.Response{StatusCode: http.StatusTeapot, Header: http.Header{"Content-Type": {"text/plain"}}, Body: http.NoBody})
	for _, p := range problems {
		if p.IsPathMissingError() || p.IsOperationMissingError() {
			return false
		}
	}
	return true
}

// stranger is a route that has the errors of what a path belongs to.
func stranger(path string) string {
	switch {
	case strings.HasPrefix(path, "/api/v2.0/"):
		return "/api/v2.0/projects/any/summary"
	case strings.HasPrefix(path, "/v1") || path == "/images":
		return "/v1/healthz"
	default:
		return path
	}
}
