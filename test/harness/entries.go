package harness

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

// WantAll wants the list of all to be exactly these entries, in this order.
func WantAll(t testing.TB, b *Berth, entries ...EntryV1) {
	t.Helper()
	WantImages(t, b, "/v1/images/list", "", entries...)
}

// EntryV1 and EntryCurrent are what the images API promises of an image, in its
// two forms. They are the tests' own, so that a slip in berth's types shows.
type EntryV1 struct {
	Digest     string            `json:"digest"`
	Tags       []string          `json:"tags"`
	Initrd     bool              `json:"initrd"`
	Size       int64             `json:"size_in_bytes"`
	Args       string            `json:"args,omitempty"`
	KernelArgs string            `json:"kernel_args,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
}

// EntryCurrent is an image in the current form.
type EntryCurrent struct {
	UUID        string            `json:"uuid"`
	CreatedAt   string            `json:"created_at"`
	URL         string            `json:"url"`
	Tags        []string          `json:"tags"`
	InitrdOrROM bool              `json:"initrd_or_rom"`
	Size        int64             `json:"size_in_bytes"`
	Args        []string          `json:"args,omitempty"`
	Env         map[string]string `json:"env,omitempty"`
	Platforms   []EntryPlatform   `json:"platforms"`
}

// EntryPlatform is one of the systems that an image is for.
type EntryPlatform struct {
	Digest       string      `json:"digest"`
	OS           string      `json:"os"`
	Architecture string      `json:"architecture"`
	Size         int64       `json:"size_in_bytes"`
	Kernel       *EntryPart  `json:"kernel,omitempty"`
	Initrd       *EntryPart  `json:"initrd,omitempty"`
	ROMs         []EntryPart `json:"roms"`
	Args         []string    `json:"args,omitempty"`
	KernelArgs   []string    `json:"kernel_args,omitempty"`
}

// EntryPart is a layer that has a use: kernel, initrd or ROM.
type EntryPart struct {
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
	MediaType string `json:"media_type"`
}

// EntryMissing stands in an answer for an image that does not exist.
type EntryMissing struct {
	Status  string `json:"status"`
	Message string `json:"message"`
	Error   int    `json:"error"`
	Digest  string `json:"digest,omitempty"`
	Tag     string `json:"tag,omitempty"`
	UUID    string `json:"uuid,omitempty"`
}

// ImagesAnswer is an envelope. Whatever stands in it and not here is an error.
type ImagesAnswer struct {
	Code   int         `json:"-"`
	Header http.Header `json:"-"`
	Raw    []byte      `json:"-"` // the body

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

// AskImages sends a GET with a body, if it is not empty, and decodes the answer.
func AskImages(t testing.TB, b *Berth, path, body string) ImagesAnswer {
	t.Helper()
	return SendImages(t, b, http.MethodGet, path, body)
}

// SendImages sends any request to the images API, and decodes the answer.
func SendImages(t testing.TB, b *Berth, method, path, body string, header ...string) ImagesAnswer {
	t.Helper()
	answer, err := b.Do(method, path, body, header...)
	if err != nil {
		t.Fatal(err)
	}
	a := ImagesAnswer{Code: answer.Status, Header: answer.Header, Raw: answer.Body}
	DecodeStrictly(t, a.Raw, &a)
	if got := a.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("%s: Content-Type is %q", path, got)
	}
	if a.Data != nil && (a.Data.Images == nil || a.OpTime == nil) {
		t.Errorf("%s: an answer with data has images, never null, and op_time_us: %s", path, a.Raw)
	}
	return a
}

// DecodeStrictly decodes one JSON value that has no fields but those of into.
func DecodeStrictly(t testing.TB, data []byte, into any) {
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

// WantImages asks, and compares what comes with the entries that are wanted.
func WantImages[E any](t testing.TB, b *Berth, path, body string, want ...E) {
	t.Helper()
	a := AskImages(t, b, path, body)
	where := path + " " + body
	if a.Code != http.StatusOK || a.Status != "success" || a.Message != "" || a.Errors != nil || a.Data == nil {
		t.Errorf("%s: got %d %s", where, a.Code, a.Raw)
		return
	}
	if len(a.Data.Images) != len(want) {
		t.Errorf("%s: got %d images, want %d: %s", where, len(a.Data.Images), len(want), a.Raw)
		return
	}
	for i, raw := range a.Data.Images {
		SameEntry(t, fmt.Sprintf("%s: image %d", where, i), raw, want[i])
	}
}

// WantNoImage asks for one image that does not exist.
func WantNoImage(t testing.TB, b *Berth, path, body string) {
	t.Helper()
	a := AskImages(t, b, path, body)
	if a.Code != http.StatusNotFound || a.Status != "error" || len(a.Errors) != 1 || a.Errors[0].Status != 404 ||
		a.Message == "" || a.Data == nil || len(a.Data.Images) != 1 {
		t.Errorf("%s %s: want a 404 with one entry, got %d %s", path, body, a.Code, a.Raw)
		return
	}
	var missing EntryMissing
	DecodeStrictly(t, a.Data.Images[0], &missing)
	if missing.Status != "error" || missing.Error != 8 || missing.Message == "" ||
		missing.Digest+missing.Tag+missing.UUID == "" {
		t.Errorf("%s %s: got the entry %s", path, body, a.Data.Images[0])
	}
}

// SameEntry compares an entry field by field with what is wanted, both as JSON:
// a field that is there and should not be, or is null, is a difference too.
func SameEntry(t testing.TB, where string, raw json.RawMessage, want any) {
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

// UUIDOf computes an image's UUID by RFC 9562 alone: version 5, in the URL
// namespace, of the image's address.
func UUIDOf(repository, digest string) string {
	return uuidV5("6ba7b811-9dad-11d1-80b4-00c04fd430c8", "oci://"+repository+"@"+digest)
}

// AccountUUID is the UUID of an account, by RFC 9562 alone as in [UUIDOf].
func AccountUUID(name string) string {
	return uuidV5("6ba7b811-9dad-11d1-80b4-00c04fd430c8", "oci://"+name)
}

func uuidV5(namespace, name string) string {
	space := uuid.MustParse(namespace)
	sum := sha1.Sum(append(space[:], name...))
	sum[6] = sum[6]&0x0f | 0x50
	sum[8] = sum[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// ShortName is the name that users know a repository by.
func ShortName(repository string) string { return strings.TrimPrefix(repository, "official/") }
