package index

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage"
)

// Uptime, Idle and IdleKind are those of storage.
type (
	Uptime   = storage.Uptime
	Idle     = storage.Idle
	IdleKind = storage.IdleKind
)

// What can be idle.
const (
	IdleLink     = storage.IdleLink
	IdleManifest = storage.IdleManifest
	IdleBytes    = storage.IdleBytes
	IdleKept     = storage.IdleKept
)

// Idler knows since when what nothing refers to has been idle. That is set in the
// transaction in which the last reference goes, or the link arrives; of what is
// stored when an index is built, at that time.
type Idler interface {
	// Uptime is the time now. Tick writes it down, so that a process that is killed
	// loses no more of it than passed since.
	Uptime() Uptime
	Tick(ctx context.Context) error
	// IdleBefore returns what of a kind has been idle since before a time, the
	// longest first, after a position, "" for all, and at most n.
	IdleBefore(ctx context.Context, kind IdleKind, before Uptime, after string, n int) ([]Idle, error)
	// IsIdle reports whether a manifest of the repository is idle since before a
	// time.
	IsIdle(ctx context.Context, repository string, manifest digest.Digest, before Uptime) (bool, error)
	// Renew begins anew how long a link or a manifest of the repository has been
	// idle, unless it has been renewed a moment ago. Of what is not idle nothing is
	// written, nor of what is not there.
	Renew(ctx context.Context, repository string, d digest.Digest) error
	// UnlinkIdle takes links off a repository that are idle since before a time, and
	// returns which. Bytes that are then without a link have been idle for as long.
	// It refuses a lease that is no longer the repository's with ErrStaleLease.
	UnlinkIdle(ctx context.Context, l Lease, links []digest.Digest, before Uptime) ([]digest.Digest, error)
	// Loose returns which of some bytes have been idle since before a time, whoever
	// had them, and which of them a repository holds, which are not. With kept, it is
	// about those in quarantine, whether there are others that are held or not.
	Loose(ctx context.Context, bytes []digest.Digest, before Uptime, kept bool) (loose, held []digest.Digest, err error)
	// Dispose notes what has become of idle bytes: with kept that they are in
	// quarantine from now on, else that they are not stored any more, or not idle.
	// Those that a repository holds are returned; they are noted as not idle.
	Dispose(ctx context.Context, bytes []digest.Digest, kept bool) (held []digest.Digest, err error)
	// Emptied notes that bytes are no longer in quarantine that came to it before a
	// time.
	Emptied(ctx context.Context, bytes []digest.Digest, before Uptime) error
	// Strays returns those of the stored bytes that nobody holds and that are not
	// noted; with kept, of those in quarantine.
	Strays(ctx context.Context, stored []digest.Digest, kept bool) ([]digest.Digest, error)
	// Adopt notes bytes, with their sizes, that are strays as idle, or kept, from now
	// on.
	Adopt(ctx context.Context, strays map[digest.Digest]int64, kept bool) error
	// Left reports whether bytes are noted as idle, or kept, that the namespace had
	// last: a late reference of it may have them back.
	Left(ctx context.Context, namespace string, d digest.Digest) (bool, error)
	// Kept is what is in quarantine, in bytes.
	Kept(ctx context.Context) (int64, error)
}
