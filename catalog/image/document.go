package image

import (
	"bytes"
	// Descriptors may use any digest that go-digest knows, and it knows only
	// those whose hash is linked in.
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/json"
	"errors"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	dockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	dockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// maxDescriptors bounds a list of descriptors. 4 MiB of JSON hold at most
// 50,000 that have a digest; what is beyond is filler such as [{},{},…], of
// which every three bytes would become a struct.
const maxDescriptors = 1 << 16

// kind is what a manifest is.
type kind int

const (
	// kindOther is nothing that berth understands: it may refer to manifests
	// and to blobs.
	kindOther kind = iota
	kindManifest
	kindIndex
)

// document is what a manifest or an index says, as far as berth needs it.
//
// It is decoded the way distribution decodes the same bytes when it checks
// that what a manifest refers to is there: encoding/json into a struct, which
// matches keys in any case and, of equal keys, decodes the later over the
// earlier one. With rules of our own, however much stricter, a manifest with
// both "layers" and "Layers" would mean one thing to the registry, which
// verifies, and another to the index, which counts and collects: a way to
// hide content from one of them.
type document struct {
	MediaType   string      `json:"mediaType"`
	Config      descriptor  `json:"config"`
	Layers      descriptors `json:"layers"`
	Manifests   descriptors `json:"manifests"`
	Annotations annotations `json:"annotations"`
	// Subject and ArtifactType make it a referrer (image specification 1.1).
	Subject      descriptor `json:"subject"`
	ArtifactType string     `json:"artifactType"`
}

// descriptor is a reference to content (OCI image specification, descriptor).
// Its size is left out: some tools write a wrong one.
type descriptor struct {
	MediaType   string        `json:"mediaType"`
	Digest      digest.Digest `json:"digest"`
	Annotations annotations   `json:"annotations"`
	Platform    platform      `json:"platform"`
}

type platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
}

// readDocument reads as much as can be understood; ok is false where the bytes
// are not a JSON object.
func readDocument(b []byte) (doc document, ok bool) {
	if !isObject(b) {
		return document{}, false
	}
	return doc, decode(b, &doc)
}

// decode reads JSON into v. A value of the wrong type leaves its field empty
// and the others readable: encoding/json goes on after such an error. It
// reports false if b is not JSON, and v is untouched then.
func decode(b []byte, v any) bool {
	err := json.Unmarshal(b, v)
	var wrongType *json.UnmarshalTypeError
	return err == nil || errors.As(err, &wrongType)
}

func isObject(b []byte) bool {
	b = bytes.TrimLeft(b, " \t\r\n")
	return len(b) > 0 && b[0] == '{'
}

// kind says what the document is, as distribution decides it when it reads a
// manifest from storage.
func (doc document) kind() kind {
	switch doc.MediaType {
	case v1.MediaTypeImageManifest, dockerManifest:
		return kindManifest
	case v1.MediaTypeImageIndex, dockerManifestList:
		return kindIndex
	case "":
		return doc.guess()
	}
	return kindOther
}

// guess says what a document without a media type is: an index if it has an
// array of manifests, even an empty one. With layers beside them it is neither,
// and distribution refuses it.
func (doc document) guess() kind {
	switch {
	case doc.Manifests == nil:
		return kindManifest
	case doc.Layers == nil && doc.Config == descriptor{}:
		return kindIndex
	}
	return kindOther
}

func (doc document) mediaType() string {
	if doc.MediaType != "" {
		return doc.MediaType
	}
	switch doc.kind() {
	case kindManifest:
		return v1.MediaTypeImageManifest
	case kindIndex:
		return v1.MediaTypeImageIndex
	case kindOther:
	}
	return ""
}

// descriptors is a list of them, nil where there is no array.
type descriptors []descriptor

// UnmarshalJSON does what encoding/json does with a slice, decoding over the
// elements that an earlier, equal key left, but for a bound on its length.
func (l *descriptors) UnmarshalJSON(b []byte) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	if start, err := dec.Token(); err != nil || start != json.Delim('[') {
		*l = nil
		return nil //nolint:nilerr // A wrong type is an empty list, and ends nothing else.
	}
	list := (*l)[:0:cap(*l)]
	for dec.More() && len(list) < maxDescriptors {
		if n := len(list); n < len(*l) {
			list = (*l)[:n+1]
		} else {
			list = append(list, descriptor{})
		}
		// The syntax has been checked: it can only be a wrong type, whose
		// field stays empty.
		_ = dec.Decode(&list[len(list)-1])
	}
	if list == nil {
		list = descriptors{}
	}
	*l = list
	return nil
}

// valid leaves out what has no digest that anything could be stored under.
func (l descriptors) valid() descriptors {
	var valid descriptors
	for _, desc := range l {
		if desc.Digest.Validate() == nil {
			valid = append(valid, desc)
		}
	}
	return valid
}

// digests are the valid digests, each once, in order.
func (l descriptors) digests() []digest.Digest {
	var digests []digest.Digest
	seen := make(map[digest.Digest]bool)
	for _, desc := range l {
		if !seen[desc.Digest] && desc.Digest.Validate() == nil {
			seen[desc.Digest] = true
			digests = append(digests, desc.Digest)
		}
	}
	return digests
}

// annotations holds those that berth reads. A map of all would cost ten times
// their JSON in memory.
type annotations struct {
	created string
	// marks are the parts that the annotations of a layer claim it holds.
	marks Parts
	debug bool
}

// UnmarshalJSON never fails; what is not a string is no annotation.
func (a *annotations) UnmarshalJSON(b []byte) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	if start, err := dec.Token(); err != nil || start != json.Delim('{') {
		return nil //nolint:nilerr // A wrong type means no annotations, and ends nothing else.
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil //nolint:nilerr // As above.
		}
		var value *string
		if err := dec.Decode(&value); err == nil && value != nil {
			a.set(key, *value)
		}
	}
	return nil
}

func (a *annotations) set(key json.Token, value string) {
	switch key {
	case "org.unikraft.kernel.image":
		a.marks |= PartKernel
	case "org.unikraft.kernel.initrd":
		a.marks |= PartInitrd
	case "org.unikraft.kernel.imagedbg":
		a.debug = true
	case v1.AnnotationCreated:
		a.created = value
	}
}
