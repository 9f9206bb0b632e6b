// Package reference is the one grammar of what images are called: the names of
// repositories, tags, digests, and references made of them.
//
//	reference  = [ host "/" ] name [ ":" tag ] [ "@" digest ]
//	name       = component { "/" component }, at most 255 characters
//	component  = alnum { separator alnum }; alnum is a-z 0-9,
//	             separator one of . _ __ or any number of -
//	tag        = 1 to 128 of A-Z a-z 0-9 _ . -, the first no . or -
//	digest     = ( "sha256" | "sha384" | "sha512" ) ":" lower-case hexadecimal
//
// It is that of the OCI distribution specification ("Pulling manifests"), as
// the libraries github.com/distribution/reference and
// github.com/opencontainers/go-digest read it. A name never has a host in
// front: where one may stand, it is taken off first ([Parse], [CutHost]).
package reference

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	// The algorithms that a digest may name; go-digest only knows those that
	// are linked in.
	_ "crypto/sha256"
	_ "crypto/sha512"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// MaxName is how long the name of a repository may be, in characters.
const MaxName = reference.RepositoryNameTotalLengthMax

// Latest is the tag that is meant where none is given.
const Latest = "latest"

// What is wrong with a reference.
var (
	ErrName   = errors.New("malformed name of a repository")
	ErrTag    = errors.New("malformed tag")
	ErrDigest = errors.New("malformed digest")
)

// IsName reports whether a repository can have the name. A name with a host in
// front is none.
func IsName(name string) bool {
	if len(name) > MaxName {
		return false
	}
	if isPlain(name) {
		return true
	}
	// The library takes a host for the first part of a name, with capitals and
	// a port. Behind one, there is only the plain name.
	_, err := reference.WithName("host:1/" + name)
	return err == nil
}

// isPlain reports whether a name is made of small letters and digits with single
// separators in between, as almost all are: that it is a name is then clear
// without the regular expression.
func isPlain(name string) bool {
	between := true // the next must be a letter or a digit
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
			between = false
		case between || c != '/' && c != '-' && c != '.' && c != '_':
			return false
		default:
			between = true
		}
	}
	return !between
}

// IsComponent reports whether s can be one part of a repository's name. A
// namespace is one.
func IsComponent(s string) bool { return !strings.Contains(s, "/") && IsName(s) }

var tagForm = regexp.MustCompile(`^(?:` + reference.TagRegexp.String() + `)$`)

// IsTag reports whether a manifest can have the tag.
func IsTag(tag string) bool { return tagForm.MatchString(tag) }

// ParseDigest reads a digest of an algorithm that berth can compute. The error
// is [ErrDigest].
func ParseDigest(s string) (digest.Digest, error) {
	d, err := digest.Parse(s)
	if err != nil {
		return "", ErrDigest
	}
	return d, nil
}

// Reference names a repository, or with a tag or digest what is in it.
type Reference struct {
	// Host is as it was written, with its port; "" if there was none.
	Host string
	// Repository is the name as it was written, without the host.
	Repository string
	Tag        string        // "" if there was none
	Digest     digest.Digest // "" if there was none
}

// Parse reads a reference. The own hosts are those that [CutHost] takes off.
// The error is [ErrDigest], [ErrTag] or [ErrName], the first that fits.
func Parse(s string, own ...string) (Reference, error) {
	var r Reference
	name, dgst, digested := strings.Cut(s, "@")
	if digested {
		var err error
		if r.Digest, err = ParseDigest(dgst); err != nil {
			return Reference{}, err
		}
	}
	r.Host, name = CutHost(name, own...)
	name, tag, tagged := strings.Cut(name, ":")
	if tagged && !IsTag(tag) {
		return Reference{}, ErrTag
	}
	if !IsName(name) {
		return Reference{}, ErrName
	}
	r.Repository, r.Tag = name, tag
	return r, nil
}

// String writes the reference so that [Parse] reads it again.
func (r Reference) String() string {
	s := r.Repository
	if r.Host != "" {
		s = r.Host + "/" + s
	}
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + r.Digest.String()
	}
	return s
}

var hostAndPort = regexp.MustCompile(`^.+:[0-9]+$`)

// CutHost takes a host off what stands before the digest of a reference: one of
// the registry's own, in small or capital letters, or any with a port, for a
// name cannot hold a colon there. Another host cannot be told from the first
// part of a name, and stays. The host is "" if there is none.
func CutHost(s string, own ...string) (host, rest string) {
	first, rest, ok := strings.Cut(s, "/")
	if ok && (isOneOf(first, own) || hostAndPort.MatchString(first)) {
		return first, rest
	}
	return "", s
}

func isOneOf(host string, own []string) bool {
	return slices.ContainsFunc(own, func(o string) bool { return o != "" && strings.EqualFold(o, host) })
}
