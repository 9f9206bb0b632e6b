package image

import (
	"bytes"
	"encoding/json"
	"errors"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// rawDocument is the JSON of a [Document].
//
// It is decoded the way distribution decodes the same bytes when it checks
// that what a manifest refers to is there: encoding/json into a struct, which
// matches keys in any case and, of equal keys, decodes the later over the
// earlier one. With rules of our own, however much stricter, a manifest with
// both "layers" and "Layers" would mean one thing to the registry, which
// verifies, and another to the index, which counts and collects: a way to
// hide content from one of them.
type rawDocument struct {
	SchemaVersion two         `json:"schemaVersion"`
	MediaType     string      `json:"mediaType"`
	Config        Descriptor  `json:"config"`
	Layers        descriptors `json:"layers"`
	Manifests     descriptors `json:"manifests"`
	Annotations   annotations `json:"annotations"`
	Subject       Descriptor  `json:"subject"`
	ArtifactType  string      `json:"artifactType"`
}

func (f *rawDocument) document() Document {
	doc := Document{
		Stated:       f.MediaType,
		Config:       f.Config,
		Layers:       f.Layers.list,
		Manifests:    f.Manifests.list,
		artifactType: f.ArtifactType,
		created:      f.Annotations.created,
		annotations:  f.Annotations.raw,
		named:        f.Manifests.present,
		object:       true,
	}
	if f.Subject.Digest.Validate() == nil {
		doc.Subject = f.Subject.Digest
	}
	return doc
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

// two reports whether a number is the 2 that schemaVersion has to be.
type two bool

// UnmarshalJSON never fails.
func (t *two) UnmarshalJSON(b []byte) error {
	*t = string(b) == "2"
	return nil
}

// descriptors is a list of them, nil where there is no array.
type descriptors struct {
	list    []Descriptor
	present bool // array or not
	tooMany bool // also of an earlier, equal key
}

// UnmarshalJSON never fails: what is wrong stays empty.
func (d *descriptors) UnmarshalJSON(b []byte) error {
	kept, more := truncate(b, MaxDescriptors)
	d.present, d.tooMany = true, d.tooMany || more
	if b[0] != '[' {
		d.list = nil
		return nil
	}
	// The syntax has been checked: it can only be a wrong type, whose field
	// stays empty.
	_ = json.Unmarshal(kept, &d.list)
	return nil
}

// outline is whether there is a list, and whether it is an array: empty, but
// not nil, if it is.
type outline struct {
	array   []Descriptor
	present bool
}

// UnmarshalJSON never fails.
func (o *outline) UnmarshalJSON(b []byte) error {
	o.array, o.present = nil, true
	if b[0] == '[' {
		o.array = []Descriptor{}
	}
	return nil
}

// Marks are the annotations that berth reads of a descriptor. A map of all would
// cost ten times their JSON in memory.
type Marks struct {
	created string
	// parts are those that the annotations of a layer claim it holds.
	parts Parts
	debug bool
}

// UnmarshalJSON never fails; what is not a string is no annotation.
func (m *Marks) UnmarshalJSON(b []byte) error {
	for key, value := range members(b) {
		if value[0] == '"' {
			m.set(key, value)
		}
	}
	return nil
}

func (m *Marks) set(key, value []byte) {
	switch string(key) {
	case "org.unikraft.kernel.image":
		m.parts |= PartKernel
	case "org.unikraft.kernel.initrd":
		m.parts |= PartInitrd
	case "org.unikraft.kernel.imagedbg":
		m.debug = true
	case v1.AnnotationCreated:
		m.created = unquote(value)
	}
}

// annotations are those of a manifest. All of them are needed only of a
// referrer: until then they are JSON, that of equal keys one after the other.
type annotations struct {
	Marks
	raw []byte
}

// UnmarshalJSON never fails.
func (a *annotations) UnmarshalJSON(b []byte) error {
	if b[0] == '{' || b[0] == 'n' {
		a.raw = append(append(a.raw, b...), ' ') // encoding/json may use b again
	}
	return a.Marks.UnmarshalJSON(b)
}

// annotationsOf makes the map that encoding/json makes of them, nil of more
// than a list of referrers shows.
func annotationsOf(raw []byte) (all map[string]string) {
	if tooMany(raw) {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	for {
		// A value of the wrong type is empty.
		var wrongType *json.UnmarshalTypeError
		if err := dec.Decode(&all); err != nil && !errors.As(err, &wrongType) {
			return all // io.EOF: the syntax has been checked
		}
	}
}
