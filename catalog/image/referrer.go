package image

import (
	"bytes"
	"encoding/json"
	"errors"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// What a list of referrers shows of one: a manifest with more annotations, or
// with more bytes of them as JSON, is listed without any. They are still in the
// manifest itself.
const (
	MaxAnnotations     = 4096
	MaxAnnotationBytes = 2 << 20
	// maxType bounds an artifact type, which RFC 6838 bounds by 255.
	maxType = 1024
)

// Referrer is a manifest that has a subject, as the list of referrers shows it
// (OCI distribution specification, "Listing Referrers").
type Referrer struct {
	MediaType    string        `json:"mediaType"`
	Digest       digest.Digest `json:"digest"`
	Size         int64         `json:"size"` // in bytes
	ArtifactType string        `json:"artifactType,omitempty"`
	// Annotations are a JSON object of strings, nil for none. As a map they
	// would take many times as much memory.
	Annotations json.RawMessage `json:"annotations,omitempty"`
}

// tooMany reports whether annotations are more than a list shows. They are JSON
// objects one after the other, whose syntax has been checked.
func tooMany(raw []byte) bool {
	if len(raw) > MaxAnnotationBytes {
		return true
	}
	n := 0
	for raw = bytes.Trim(raw, blanks); len(raw) > 0 && n <= MaxAnnotations; raw = bytes.TrimLeft(raw, blanks) {
		end := valueEnd(raw, 0)
		n += countMembers(raw[:end], MaxAnnotations)
		raw = raw[end:]
	}
	return n > MaxAnnotations
}

// Listed is a manifest as an index lists it, with all that its descriptor says.
type Listed struct {
	v1.Descriptor
	// Annotations take the place of the descriptor's: see [Referrer].
	Annotations listedAnnotations `json:"annotations,omitempty"`
}

// Descriptors are the manifests that the bytes of an index list, up to
// [MaxDescriptors], without annotations that are more than a list of referrers
// shows; nil if the bytes are not what the image specification calls an index.
func Descriptors(body []byte) []Listed {
	var index struct {
		Manifests listed `json:"manifests"`
	}
	if json.Unmarshal(body, &index) != nil {
		return nil
	}
	return index.Manifests
}

type listed []Listed

// UnmarshalJSON fails if anything has the wrong type.
func (l *listed) UnmarshalJSON(b []byte) error {
	kept, _ := truncate(b, MaxDescriptors)
	return json.Unmarshal(kept, (*[]Listed)(l))
}

type listedAnnotations json.RawMessage

var errNotStrings = errors.New("annotations are not an object of strings")

// UnmarshalJSON fails if they are no object of strings.
func (l *listedAnnotations) UnmarshalJSON(b []byte) error {
	*l = nil
	if b[0] == 'n' {
		return nil
	}
	if b[0] != '{' {
		return errNotStrings
	}
	for _, value := range members(b) {
		if value[0] != '"' && value[0] != 'n' {
			return errNotStrings
		}
	}
	if !tooMany(b) {
		*l = append(*l, b...) // encoding/json may use b again
	}
	return nil
}

// MarshalJSON never fails.
func (l listedAnnotations) MarshalJSON() ([]byte, error) { return l, nil }
