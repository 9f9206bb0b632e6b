package index

import (
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/storage/reference"
)

// Entry is one image of one repository, as the images API lists it. It is not
// changed: entries that were read together may share what they are made of.
type Entry struct {
	// Repository is the long form of the name: user/app, official/app.
	Repository string
	// Digest is what a tag points to: an index or a manifest.
	Digest digest.Digest
	// Aliases are other digests of the same bytes, under which it was pushed.
	Aliases []digest.Digest
	// Tags are the tags that point to Digest now, sorted.
	Tags  []string
	Image image.Image
}

// Name is the name by which the image is known: the repository, less official/.
func (e Entry) Name() string { return reference.Short(e.Repository) }

// Has reports whether a digest is the image's, or another one of its bytes.
func (e Entry) Has(dgst digest.Digest) bool {
	return e.Digest == dgst || slices.Contains(e.Aliases, dgst)
}

// UUID identifies the image: it is the same after a rebuild and on another node.
func (e Entry) UUID() uuid.UUID { return ImageUUID(e.Repository, e.Digest) }

// ImageUUID is the version 5 UUID, in the URL namespace of RFC 9562, of
// oci://<repository>@<digest>, the repository in its long form.
func ImageUUID(repository string, dgst digest.Digest) uuid.UUID {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("oci://"+repository+"@"+dgst.String()))
}

// Query says which entries a list holds, and in which order.
type Query struct {
	// Within limits the list to namespaces: alice holds all of alice/…,
	// alice/app that repository and what lies below it (not alice/app2).
	// Nil means everything.
	Within []string
	// Tagged leaves out entries without a tag.
	Tagged bool
	// ByTime orders by creation time, ties broken by UUID. Otherwise the order
	// is by name (see [Entry.Name]), newest first among equal names.
	ByTime bool
	// Descending turns the order by time around.
	Descending bool
	// From, with ByTime, is where the list starts; it is included.
	From *Position
	// Brief leaves Env and Platforms out of the images, which are most of what
	// they take.
	Brief bool
}

// Within reports whether a repository lies in one of the namespaces, as
// [Query.Within] has it; nil stands for everything.
func Within(namespaces []string, repository string) bool {
	return namespaces == nil || slices.ContainsFunc(namespaces, func(ns string) bool {
		below, found := strings.CutPrefix(repository, ns)
		return found && (below == "" || below[0] == '/')
	})
}

// Position is a place in the order by time. A zero UUID stands before all
// images of the same Time.
type Position struct {
	Time time.Time
	UUID uuid.UUID
}

// Cursor says how far a list has been read; the empty one is its beginning.
// It is opaque, and only good for the query that it came from.
type Cursor string
