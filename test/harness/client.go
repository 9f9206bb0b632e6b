package harness

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// The media types of what the tests push by hand.
const (
	OCIManifest = "application/vnd.oci.image.manifest.v1+json"
	OCIIndex    = "application/vnd.oci.image.index.v1+json"
	OCIConfig   = "application/vnd.oci.image.config.v1+json"
	OCILayer    = "application/vnd.oci.image.layer.v1.tar"
)

// Client sends single requests to one berth. It is no client library: it sends
// what none of those would, and says exactly which request was answered and
// which was not.
type Client struct {
	URL  string // of the berth, to which paths are added
	HTTP *http.Client
}

// NewClient returns a client with connections of its own.
func NewClient(base string) *Client {
	return &Client{base, &http.Client{
		Timeout:   time.Minute,
		Transport: Looking(&http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}),
		// A redirect is an answer, and here always a wrong one.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Answer is an answer that was read to its end.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Refusal is the error for an answer with another status than was hoped for.
type Refusal struct {
	What string // was asked
	Answer
}

// Error says what was asked and what was answered.
func (e *Refusal) Error() string {
	return fmt.Sprintf("%s: %d %.300s", e.What, e.Status, e.Body)
}

// Do sends a request; header is name, value, name, value. The body is an
// io.Reader, or bytes, so that it is sent with a Content-Length.
func (c *Client) Do(method, target string, body any, header ...string) (*Answer, error) {
	var reader io.Reader
	switch b := body.(type) {
	case []byte:
		reader = bytes.NewReader(b)
	case string:
		reader = strings.NewReader(b)
	case io.Reader:
		reader = b
	}
	if !strings.HasPrefix(target, "http") {
		target = c.URL + target
	}
	r, err := http.NewRequest(method, target, reader)
	if err != nil {
		return nil, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := c.HTTP.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	return &Answer{answer.StatusCode, answer.Header, content}, err
}

// Want sends a request and returns an error for any other status.
func (c *Client) Want(status int, method, target string, body any, header ...string) (*Answer, error) {
	a, err := c.Do(method, target, body, header...)
	if err == nil && a.Status != status {
		err = &Refusal{method + " " + target, *a}
	}
	return a, err
}

// Must sends a request and ends the test for any other status.
func (c *Client) Must(t testing.TB, status int, method, target string, body any, header ...string) *Answer {
	t.Helper()
	a, err := c.Want(status, method, target, body, header...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Get pulls what must be there.
func (c *Client) Get(t testing.TB, path, accept string) []byte {
	t.Helper()
	var header []string
	if accept != "" {
		header = []string{"Accept", accept}
	}
	return c.Must(t, http.StatusOK, http.MethodGet, path, nil, header...).Body
}

// Begin opens an upload that must be let in, and returns where it goes on.
func (c *Client) Begin(t testing.TB, repository string) *url.URL {
	t.Helper()
	location, err := c.Upload(repository)
	if err != nil {
		t.Fatal(err)
	}
	return location
}

// Location is where an answer says to go on.
func (c *Client) Location(t testing.TB, a *Answer) *url.URL {
	t.Helper()
	u, err := url.Parse(c.URL)
	if err == nil {
		u, err = u.Parse(a.Header.Get("Location"))
	}
	if err != nil || a.Header.Get("Location") == "" {
		t.Fatalf("Location is %q: %v", a.Header.Get("Location"), err)
	}
	return u
}

// PutBlob pushes a blob that must get in, and returns its descriptor.
func (c *Client) PutBlob(t testing.TB, repository, mediaType string, content []byte) Descriptor {
	t.Helper()
	if err := c.PushBlob(repository, content); err != nil {
		t.Fatal(err)
	}
	return Describe(mediaType, content)
}

// PutManifest pushes a manifest that must get in, and returns its digest.
func (c *Client) PutManifest(t testing.TB, repository, reference, mediaType string, content []byte) string {
	t.Helper()
	if err := c.PushManifest(repository, reference, mediaType, content); err != nil {
		t.Fatal(err)
	}
	return Digest(content)
}

// PutImage pushes an image whole, which must get in, and returns the digest of
// its index.
func (c *Client) PutImage(t testing.TB, repository, tag string, image Image) string {
	t.Helper()
	digest, err := c.Push(repository, tag, image)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// Upload opens an upload and returns where it continues.
func (c *Client) Upload(repository string) (location *url.URL, err error) {
	a, err := c.Want(http.StatusAccepted, http.MethodPost, "/v2/"+repository+"/blobs/uploads/", nil)
	if err != nil {
		return nil, err
	}
	base, err := url.Parse(c.URL)
	if err != nil {
		return nil, err
	}
	return base.Parse(a.Header.Get("Location"))
}

// WithDigest is the address that closes an upload.
func WithDigest(location *url.URL, digest string) string {
	u := *location
	q := u.Query()
	q.Set("digest", digest)
	u.RawQuery = q.Encode()
	return u.String()
}

// PushBlob pushes a blob in one piece, under its canonical digest.
func (c *Client) PushBlob(repository string, content []byte) error {
	return c.PushBlobFrom(repository, Digest(content), content)
}

// PushBlobFrom pushes what may be too large to be held in memory.
func (c *Client) PushBlobFrom(repository, digest string, content any) error {
	location, err := c.Upload(repository)
	if err != nil {
		return err
	}
	_, err = c.Want(http.StatusCreated, http.MethodPut, WithDigest(location, digest), content, "Content-Type", "application/octet-stream")
	return err
}

// PushManifest pushes a manifest under a tag or digest.
func (c *Client) PushManifest(repository, reference, mediaType string, body []byte) error {
	_, err := c.Want(http.StatusCreated, http.MethodPut, "/v2/"+repository+"/manifests/"+reference, body, "Content-Type", mediaType)
	return err
}

// Push pushes an image whole and returns the digest of its index.
func (c *Client) Push(repository, tag string, image Image) (string, error) {
	for _, blob := range image.Blobs {
		if err := c.PushBlob(repository, blob); err != nil {
			return "", err
		}
	}
	if err := c.PushManifest(repository, Digest(image.Manifest), OCIManifest, image.Manifest); err != nil {
		return "", err
	}
	return Digest(image.Index), c.PushManifest(repository, tag, OCIIndex, image.Index)
}
