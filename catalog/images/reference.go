package images

import (
	"regexp"
	"slices"
	"strings"

	// The algorithms that a digest may name; go-digest only knows those that
	// are linked in.
	_ "crypto/sha256"
	_ "crypto/sha512"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/index"
)

const (
	digestForm = "want sha256: and 64 digits of 0-9 a-f, alone or behind the image's name: user/app@sha256:…"
	tagForm    = "want the image's name in lower case and its tag: user/app:tag (user/app means latest)"
	nameForm   = "a name is at most 255 characters of a-z 0-9 . _ - in parts separated by /"
)

// item is one thing to look up, in the words of the request: they are checked,
// but kept short, for a body may hold a great many. With both digest and tag,
// both must match; uuid stands alone.
type item struct {
	digest, tag, uuid string
}

// want is what an item asks for.
type want struct {
	// anywhere is set for a digest without a name: every repository may have it.
	anywhere bool
	// repositories are where else to look, in long form, in this order; none
	// means that nothing can match.
	repositories []string
	// tags must all point to the image.
	tags []string
	// digest is "" if any will do.
	digest digest.Digest
}

// hosts are the names, in lower case, that this registry goes by.
type hosts []string

func ownHosts(names ...string) hosts {
	var own hosts
	for _, name := range names {
		if name != "" {
			own = append(own, strings.ToLower(name))
		}
	}
	return own
}

var hostAndPort = regexp.MustCompile(`^.+:[0-9]+$`)

// cut takes the registry's host off a name. A host with a port is taken off
// whatever it is, for a name cannot hold a colon there.
func (h hosts) cut(name string) (rest, host string) {
	first, rest, ok := strings.Cut(name, "/")
	if ok && (slices.Contains(h, strings.ToLower(first)) || hostAndPort.MatchString(first)) {
		return rest, first
	}
	return name, ""
}

// repositories returns where an image of this name may be: as it stands, and
// below official/.
func repositories(name, host string) []string {
	found := []string{name, index.Official + "/" + name}
	if host != "" && !strings.ContainsAny(host, ".:") {
		// A host of one word may as well be an account.
		found = append(found, strings.ToLower(host)+"/"+name)
	}
	return found
}

// nameOK checks a repository's name by the grammar of the distribution
// specification, without a host.
func nameOK(name string) bool {
	if len(name) > reference.RepositoryNameTotalLengthMax {
		return false
	}
	// With a host in front, the rest must be a plain name.
	_, err := reference.WithName("host:1/" + name)
	return err == nil
}

var tagPattern = regexp.MustCompile(`^(?:` + reference.TagRegexp.String() + `)$`)

// byDigest reads the value of a digest field: [host/]sha256:…, or
// [host/]name[:tag]@sha256:…
func (h hosts) byDigest(field, value string) (want, error) {
	name, dgst, named := strings.Cut(value, "@")
	name, host := h.cut(name)
	if !named {
		name, dgst = "", name
	}
	parsed, err := digest.Parse(dgst)
	if err != nil {
		return want{}, malformed("%s: %s is not a digest; %s", field, shown(value), digestForm)
	}
	if !named {
		return want{anywhere: true, digest: parsed}, nil
	}
	w := want{digest: parsed}
	name, tag, tagged := strings.Cut(name, ":")
	if tagged {
		if !tagPattern.MatchString(tag) {
			return want{}, malformed("%s: %s has a malformed tag; want user/app:tag@sha256:…, the tag of at most 128 letters, digits and . _ -", field, shown(value))
		}
		w.tags = []string{tag}
	}
	if !nameOK(name) {
		return want{}, malformed("%s: %s does not begin with an image's name; %s; %s", field, shown(value), digestForm, nameForm)
	}
	w.repositories = repositories(name, host)
	return w, nil
}

// byTag reads the value of a tag field: [host/]name[:tag][@sha256:…]. A digest
// needs a tag in front: without one it belongs in the digest field.
func (h hosts) byTag(field, value string) (want, error) {
	name, dgst, digested := strings.Cut(value, "@")
	name, host := h.cut(name)
	name, tag, tagged := strings.Cut(name, ":")
	if digested && !tagged {
		return want{}, malformed("%s: %s holds a digest and no tag; %s, or put it into digest", field, shown(value), tagForm)
	}
	if !tagged {
		tag = "latest"
	}
	if !tagPattern.MatchString(tag) {
		return want{}, malformed("%s: %s has a malformed tag; %s, the tag of at most 128 letters, digits and . _ -", field, shown(value), tagForm)
	}
	if !nameOK(name) {
		return want{}, malformed("%s: %s does not begin with an image's name; %s; %s", field, shown(value), tagForm, nameForm)
	}
	w := want{tags: []string{tag}, repositories: repositories(name, host)}
	if digested {
		parsed, err := digest.Parse(dgst)
		if err != nil {
			return want{}, malformed("%s: %s has a malformed digest; %s", field, shown(value), digestForm)
		}
		w.digest = parsed
	}
	return w, nil
}

// want reads an item that is not a UUID.
func (h hosts) want(it item) (want, error) {
	if it.tag == "" {
		return h.byDigest("digest", it.digest)
	}
	byTag, err := h.byTag("tag", it.tag)
	if err != nil || it.digest == "" {
		return byTag, err
	}
	byDigest, err := h.byDigest("digest", it.digest)
	if err != nil {
		return want{}, err
	}
	return both(byDigest, byTag), nil
}

// both is what matches a as well as b, which names an image.
func both(a, b want) want {
	b.tags = append(b.tags, a.tags...)
	if b.digest != "" && b.digest != a.digest {
		b.repositories = nil
	}
	b.digest = a.digest
	if !a.anywhere {
		b.repositories = slices.DeleteFunc(b.repositories, func(name string) bool {
			return !slices.Contains(a.repositories, name)
		})
	}
	return b
}

// matches says whether an image is one that is wanted.
func (w want) matches(e index.Entry) bool {
	if !w.anywhere && !slices.Contains(w.repositories, e.Repository) {
		return false
	}
	if w.digest != "" && !e.Has(w.digest) {
		return false
	}
	for _, tag := range w.tags {
		if !slices.Contains(e.Tags, tag) {
			return false
		}
	}
	return true
}
