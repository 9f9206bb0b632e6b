package images

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage/reference"
)

const (
	wantDigest = "want sha256: and 64 digits of 0-9 a-f, alone or behind the image's name: user/app@sha256:…"
	wantTag    = "want the image's name in lower case and its tag: user/app:tag (user/app means latest)"
	wantName   = "a name is at most 255 characters of a-z 0-9 . _ - in parts separated by /"
)

// item is one thing to look up, in the words of the request: they are checked,
// but kept short, for a body may hold a great many. All that is given must match.
type item struct {
	digest, tag, uuid string
}

// named reports whether an item asks for a digest or a tag.
func (i item) named() bool { return i.digest != "" || i.tag != "" }

// selector is what an item asks for.
type selector struct {
	// anywhere is set for a digest without a name: every repository may have it.
	anywhere bool
	// repositories are where else to look, in long form, in this order; none
	// means that nothing can match.
	repositories []string
	// tags must all point to the image.
	tags []string
	// digest is "" if any will do.
	digest digest.Digest
	// uuid, in small letters, is "" if any will do.
	uuid string
}

// hosts are the names that this registry goes by.
type hosts []string

// repositories returns where the image of a reference may be: as its name
// stands, and below official/.
func repositories(ref reference.Reference) []string {
	found := []string{ref.Repository, reference.Long(ref.Repository)}
	if ref.Host != "" && !strings.ContainsAny(ref.Host, ".:") {
		// A host of one word may as well be an account.
		found = append(found, strings.ToLower(ref.Host)+"/"+ref.Repository)
	}
	return found
}

// byDigest reads the value of a digest field: [host/]sha256:…, or
// [host/]name[:tag]@sha256:…
func (h hosts) byDigest(field, value string) (selector, error) {
	if !strings.Contains(value, "@") {
		_, alone := reference.CutHost(value, h...)
		d, err := reference.ParseDigest(alone)
		if err != nil {
			return selector{}, notDigest(field, value)
		}
		return selector{anywhere: true, digest: d}, nil
	}
	ref, err := reference.Parse(value, h...)
	switch {
	case errors.Is(err, reference.ErrDigest):
		return selector{}, notDigest(field, value)
	case errors.Is(err, reference.ErrTag):
		return selector{}, malformed("%s: %s has a malformed tag; want user/app:tag@sha256:…, the tag of at most 128 letters, digits and . _ -", field, shown(value))
	case err != nil:
		return selector{}, malformed("%s: %s does not begin with an image's name; %s; %s", field, shown(value), wantDigest, wantName)
	}
	w := selector{digest: ref.Digest, repositories: repositories(ref)}
	if ref.Tag != "" {
		w.tags = []string{ref.Tag}
	}
	return w, nil
}

func notDigest(field, value string) error {
	return malformed("%s: %s is not a digest; %s", field, shown(value), wantDigest)
}

// byTag reads the value of a tag field: [host/]name[:tag][@sha256:…]. A digest
// needs a tag in front: without one it belongs in the digest field.
func (h hosts) byTag(field, value string) (selector, error) {
	ref, err := reference.Parse(value, h...)
	switch {
	case errors.Is(err, reference.ErrTag):
		return selector{}, malformed("%s: %s has a malformed tag; %s, the tag of at most 128 letters, digits and . _ -", field, shown(value), wantTag)
	case errors.Is(err, reference.ErrName):
		return selector{}, malformed("%s: %s does not begin with an image's name; %s; %s", field, shown(value), wantTag, wantName)
	case err != nil:
		return selector{}, malformed("%s: %s has a malformed digest; %s", field, shown(value), wantDigest)
	case ref.Digest != "" && ref.Tag == "":
		return selector{}, malformed("%s: %s holds a digest and no tag; %s, or put it into digest", field, shown(value), wantTag)
	}
	return selector{tags: []string{cmp.Or(ref.Tag, reference.Latest)}, repositories: repositories(ref), digest: ref.Digest}, nil
}

// selector reads an item. One that is a UUID alone asks for it anywhere.
func (h hosts) selector(it item) (selector, error) {
	if it.uuid != "" {
		id, ok := parseUUID(it.uuid)
		if !ok {
			return selector{}, malformed("uuid: %s is not a UUID; %s", shown(it.uuid), wantUUID)
		}
		w := selector{anywhere: true}
		if it.named() {
			var err error
			if w, err = h.selector(item{digest: it.digest, tag: it.tag}); err != nil {
				return selector{}, err
			}
		}
		w.uuid = id.String()
		return w, nil
	}
	if it.tag == "" {
		return h.byDigest("digest", it.digest)
	}
	byTag, err := h.byTag("tag", it.tag)
	if err != nil || it.digest == "" {
		return byTag, err
	}
	byDigest, err := h.byDigest("digest", it.digest)
	if err != nil {
		return selector{}, err
	}
	return both(byDigest, byTag), nil
}

// both is what matches a as well as b, which names an image.
func both(a, b selector) selector {
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

// key is the same for selectors that ask for the same, however they were spelled.
func (w selector) key() string {
	var places []string
	for _, name := range w.repositories {
		// Every repository lies in a namespace.
		if strings.Contains(name, "/") && !slices.Contains(places, name) {
			places = append(places, name)
		}
	}
	tags := slices.Compact(slices.Sorted(slices.Values(w.tags)))
	// None of the separators is in a name, a tag or a digest.
	return strings.Join(places, " ") + "|" + strings.Join(tags, " ") + "|" + string(w.digest) + "|" + w.uuid
}

// items gathers what is looked up, each image that is meant once, by the first
// of its spellings.
type items struct {
	list []item
	seen map[string]struct{}
}

// add keeps an item that asks for what none before it did. It returns false if
// there are too many.
func (i *items) add(it item, w selector) bool {
	if i.seen == nil {
		i.seen = make(map[string]struct{})
	}
	key := w.key()
	if _, again := i.seen[key]; again {
		return true
	}
	if len(i.list) == maxItems {
		return false
	}
	i.seen[key] = struct{}{}
	i.list = append(i.list, it)
	return true
}

// matches reports whether an image is one that is wanted.
func (w selector) matches(e index.Entry) bool {
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
