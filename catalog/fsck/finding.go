// Package fsck compares storage and index, in both directions, and mends what it
// can. It knows an index by its interface alone: what a repository should look
// like there, it learns from another index, made of storage.
//
// A check reads, and changes nothing. A repair mends links, moves what nobody can
// mend into quarantine, and has the index made anew where it is wrong; it deletes
// nothing that is stored. Both work while the registry is in use: what looks
// wrong is looked at again while nobody else changes the repository.
package fsck

import (
	"cmp"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage"
)

// Kind says what is wrong.
type Kind string

// Kinds of findings. Those of the index are mended by reading storage again.
const (
	// LinkDamaged: a link in storage says nothing that can be.
	LinkDamaged = Kind(storage.FlawLink)
	// TagDangling: a tag in storage points to a manifest that is not there.
	TagDangling = Kind(storage.FlawTag)
	// BytesMissing: bytes that a repository links are not stored.
	BytesMissing = Kind(storage.FlawMissing)
	// BytesDamaged: what is stored under a digest does not have it.
	BytesDamaged Kind = "bytes_damaged"
	// Quarantined: bytes are missing because they are in quarantine.
	Quarantined Kind = "bytes_quarantined"
	// Unlinked: bytes that no repository links. They are for the collector.
	Unlinked Kind = "bytes_unlinked"

	IndexTag       Kind = "index_tag"       // a tag is there in one alone, or points elsewhere, or was set at another time
	IndexManifest  Kind = "index_manifest"  // a manifest is there in one alone
	IndexAlias     Kind = "index_alias"     // so is another digest of one
	IndexLink      Kind = "index_link"      // so is a blob, or its size differs
	IndexChildren  Kind = "index_children"  // what an index holds, or what holds a manifest
	IndexReference Kind = "index_reference" // which manifests refer to a blob
	IndexReferrer  Kind = "index_referrer"  // which manifests have a subject
	IndexImage     Kind = "index_image"     // what an image is, its times included
	IndexList      Kind = "index_list"      // which images are listed
	IndexCount     Kind = "index_count"     // how many there are
	IndexQuota     Kind = "index_quota"     // what counts against a quota
)

// Finding is one thing that is wrong.
type Finding struct {
	Kind       Kind          `json:"kind"`
	Repository string        `json:"repository,omitempty"` // or namespace, of a quota
	Digest     digest.Digest `json:"digest,omitempty"`
	Tag        string        `json:"tag,omitempty"`
	Detail     string        `json:"detail,omitempty"`
	// Done is what was done about it: "mended", "quarantined", or nothing.
	Done string `json:"done,omitempty"`
}

// What may have been done about a finding.
const (
	mended      = "mended"
	quarantined = "quarantined"
)

// InIndex reports whether what is wrong is the index alone.
func (f Finding) InIndex() bool { return len(f.Kind) > 6 && f.Kind[:6] == "index_" }

// Harmless reports whether nobody misses anything.
func (f Finding) Harmless() bool { return f.Kind == Unlinked }

func (f Finding) same(other Finding) bool { return f.order(other) == 0 }

func (f Finding) order(other Finding) int {
	return cmp.Or(cmp.Compare(f.Repository, other.Repository), cmp.Compare(f.Kind, other.Kind),
		cmp.Compare(f.Digest, other.Digest), cmp.Compare(f.Tag, other.Tag), cmp.Compare(f.Detail, other.Detail))
}

// both are the findings that are in both lists.
func both(a, b []Finding) []Finding {
	return slices.DeleteFunc(slices.Clone(a), func(f Finding) bool { return !slices.ContainsFunc(b, f.same) })
}

// Summary counts what was found.
type Summary struct {
	Repositories int          `json:"repositories"`
	Manifests    int          `json:"manifests"`
	Blobs        int          `json:"blobs"`
	Bytes        int64        `json:"bytes"` // that were read of blobs
	Kinds        map[Kind]int `json:"kinds"`
	Index        int          `json:"left_in_index"`   // findings that are not mended
	Storage      int          `json:"left_in_storage"` // findings that only a push mends
}

// count adds a finding.
func (s *Summary) count(f Finding) {
	s.Kinds[f.Kind]++
	switch {
	case f.Harmless() || f.Done == mended:
	case f.InIndex():
		s.Index++
	default:
		s.Storage++
	}
}
