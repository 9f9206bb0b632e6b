package index

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage"
)

// Feed is the log of changes: one record for each change of a repository, written
// with the change itself. Its methods are called concurrently.
type Feed interface {
	// Last returns the last revision that has been given out. All changes up to it
	// are visible, and survive a power cut. It costs nothing.
	Last() Revision
	// Grown returns a channel that is closed as soon as Last is another one than r;
	// it may be closed already.
	Grown(r Revision) <-chan struct{}
	// Changes returns the changes after a revision, exclusive, in order, at most n,
	// and no more once they come to [BatchBytes]; none only if there is none. It
	// costs what it returns. It returns ErrRevision if what comes after the revision
	// is kept no longer, or if it is of another start, or has not been given out.
	Changes(ctx context.Context, after Revision, n int) ([]Change, error)
	// Listed returns those of some images of a repository, by their canonical
	// digests, that are entries of the list now, in that order, all of one instant.
	Listed(ctx context.Context, repository string, digests []digest.Digest) ([]Entry, error)
	// History returns the changes of a repository before a revision, exclusive, the
	// latest first, at most n, as far as they are kept; the zero revision stands for
	// the end. next is where to go on before, zero at the end.
	History(ctx context.Context, repository string, before Revision, n int) (changes []Change, next Revision, err error)
	// Pushed returns who has pushed a tag last, and when, as far as that is known:
	// an index that was built from storage does not know it of what was there.
	// ErrNotFound says that it does not.
	Pushed(ctx context.Context, repository, tag string) (Push, error)
	// AddPulls adds to how often images have been pulled, and when last; those that
	// are gone are left out.
	AddPulls(ctx context.Context, pulls []Pulls) error
	// Pulls returns how often a manifest has been pulled, by any of its digests, as
	// far as that has been added; never is a count of 0. It is forgotten with the
	// manifest.
	Pulls(ctx context.Context, repository string, dgst digest.Digest) (Pulls, error)
	// Trim forgets the oldest changes: those before a time, and what is more than
	// keep, but no more than n at once. more reports whether there are others.
	Trim(ctx context.Context, keep int64, before time.Time, n int) (more bool, err error)
}

// ErrRevision is returned for a revision that cannot be gone on from: what was
// there has to be listed again.
var ErrRevision error = &storage.Error{Code: storage.Conflict, Message: "the changes after this revision are not kept"}

// Revision numbers a change: N grows by one with each, in the order in which they
// became visible, from one Start on. An index that is made anew makes another
// random start, so that a revision never stands for two changes.
type Revision struct{ Start, N uint64 }

// String is the form in which clients see a revision.
func (r Revision) String() string {
	return fmt.Sprintf("%016x.%d", r.Start, r.N)
}

// errNoRevision is what is wrong with a text that is no revision.
var errNoRevision = errors.New("want a revision as berth has given it out, like 8c1f0a5e93b7d264.1042")

// ParseRevision reads what String returns, and nothing else.
func ParseRevision(text string) (Revision, error) {
	start, n, _ := strings.Cut(text, ".")
	var r Revision
	var err error
	if r.Start, err = strconv.ParseUint(start, 16, 64); err != nil {
		return Revision{}, errNoRevision
	}
	if r.N, err = strconv.ParseUint(n, 10, 64); err != nil || r.String() != text {
		return Revision{}, errNoRevision
	}
	return r, nil
}

// ChangeType says what happened to a repository.
type ChangeType string

const (
	// Pushed: a manifest came, with all its tags.
	Pushed ChangeType = "push"
	// Tagged: tags were set to a manifest that was there, also to the one that they
	// pointed to.
	Tagged ChangeType = "tag"
	// Untagged: tags were deleted.
	Untagged ChangeType = "untag"
	// Deleted: manifests were deleted, with their tags.
	Deleted ChangeType = "delete"
	// Changed: entries of the list are other ones, or there or not there, for
	// another reason: content came late or went, or the index was repaired.
	Changed ChangeType = "change"
)

// ChangeTypes are all of them.
var ChangeTypes = []ChangeType{Pushed, Tagged, Untagged, Deleted, Changed}

// Change is one change of one repository.
type Change struct {
	Revision   Revision
	Type       ChangeType
	Time       time.Time // to the microsecond
	Repository string
	// Digest is the manifest that was pushed, tagged or deleted by name, by its
	// canonical digest; "" for none.
	Digest digest.Digest
	Tags   []TagChange // sorted by name
	// By is the account that asked for it, "" for none, or where that is not known.
	By string
	// Entries are the entries of the list that were made, touched or taken away, by
	// their digests, sorted: each may be there or not by now.
	Entries []digest.Digest
}

// TagChange is what happened to a tag.
type TagChange struct {
	Name string
	// Digest is where it points since, "" if it is gone; Previous where it pointed
	// before, "" if it is new. Both are as they were pushed.
	Digest, Previous digest.Digest
}

// Push is who has pushed, and when.
type Push struct {
	By   string // the account, "" for none
	Time time.Time
}

// Pulls is how often an image has been pulled.
type Pulls struct {
	Repository string
	Digest     digest.Digest
	Count      int64
	Last       time.Time // of which the day is kept, in UTC
}
