package storage

import (
	"time"

	"github.com/opencontainers/go-digest"
)

// Uptime is the time by which it is measured how long something has been idle:
// for how long the index has been open since it was built, over all processes
// that had it. It goes on where the last process has left it, or a little before
// that, and by the monotonic clock: setting a clock does not change it, nor does
// time in which nobody could have asked.
type Uptime time.Duration

// IdleKind says what is idle.
type IdleKind string

// What can be idle.
const (
	// IdleLink is the link of a repository to a blob that no manifest of it refers
	// to.
	IdleLink IdleKind = "link"
	// IdleManifest is a manifest that was left behind when what it lived by was deleted.
	IdleManifest IdleKind = "manifest"
	// IdleBytes are stored bytes that no repository links or has as a manifest.
	IdleBytes IdleKind = "bytes"
	// IdleKept are such bytes in the collector's quarantine.
	IdleKept IdleKind = "kept"
)

// Idle is something that nothing refers to.
type Idle struct {
	Kind IdleKind
	// Repository has the link or the manifest, Namespace had the bytes last; it is
	// empty for bytes of which that is not known.
	Repository, Namespace string
	Digest                digest.Digest
	Size                  int64 // in bytes; of a manifest 0
	Since                 Uptime
	// Aliased is set of a link if the repository has links by other digests than
	// the canonical ones: one of them may need it.
	Aliased bool
	// Position is where to go on after it.
	Position string
}
