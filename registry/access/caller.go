package access

import (
	"slices"
	"time"

	"github.com/berth-oci/berth/storage/reference"
)

// Caller is who a request comes from, with the rights of that moment: a change
// of the accounts holds for the requests that come after it. The zero value is
// an anonymous caller who may do nothing.
type Caller struct {
	// account is nil for an anonymous caller and in an open registry.
	account *member
	// token is the one that was used, of the account.
	token *Token
	open  bool
	// official lets an anonymous caller read the official images.
	official bool
	// public is what an anonymous caller may read besides, nil for nothing.
	public *published
	// ends is when the credentials do, zero for never.
	ends time.Time
}

// Everyone is the caller of an open registry: it may do everything.
func Everyone() Caller { return Caller{open: true} }

// Name is the account's, "" for an anonymous caller and in an open registry.
func (c Caller) Name() string {
	if c.account == nil {
		return ""
	}
	return c.account.Name
}

// Label is that of the token that was used, "" if none was.
func (c Caller) Label() string {
	if c.token == nil {
		return ""
	}
	return c.token.Label
}

// Ends is when the credentials that were sent end by themselves, zero for never.
func (c Caller) Ends() time.Time { return c.ends }

// sees reports whether two callers are the same one and may read the same.
func (c Caller) sees(other Caller) bool {
	mine, others := c.Readable(), other.Readable()
	return c.Name() == other.Name() && c.open == other.open && c.Admin() == other.Admin() &&
		(mine == nil) == (others == nil) && slices.Equal(mine, others)
}

// Admin reports whether the account is an administrator, who sees whom an image
// belongs to and who may pull it. In an open registry nobody is.
func (c Caller) Admin() bool { return c.account != nil && c.account.Admin }

// Open reports whether the registry is open, so that who asks does not matter.
func (c Caller) Open() bool { return c.open }

// Anonymous reports whether the registry has accounts and the caller is none of
// them.
func (c Caller) Anonymous() bool { return c.account == nil && !c.open }

// MayList reports whether lists of images and repositories are for the caller: an
// anonymous one has them where something is published.
func (c Caller) MayList() bool { return !c.Anonymous() || c.public != nil }

// ReadOnly reports whether the token that was used is marked so: then nothing may
// be written, whatever the account may do.
func (c Caller) ReadOnly() bool { return c.token != nil && c.token.ReadOnly }

// MayRead reports whether the caller may read a repository, or all that lies below
// a namespace. The name must be a well-formed one, in long form.
func (c Caller) MayRead(repository string) bool {
	switch {
	case c.open:
		return true
	case c.account == nil:
		return c.official && officialOnly.covers(repository) || c.public.covers(repository)
	default:
		return c.account.Admin || c.account.reads.covers(repository)
	}
}

// MayWrite reports whether the caller may write to a repository, or to all that
// lies below a namespace. The name must be a well-formed one, in long form.
func (c Caller) MayWrite(repository string) bool {
	switch {
	case c.open:
		return true
	case c.account == nil || c.ReadOnly():
		return false
	default:
		return c.account.Admin || c.account.writes.covers(repository)
	}
}

// Readable are the namespaces and repositories that the caller may read, each
// with all that lies below it: sorted, and none lies below another. Nil means
// everything, an empty slice nothing.
func (c Caller) Readable() []string {
	switch {
	case c.open || c.Admin():
		return nil
	case c.account != nil:
		return slices.Clone(c.account.readable)
	case c.public != nil && c.official:
		return slices.Clone(c.public.withOfficial)
	case c.public != nil:
		return slices.Clone(c.public.readable)
	case c.official:
		return []string{reference.Official}
	default:
		return []string{}
	}
}
