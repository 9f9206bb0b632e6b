package test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// These tests speak HTTP by themselves: they send what no client library would,
// and must know exactly which request was answered and which was not.

const (
	rawOCIManifest = "application/vnd.oci.image.manifest.v1+json"
	rawOCIIndex    = "application/vnd.oci.image.index.v1+json"
	rawOCIConfig   = "application/vnd.oci.image.config.v1+json"
	rawOCILayer    = "application/vnd.oci.image.layer.v1.tar"
)

// rawClient sends single requests to one berth.
type rawClient struct {
	URL  string
	http *http.Client
}

func newRawClient(base string) *rawClient {
	return &rawClient{base, &http.Client{
		Timeout:   time.Minute,
		Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
		// A redirect is an answer, and here always a wrong one.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// rawAnswer is an answer that was read to its end.
type rawAnswer struct {
	status int
	header http.Header
	body   []byte
}

// rawRefusal is the error for an answer with another status than was hoped for.
type rawRefusal struct {
	what string
	rawAnswer
}

func (e *rawRefusal) Error() string {
	return fmt.Sprintf("%s: %d %.300s", e.what, e.status, e.body)
}

// do sends a request; header is name, value, name, value. The body is an
// io.Reader, or bytes, so that it is sent with a Content-Length.
func (c *rawClient) do(method, target string, body any, header ...string) (*rawAnswer, error) {
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
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	return &rawAnswer{answer.StatusCode, answer.Header, content}, err
}

// want sends a request and returns an error for any other status.
func (c *rawClient) want(status int, method, target string, body any, header ...string) (*rawAnswer, error) {
	a, err := c.do(method, target, body, header...)
	if err == nil && a.status != status {
		err = &rawRefusal{method + " " + target, *a}
	}
	return a, err
}

// must sends a request and ends the test for any other status.
func (c *rawClient) must(t testing.TB, status int, method, target string, body any, header ...string) *rawAnswer {
	t.Helper()
	a, err := c.want(status, method, target, body, header...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// get pulls what must be there.
func (c *rawClient) get(t testing.TB, path, accept string) []byte {
	t.Helper()
	var header []string
	if accept != "" {
		header = []string{"Accept", accept}
	}
	return c.must(t, http.StatusOK, http.MethodGet, path, nil, header...).body
}

// begin opens an upload that must be let in, and returns where it goes on.
func (c *rawClient) begin(t testing.TB, repository string) *url.URL {
	t.Helper()
	location, err := c.upload(repository)
	if err != nil {
		t.Fatal(err)
	}
	return location
}

// location is where an answer says to go on.
func (c *rawClient) location(t testing.TB, a *rawAnswer) *url.URL {
	t.Helper()
	u, err := url.Parse(c.URL)
	if err == nil {
		u, err = u.Parse(a.header.Get("Location"))
	}
	if err != nil || a.header.Get("Location") == "" {
		t.Fatalf("Location is %q: %v", a.header.Get("Location"), err)
	}
	return u
}

// putBlob pushes a blob that must get in, and returns its descriptor.
func (c *rawClient) putBlob(t testing.TB, repository, mediaType string, content []byte) rawDescriptor {
	t.Helper()
	if err := c.pushBlob(repository, content); err != nil {
		t.Fatal(err)
	}
	return rawDescribe(mediaType, content)
}

// putManifest pushes a manifest that must get in, and returns its digest.
func (c *rawClient) putManifest(t testing.TB, repository, reference, mediaType string, content []byte) string {
	t.Helper()
	if err := c.pushManifest(repository, reference, mediaType, content); err != nil {
		t.Fatal(err)
	}
	return rawDigest(content)
}

// putImage pushes an image whole, which must get in, and returns the digest of
// its index.
func (c *rawClient) putImage(t testing.TB, repository, tag string, image rawImage) string {
	t.Helper()
	digest, err := c.push(repository, tag, image)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// rawDigest is the canonical digest of bytes: their SHA-256.
func rawDigest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// upload opens an upload and returns where it continues.
func (c *rawClient) upload(repository string) (location *url.URL, err error) {
	a, err := c.want(http.StatusAccepted, http.MethodPost, "/v2/"+repository+"/blobs/uploads/", nil)
	if err != nil {
		return nil, err
	}
	base, err := url.Parse(c.URL)
	if err != nil {
		return nil, err
	}
	return base.Parse(a.header.Get("Location"))
}

// withDigest is the address that closes an upload.
func withDigest(location *url.URL, digest string) string {
	u := *location
	q := u.Query()
	q.Set("digest", digest)
	u.RawQuery = q.Encode()
	return u.String()
}

func (c *rawClient) pushBlob(repository string, content []byte) error {
	return c.pushBlobFrom(repository, rawDigest(content), content)
}

// pushBlobFrom pushes what may be too large to be held in memory.
func (c *rawClient) pushBlobFrom(repository, digest string, content any) error {
	location, err := c.upload(repository)
	if err != nil {
		return err
	}
	_, err = c.want(http.StatusCreated, http.MethodPut, withDigest(location, digest), content, "Content-Type", "application/octet-stream")
	return err
}

func (c *rawClient) pushManifest(repository, reference, mediaType string, body []byte) error {
	_, err := c.want(http.StatusCreated, http.MethodPut, "/v2/"+repository+"/manifests/"+reference, body, "Content-Type", mediaType)
	return err
}

// rawDescriptor is a descriptor as it stands in manifests.
type rawDescriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Platform    map[string]string `json:"platform,omitempty"`
}

func rawDescribe(mediaType string, content []byte) rawDescriptor {
	return rawDescriptor{MediaType: mediaType, Digest: rawDigest(content), Size: int64(len(content))}
}

func (d rawDescriptor) marked(annotation, value string) rawDescriptor {
	d.Annotations = map[string]string{annotation: value}
	return d
}

func rawJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and numbers only
	}
	return data
}

func rawManifestOf(config rawDescriptor, layers ...rawDescriptor) []byte {
	return rawJSON(map[string]any{"schemaVersion": 2, "mediaType": rawOCIManifest, "config": config, "layers": layers})
}

func rawIndexOf(manifests ...rawDescriptor) []byte {
	return rawJSON(map[string]any{"schemaVersion": 2, "mediaType": rawOCIIndex, "manifests": manifests})
}

// rawImage is a unikernel of kernel and initrd, as kraft pushes it: an index
// with one manifest.
type rawImage struct {
	blobs           [][]byte // kernel, initrd, config
	manifest, index []byte
}

// newRawImage makes an image. Those with the same kernel share its layer; salt
// makes everything else its own.
func newRawImage(kernel, salt string) rawImage {
	kernelLayer := []byte("kernel " + strings.Repeat(kernel, 1000))
	initrd := []byte("initrd " + salt)
	config := rawJSON(map[string]any{
		"created": "2026-01-02T03:04:05Z", "os": "kraftcloud", "architecture": "x86_64",
		"config": map[string]any{"Cmd": []string{"--", "/app", salt}, "Env": []string{"SALT=" + salt}, "Labels": map[string]string{"salt": salt}},
	})
	manifest := rawManifestOf(rawDescribe(rawOCIConfig, config),
		rawDescribe(rawOCILayer, kernelLayer).marked("org.unikraft.kernel.image", "/unikraft/bin/kernel"),
		rawDescribe(rawOCILayer, initrd).marked("org.unikraft.kernel.initrd", "/unikraft/bin/initrd"))
	child := rawDescribe(rawOCIManifest, manifest)
	child.Platform = map[string]string{"os": "kraftcloud", "architecture": "x86_64"}
	return rawImage{[][]byte{kernelLayer, initrd, config}, manifest, rawIndexOf(child)}
}

// push pushes an image whole and returns the digest of its index.
func (c *rawClient) push(repository, tag string, image rawImage) (string, error) {
	for _, blob := range image.blobs {
		if err := c.pushBlob(repository, blob); err != nil {
			return "", err
		}
	}
	if err := c.pushManifest(repository, rawDigest(image.manifest), rawOCIManifest, image.manifest); err != nil {
		return "", err
	}
	return rawDigest(image.index), c.pushManifest(repository, tag, rawOCIIndex, image.index)
}

// rawListed is a list of the images API: the tags by <name>@<digest>.
type rawListed map[string][]string

// listed asks the first version of the images API.
func (c *rawClient) listed(query, body string) (rawListed, error) {
	var content any
	if body != "" {
		content = body
	}
	a, err := c.do(http.MethodGet, "/v1/images/list"+query, content)
	if err != nil {
		return nil, err
	}
	// A lookup of something that is not there has an entry without tags.
	var answer struct {
		Data struct {
			Images []struct {
				Status, Digest string
				Tags           []string
			}
		}
	}
	if a.status != http.StatusOK && a.status != http.StatusNotFound {
		return nil, &rawRefusal{"GET /v1/images/list" + query, *a}
	}
	if err := json.Unmarshal(a.body, &answer); err != nil {
		return nil, fmt.Errorf("%w in %s", err, a.body)
	}
	listed := rawListed{}
	for _, image := range answer.Data.Images {
		if image.Status == "error" {
			continue
		}
		if _, twice := listed[image.Digest]; twice {
			return nil, fmt.Errorf("%s is listed twice", image.Digest)
		}
		listed[image.Digest] = image.Tags
	}
	return listed, nil
}

// tagsOf asks the registry for the tags of a repository.
func (c *rawClient) tagsOf(repository string) ([]string, error) {
	a, err := c.do(http.MethodGet, "/v2/"+repository+"/tags/list", nil)
	if err != nil {
		return nil, err
	}
	if a.status == http.StatusNotFound {
		return nil, nil
	}
	var answer struct{ Tags []string }
	if a.status != http.StatusOK || json.Unmarshal(a.body, &answer) != nil {
		return nil, &rawRefusal{"tags of " + repository, *a}
	}
	return answer.Tags, nil
}

// digestOf returns what the registry has under a tag or digest, "" for nothing.
func (c *rawClient) digestOf(repository, reference string) (string, error) {
	a, err := c.do(http.MethodHead, "/v2/"+repository+"/manifests/"+reference, nil, "Accept", rawOCIIndex+", "+rawOCIManifest)
	switch {
	case err != nil:
		return "", err
	case a.status == http.StatusNotFound:
		return "", nil
	case a.status != http.StatusOK:
		return "", &rawRefusal{"HEAD " + repository + ":" + reference, *a}
	}
	return a.header.Get("Docker-Content-Digest"), nil
}

// ledger is what one writer's part of a repository must hold: what was
// acknowledged, by the rules of the images API.
type ledger struct {
	tags map[string]string   // tag → digest
	held map[string][]string // manifest → the manifests that it refers to
}

func newLedger() *ledger { return &ledger{map[string]string{}, map[string][]string{}} }

func (l *ledger) clone() *ledger { return &ledger{maps.Clone(l.tags), maps.Clone(l.held)} }

// put stores a manifest, under a tag unless it is "".
func (l *ledger) put(digest, tag string, children ...string) *ledger {
	after := l.clone()
	after.held[digest] = children
	if tag != "" {
		after.tags[tag] = digest
	}
	return after
}

func (l *ledger) untag(tag string) *ledger {
	after := l.clone()
	delete(after.tags, tag)
	return after
}

// remove deletes a manifest, its tags, and the children that nothing holds.
func (l *ledger) remove(digest string) *ledger {
	after := l.clone()
	children := after.held[digest]
	delete(after.held, digest)
	maps.DeleteFunc(after.tags, func(_, d string) bool { return d == digest })
	for _, child := range children {
		if len(after.tagsOf(child)) == 0 && !after.inIndex(child) {
			delete(after.held, child)
		}
	}
	return after
}

func (l *ledger) tagsOf(digest string) []string {
	tags := []string{}
	for tag, d := range l.tags {
		if d == digest {
			tags = append(tags, tag)
		}
	}
	slices.Sort(tags)
	return tags
}

func (l *ledger) inIndex(digest string) bool {
	for _, children := range l.held {
		if slices.Contains(children, digest) {
			return true
		}
	}
	return false
}

// listed is what the images API must show of it.
func (l *ledger) listed(repository string) rawListed {
	listed := rawListed{}
	for digest := range l.held {
		if tags := l.tagsOf(digest); len(tags) > 0 || !l.inIndex(digest) {
			for i, tag := range tags {
				tags[i] = repository + ":" + tag
			}
			listed[repository+"@"+digest] = tags
		}
	}
	return listed
}
