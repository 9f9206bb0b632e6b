// Package spec asks berth what the distribution specification promises, and runs
// the suite of its authors.
package spec

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/test/harness"
)

// client asks a berth what the distribution specification promises, and
// fails its test where the answer is another one.
type client struct {
	*harness.Client
	t *testing.T
	b *harness.Berth
}

// specified runs a berth of its own for a test.
func specified(t *testing.T, options ...harness.Option) *client {
	t.Helper()
	t.Parallel()
	b := harness.Start(t, append([]harness.Option{harness.WithArgs("--log-level", "warn")}, options...)...)
	return &client{harness.NewClient(b.URL), t, b}
}

// ask sends a request that must be answered with a status. An answer that is an
// error must have the specification's form, whatever it is about.
func (s *client) ask(status int, method, target string, body any, header ...string) *harness.Answer {
	s.t.Helper()
	a, err := s.Do(method, target, body, header...)
	if err != nil {
		s.t.Fatalf("%s %.200s: %v", method, target, err)
	}
	if a.Status != status {
		s.t.Fatalf("%s %.200s: %d %.300s, want %d", method, target, a.Status, a.Body, status)
	}
	if status >= 400 {
		s.wellFormed(method, target, a)
	}
	return a
}

var codeForm = regexp.MustCompile(`^[A-Z_]+$`)

// failure is the form of all errors.
type failure struct {
	Errors []struct {
		Code, Message string
		Detail        json.RawMessage
	}
}

func (s *client) wellFormed(method, target string, a *harness.Answer) {
	s.t.Helper()
	if got := a.Header.Get("Content-Type"); got != "application/json" {
		s.t.Errorf("%s %.200s: %d is of type %q", method, target, a.Status, got)
	}
	if method == http.MethodHead {
		if len(a.Body) != 0 {
			s.t.Errorf("HEAD %.200s has a body: %.300s", target, a.Body)
		}
		return
	}
	if e := errorIn(a); len(e.Errors) == 0 || !codeForm.MatchString(e.Errors[0].Code) || e.Errors[0].Message == "" {
		s.t.Errorf("%s %.200s: %d is no error of the specification: %.300s", method, target, a.Status, a.Body)
	}
}

func errorIn(a *harness.Answer) (e failure) {
	_ = json.Unmarshal(a.Body, &e)
	return e
}

// refuse is ask for an error with a code.
func (s *client) refuse(code string, status int, method, target string, body any, header ...string) *harness.Answer {
	s.t.Helper()
	a := s.ask(status, method, target, body, header...)
	if e := errorIn(a); len(e.Errors) > 0 && e.Errors[0].Code != code {
		s.t.Errorf("%s %.200s: the code is %s, want %s: %.300s", method, target, e.Errors[0].Code, code, a.Body)
	}
	return a
}

// has compares headers: name, value, name, value; "" means that there is none.
func (s *client) has(a *harness.Answer, header ...string) {
	s.t.Helper()
	for i := 0; i+1 < len(header); i += 2 {
		if got := a.Header.Get(header[i]); got != header[i+1] {
			s.t.Errorf("%s is %q, want %q", header[i], got, header[i+1])
		}
	}
}

// blob pushes a blob under its canonical digest.
func (s *client) blob(repository, content string) harness.Descriptor {
	s.t.Helper()
	return s.PutBlob(s.t, repository, harness.OCILayer, []byte(content))
}

// put pushes a manifest and returns the answer.
func (s *client) put(repository, reference string, manifest []byte, header ...string) *harness.Answer {
	s.t.Helper()
	if len(header) == 0 {
		header = []string{"Content-Type", harness.OCIManifest}
		if bytes.Contains(manifest, []byte(harness.OCIIndex)) {
			header[1] = harness.OCIIndex
		}
	}
	return s.ask(http.StatusCreated, http.MethodPut, "/v2/"+repository+"/manifests/"+reference, manifest, header...)
}

// got wants a manifest back as it was, and returns the answer.
func (s *client) got(repository, reference string, manifest []byte) *harness.Answer {
	s.t.Helper()
	a := s.ask(http.StatusOK, http.MethodGet, "/v2/"+repository+"/manifests/"+reference, nil)
	if !bytes.Equal(a.Body, manifest) {
		s.t.Errorf("%s of %s is %.300s, want %.300s", reference, repository, a.Body, manifest)
	}
	return a
}

// image pushes the blobs of a unikernel, and returns a manifest of it that is
// not pushed.
func (s *client) image(repository, salt string) []byte {
	s.t.Helper()
	image := harness.NewImage("k", salt)
	for _, blob := range image.Blobs {
		if err := s.PushBlob(repository, blob); err != nil {
			s.t.Fatal(err)
		}
	}
	return image.Manifest
}

// begin opens an upload.
func (s *client) begin(repository string) *url.URL {
	s.t.Helper()
	return s.Client.Begin(s.t, repository)
}

// location is where an answer says to go on.
func (s *client) location(a *harness.Answer) *url.URL {
	s.t.Helper()
	return s.Client.Location(s.t, a)
}

// next is the page that an answer links to, "" for none.
func (s *client) next(a *harness.Answer) string {
	s.t.Helper()
	return harness.NextPage(s.t, a)
}

// sum is the digest of a content under an algorithm.
func sum(algorithm digest.Algorithm, content []byte) string {
	return algorithm.FromBytes(content).String()
}
