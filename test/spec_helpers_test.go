package test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"testing"

	"github.com/opencontainers/go-digest"
)

// specClient asks a berth what the distribution specification promises, and
// fails its test where the answer is another one.
type specClient struct {
	*rawClient
	t *testing.T
	b *Berth
}

// specified runs a berth of its own for a test.
func specified(t *testing.T, options ...option) *specClient {
	t.Helper()
	t.Parallel()
	b := start(t, append([]option{withArgs("--log-level", "warn")}, options...)...)
	return &specClient{newRawClient(b.URL), t, b}
}

// ask sends a request that must be answered with a status. An answer that is an
// error must have the specification's form, whatever it is about.
func (s *specClient) ask(status int, method, target string, body any, header ...string) *rawAnswer {
	s.t.Helper()
	a, err := s.do(method, target, body, header...)
	if err != nil {
		s.t.Fatalf("%s %.200s: %v", method, target, err)
	}
	if a.status != status {
		s.t.Fatalf("%s %.200s: %d %.300s, want %d", method, target, a.status, a.body, status)
	}
	if status >= 400 {
		s.wellFormed(method, target, a)
	}
	return a
}

var specCode = regexp.MustCompile(`^[A-Z_]+$`)

// specError is the form of all errors.
type specError struct {
	Errors []struct {
		Code, Message string
		Detail        json.RawMessage
	}
}

func (s *specClient) wellFormed(method, target string, a *rawAnswer) {
	s.t.Helper()
	if got := a.header.Get("Content-Type"); got != "application/json" {
		s.t.Errorf("%s %.200s: %d is of type %q", method, target, a.status, got)
	}
	if method == http.MethodHead {
		if len(a.body) != 0 {
			s.t.Errorf("HEAD %.200s has a body: %.300s", target, a.body)
		}
		return
	}
	if e := errorIn(a); len(e.Errors) == 0 || !specCode.MatchString(e.Errors[0].Code) || e.Errors[0].Message == "" {
		s.t.Errorf("%s %.200s: %d is no error of the specification: %.300s", method, target, a.status, a.body)
	}
}

func errorIn(a *rawAnswer) (e specError) {
	_ = json.Unmarshal(a.body, &e)
	return e
}

// refuse is ask for an error with a code.
func (s *specClient) refuse(code string, status int, method, target string, body any, header ...string) *rawAnswer {
	s.t.Helper()
	a := s.ask(status, method, target, body, header...)
	if e := errorIn(a); len(e.Errors) > 0 && e.Errors[0].Code != code {
		s.t.Errorf("%s %.200s: the code is %s, want %s: %.300s", method, target, e.Errors[0].Code, code, a.body)
	}
	return a
}

// has compares headers: name, value, name, value; "" means that there is none.
func (s *specClient) has(a *rawAnswer, header ...string) {
	s.t.Helper()
	for i := 0; i+1 < len(header); i += 2 {
		if got := a.header.Get(header[i]); got != header[i+1] {
			s.t.Errorf("%s is %q, want %q", header[i], got, header[i+1])
		}
	}
}

// blob pushes a blob under its canonical digest.
func (s *specClient) blob(repository, content string) rawDescriptor {
	s.t.Helper()
	return s.putBlob(s.t, repository, rawOCILayer, []byte(content))
}

// put pushes a manifest and returns the answer.
func (s *specClient) put(repository, reference string, manifest []byte, header ...string) *rawAnswer {
	s.t.Helper()
	if len(header) == 0 {
		header = []string{"Content-Type", rawOCIManifest}
		if bytes.Contains(manifest, []byte(rawOCIIndex)) {
			header[1] = rawOCIIndex
		}
	}
	return s.ask(http.StatusCreated, http.MethodPut, "/v2/"+repository+"/manifests/"+reference, manifest, header...)
}

// got wants a manifest back as it was, and returns the answer.
func (s *specClient) got(repository, reference string, manifest []byte) *rawAnswer {
	s.t.Helper()
	a := s.ask(http.StatusOK, http.MethodGet, "/v2/"+repository+"/manifests/"+reference, nil)
	if !bytes.Equal(a.body, manifest) {
		s.t.Errorf("%s of %s is %.300s, want %.300s", reference, repository, a.body, manifest)
	}
	return a
}

// image pushes the blobs of a unikernel, and returns a manifest of it that is
// not pushed.
func (s *specClient) image(repository, salt string) []byte {
	s.t.Helper()
	image := newRawImage("k", salt)
	for _, blob := range image.blobs {
		if err := s.pushBlob(repository, blob); err != nil {
			s.t.Fatal(err)
		}
	}
	return image.manifest
}

// begin opens an upload.
func (s *specClient) begin(repository string) *url.URL {
	s.t.Helper()
	return s.rawClient.begin(s.t, repository)
}

// location is where an answer says to go on.
func (s *specClient) location(a *rawAnswer) *url.URL {
	s.t.Helper()
	return s.rawClient.location(s.t, a)
}

// next is the page that an answer links to, "" for none.
func (s *specClient) next(a *rawAnswer) string {
	s.t.Helper()
	return nextPage(s.t, a)
}

// sum is the digest of a content under an algorithm.
func sum(algorithm digest.Algorithm, content []byte) string {
	return algorithm.FromBytes(content).String()
}
