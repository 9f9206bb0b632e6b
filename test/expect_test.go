package test

import (
	"bytes"
	"crypto/sha1"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// entryV1 and entryCurrent are what the images API promises of an image, in its
// two forms. They are the tests' own, so that a slip in berth's types shows.
type entryV1 struct {
	Digest     string            `json:"digest"`
	Tags       []string          `json:"tags"`
	Initrd     bool              `json:"initrd"`
	Size       int64             `json:"size_in_bytes"`
	Args       string            `json:"args,omitempty"`
	KernelArgs string            `json:"kernel_args,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
}

type entryCurrent struct {
	UUID        string            `json:"uuid"`
	CreatedAt   string            `json:"created_at"`
	URL         string            `json:"url"`
	Tags        []string          `json:"tags"`
	InitrdOrROM bool              `json:"initrd_or_rom"`
	Size        int64             `json:"size_in_bytes"`
	Args        []string          `json:"args,omitempty"`
	Env         map[string]string `json:"env,omitempty"`
	Platforms   []entryPlatform   `json:"platforms"`
}

type entryPlatform struct {
	Digest       string      `json:"digest"`
	OS           string      `json:"os"`
	Architecture string      `json:"architecture"`
	Size         int64       `json:"size_in_bytes"`
	Kernel       *entryPart  `json:"kernel,omitempty"`
	Initrd       *entryPart  `json:"initrd,omitempty"`
	ROMs         []entryPart `json:"roms"`
	Args         []string    `json:"args,omitempty"`
	KernelArgs   []string    `json:"kernel_args,omitempty"`
}

type entryPart struct {
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
	MediaType string `json:"media_type"`
}

// entryMissing stands in an answer for an image that does not exist.
type entryMissing struct {
	Status  string `json:"status"`
	Message string `json:"message"`
	Error   int    `json:"error"`
	Digest  string `json:"digest,omitempty"`
	Tag     string `json:"tag,omitempty"`
	UUID    string `json:"uuid,omitempty"`
}

// answerAPI is an envelope. Whatever stands in it and not here is an error.
type answerAPI struct {
	code   int
	header http.Header
	raw    []byte

	Status  string `json:"status"`
	Message string `json:"message"`
	Errors  []struct {
		Status int `json:"status"`
	} `json:"errors"`
	Data *struct {
		Images []json.RawMessage `json:"images"`
	} `json:"data"`
	OpTime *int64 `json:"op_time_us"`
}

// askAPI sends a GET with a body, if it is not empty, and decodes the answer.
func askAPI(t testing.TB, b *Berth, path, body string) answerAPI {
	t.Helper()
	return sendAPI(t, b, http.MethodGet, path, body)
}

// sendAPI sends any request to the images API, and decodes the answer.
func sendAPI(t testing.TB, b *Berth, method, path, body string, header ...string) answerAPI {
	t.Helper()
	answer, err := b.do(method, path, body, header...)
	if err != nil {
		t.Fatal(err)
	}
	a := answerAPI{code: answer.status, header: answer.header, raw: answer.body}
	decodeStrictly(t, a.raw, &a)
	if got := a.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("%s: Content-Type is %q", path, got)
	}
	if a.Data != nil && (a.Data.Images == nil || a.OpTime == nil) {
		t.Errorf("%s: an answer with data has images, never null, and op_time_us: %s", path, a.raw)
	}
	return a
}

// decodeStrictly decodes one JSON value that has no fields but those of into.
func decodeStrictly(t testing.TB, data []byte, into any) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	if _, err := dec.Token(); err != io.EOF {
		t.Fatalf("something follows the answer: %s", data)
	}
}

// wantImages asks, and compares what comes with the entries that are wanted.
func wantImages[E any](t testing.TB, b *Berth, path, body string, want ...E) {
	t.Helper()
	a := askAPI(t, b, path, body)
	where := path + " " + body
	if a.code != http.StatusOK || a.Status != "success" || a.Message != "" || a.Errors != nil || a.Data == nil {
		t.Errorf("%s: got %d %s", where, a.code, a.raw)
		return
	}
	if len(a.Data.Images) != len(want) {
		t.Errorf("%s: got %d images, want %d: %s", where, len(a.Data.Images), len(want), a.raw)
		return
	}
	for i, raw := range a.Data.Images {
		sameEntry(t, fmt.Sprintf("%s: image %d", where, i), raw, want[i])
	}
}

// wantNoImage asks for one image that does not exist.
func wantNoImage(t testing.TB, b *Berth, path, body string) {
	t.Helper()
	a := askAPI(t, b, path, body)
	if a.code != http.StatusNotFound || a.Status != "error" || len(a.Errors) != 1 || a.Errors[0].Status != 404 ||
		a.Message == "" || a.Data == nil || len(a.Data.Images) != 1 {
		t.Errorf("%s %s: want a 404 with one entry, got %d %s", path, body, a.code, a.raw)
		return
	}
	var missing entryMissing
	decodeStrictly(t, a.Data.Images[0], &missing)
	if missing.Status != "error" || missing.Error != 8 || missing.Message == "" ||
		missing.Digest+missing.Tag+missing.UUID == "" {
		t.Errorf("%s %s: got the entry %s", path, body, a.Data.Images[0])
	}
}

// sameEntry compares an entry field by field with what is wanted, both as JSON:
// a field that is there and should not be, or is null, is a difference too.
func sameEntry(t testing.TB, where string, raw json.RawMessage, want any) {
	t.Helper()
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, wanted := asObject(t, raw), asObject(t, text)
	for _, field := range slices.Sorted(maps.Keys(wanted)) {
		if value, ok := got[field]; !ok || !reflect.DeepEqual(value, wanted[field]) {
			t.Errorf("%s: %s is\n\t%v (there: %t), want\n\t%v", where, field, value, ok, wanted[field])
		}
	}
	for field := range got {
		if _, ok := wanted[field]; !ok {
			t.Errorf("%s: has the field %s: %v", where, field, got[field])
		}
	}
}

func asObject(t testing.TB, data []byte) map[string]any {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var o map[string]any
	if err := dec.Decode(&o); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	return o
}

// uuidOf computes an image's UUID by RFC 9562 alone: version 5, in the URL
// namespace, of the image's address.
func uuidOf(repository, digest string) string {
	return uuidV5("6ba7b811-9dad-11d1-80b4-00c04fd430c8", "oci://"+repository+"@"+digest)
}

func uuidV5(namespace, name string) string {
	space := uuid.MustParse(namespace)
	sum := sha1.Sum(append(space[:], name...))
	sum[6] = sum[6]&0x0f | 0x50
	sum[8] = sum[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

func TestUUIDV5(t *testing.T) {
	// The example of RFC 9562, appendix A.4.
	if got := uuidV5("6ba7b810-9dad-11d1-80b4-00c04fd430c8", "www.example.com"); got != "2ed6657d-e927-568b-95e1-2665a8aea6a2" {
		t.Errorf("got %s", got)
	}
	const want = "051a49b9-f1fe-5b87-87e5-5fbdb6286b70"
	if got := uuidOf("alice/hello", helloDigest); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// shortName is the name that users know a repository by.
func shortName(repository string) string { return strings.TrimPrefix(repository, "official/") }
