package image

import (
	// Descriptors may use any digest that go-digest knows, and it knows only
	// those whose hash is linked in.
	_ "crypto/sha256"
	_ "crypto/sha512"
	"strconv"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berth-oci/berth/storage"
)

const (
	dockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	dockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// MaxDescriptors is how many layers, or manifests of an index, are read of a
// manifest, and how many one may have that is pushed. Of a small manifest of a
// million empty ones, every three bytes would become a struct, and distribution
// reports each as an error of its own.
const MaxDescriptors = 16384

// Document is what a manifest or an index says, as far as berth needs it. It
// keeps nothing of the bytes that it was read from.
type Document struct {
	// Stated is the media type that the manifest gives itself, "" for none.
	Stated string
	Config Descriptor
	// Layers and Manifests are nil where there is no array.
	Layers    []Descriptor
	Manifests []Descriptor
	// Subject is what the manifest refers to as an artifact, "" for nothing
	// that could be stored (image specification 1.1).
	Subject digest.Digest

	artifactType string
	created      string // the annotation
	annotations  []byte // their JSON: see annotations
	// named reports whether there is something called manifests, array or not.
	named bool
	// object reports whether it was read from a JSON object.
	object bool
}

// Descriptor is a reference to content (OCI image specification, descriptor).
// Its size is left out: some tools write a wrong one.
type Descriptor struct {
	MediaType string        `json:"mediaType"`
	Digest    digest.Digest `json:"digest"` // as it stands: perhaps invalid
	Marks     Marks         `json:"annotations"`
	Machine   Machine       `json:"platform"`
}

// Machine is what a descriptor says that its manifest runs on.
type Machine struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
}

// What a client is told of a body that is no manifest.
var (
	errNoManifest error = &storage.Error{Code: storage.Invalid,
		Message: "the manifest is not a JSON object of the form that the image specification gives it"}
	errTooManyDescriptors error = &storage.Error{Code: storage.Invalid,
		Message: "a manifest may have " + strconv.Itoa(MaxDescriptors) + " layers or manifests at most"}
	errSchemaVersion error = &storage.Error{Code: storage.Invalid, Message: "the manifest's schemaVersion is not 2"}
)

// Parse reads a manifest that is being pushed, and refuses what distribution
// would take for a fault of its own, or choke on: the error is then a
// [storage.Error] with code [storage.Invalid] and a message for the client. A
// field of the wrong type is empty, as with [Read]; distribution refuses it.
func Parse(body []byte) (Document, error) {
	var f rawDocument
	switch ok := isObject(body) && decode(body, &f); {
	case !ok:
		return Document{}, errNoManifest
	case f.Layers.tooMany || f.Manifests.tooMany:
		return Document{}, errTooManyDescriptors
	case !bool(f.SchemaVersion):
		return Document{}, errSchemaVersion
	}
	return f.document(), nil
}

// Read reads as much of stored bytes as can be understood, whoever wrote them:
// what is wrong, or beyond [MaxDescriptors], is left out.
func Read(body []byte) Document {
	var f rawDocument
	if !isObject(body) || !decode(body, &f) {
		return Document{}
	}
	return f.document()
}

// MediaType is [Document.MediaType] of stored bytes, without reading the rest
// of them into memory.
func MediaType(body []byte) string {
	var f struct {
		MediaType string     `json:"mediaType"`
		Config    Descriptor `json:"config"`
		Layers    outline    `json:"layers"`
		Manifests outline    `json:"manifests"`
	}
	if !isObject(body) || !decode(body, &f) {
		return ""
	}
	return Document{
		Stated: f.MediaType, Config: f.Config, Layers: f.Layers.array, Manifests: f.Manifests.array,
		named: f.Manifests.present, object: true,
	}.MediaType()
}

// MediaType is the media type under which the manifest is served: what it
// states, else what its form says. It is "" where that says nothing.
func (d Document) MediaType() string {
	switch {
	case !d.object:
		return ""
	case d.Stated != "":
		return d.Stated
	}
	switch d.kind() {
	case kindManifest:
		return v1.MediaTypeImageManifest
	case kindIndex:
		return v1.MediaTypeImageIndex
	case kindOther:
	}
	return ""
}

// Blobs are the config, whether there is one or not, and the layers.
func (d Document) Blobs() []Descriptor {
	blobs := make([]Descriptor, 0, 1+len(d.Layers))
	return append(append(blobs, d.Config), d.Layers...)
}

// BlobDigests are the valid digests of the Blobs, each once, in order.
func (d Document) BlobDigests() []digest.Digest { return digests(d.Blobs()) }

// Referrer is what the list of referrers shows of a manifest that has a
// subject. An artifact without a type has that of its config ("Listing
// Referrers" in the distribution specification). Annotations beyond
// [MaxAnnotations] or [MaxAnnotationBytes] are left out, all of them, and so is
// a type of more than 1,024 bytes. The map is made by each call.
func (d Document) Referrer() (artifactType string, annotations map[string]string) {
	if artifactType = d.artifactType; artifactType == "" {
		artifactType = d.Config.MediaType
	}
	if len(artifactType) > maxType {
		artifactType = ""
	}
	return artifactType, annotationsOf(d.annotations)
}

// kind is what a manifest is.
type kind int

const (
	// kindOther is nothing that berth understands: it may refer to manifests
	// and to blobs.
	kindOther kind = iota
	kindManifest
	kindIndex
)

// kind says what the document is, as distribution decides it when it reads a
// manifest from storage.
func (d Document) kind() kind {
	switch d.Stated {
	case v1.MediaTypeImageManifest, dockerManifest:
		return kindManifest
	case v1.MediaTypeImageIndex, dockerManifestList:
		return kindIndex
	case "":
		return d.guess()
	}
	return kindOther
}

// guess says what a document without a media type is: an index if it has an
// array of manifests, even an empty one. With layers beside them it is neither,
// and distribution refuses it. Programs write null for an empty array: that
// makes an index of what has nothing else.
func (d Document) guess() kind {
	bare := d.Layers == nil && d.Config == Descriptor{}
	switch {
	case d.named && bare:
		return kindIndex
	case d.Manifests == nil:
		return kindManifest
	}
	return kindOther
}

// valid leaves out what has no digest that anything could be stored under.
func valid(list []Descriptor) []Descriptor {
	var valid []Descriptor
	for _, desc := range list {
		if desc.Digest.Validate() == nil {
			valid = append(valid, desc)
		}
	}
	return valid
}

// digests are the valid digests, each once, in order.
func digests(list []Descriptor) []digest.Digest {
	var digests []digest.Digest
	seen := make(map[digest.Digest]bool)
	for _, desc := range list {
		if !seen[desc.Digest] && desc.Digest.Validate() == nil {
			seen[desc.Digest] = true
			digests = append(digests, desc.Digest)
		}
	}
	return digests
}
