package catalog

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// read makes the index say of a repository what storage says.
func (c *Catalog) read(ctx context.Context, repository string) error {
	return c.readWith(ctx, repository, func(int) {})
}

// readWith does the same, and says how many manifests it has looked at, as it goes
// and at several at once.
func (c *Catalog) readWith(ctx context.Context, repository string, looked func(manifests int)) error {
	tx, err := c.Begin(ctx, repository)
	if err != nil {
		return err
	}
	defer tx.Close()
	return tx.reconcileWith(ctx, looked)
}

func (t *Tx) reconcile(ctx context.Context) error {
	return t.reconcileWith(ctx, func(int) {})
}

// reconcileWith makes the index say of the repository what storage says. It reads
// what is stored by name, and describes only manifests that the index does not
// have, or whose blobs came or went. It does so in steps, each of which leaves
// the index right, and takes no more memory for a large repository than for a
// small one; cut off, it may be begun again. The links come first: then a
// description finds the sizes of its blobs in the index.
func (t *Tx) reconcileWith(ctx context.Context, looked func(manifests int)) error {
	x, repository, places := t.catalog.index, t.lease.Repository, t.catalog.places
	stored := t.stored()
	links := along(stored.LinkNames(ctx), func(b image.Blob) digest.Digest { return b.Digest }, func(after digest.Digest) ([]image.Blob, error) {
		return x.LinksAfter(ctx, repository, after, knownSize)
	})
	if err := inPages(ctx, places, links, t.readLinks); err != nil {
		return err
	}
	manifests := along(stored.ManifestNames(ctx), func(d digest.Digest) digest.Digest { return d }, func(after digest.Digest) ([]digest.Digest, error) {
		return x.ManifestsAfter(ctx, repository, after, knownSize)
	})
	err := inPages(ctx, places, manifests, func(ctx context.Context, page []foundManifest) error {
		defer looked(len(page))
		return t.readManifests(ctx, page)
	})
	if err != nil {
		return err
	}
	aliases := along(stored.AliasNames(ctx), func(a index.Alias) digest.Digest { return a.Digest }, func(after digest.Digest) ([]index.Alias, error) {
		return x.AliasesAfter(ctx, repository, after, knownSize)
	})
	if err := inPages(ctx, places, aliases, t.readAliases); err != nil {
		return err
	}
	tags := along(stored.TagNames(ctx), func(tag index.Tag) string { return tag.Name }, func(after string) ([]index.Tag, error) {
		return x.TagsAfter(ctx, repository, after, knownSize)
	})
	return inPages(ctx, places, tags, t.readTags)
}

type (
	foundLink     = found[digest.Digest, image.Blob]
	foundManifest = found[digest.Digest, digest.Digest]
	foundAlias    = found[digest.Digest, index.Alias]
	foundTag      = found[string, index.Tag]
)

// readLinks makes the index say of some blobs what storage says. What the index
// knows is asked for by name: it may have come since storage was listed.
func (t *Tx) readLinks(ctx context.Context, page []foundLink) error {
	last := index.Update{Link: make(map[digest.Digest]int64)}
	for _, f := range page {
		var was int64
		if f.known != nil {
			was = f.known.Size
		}
		size, err := t.catalog.linkedSize(ctx, t.lease.Repository, f.name, was, f.known != nil)
		switch {
		case notFound(err) && f.known != nil:
			last.Unlink = append(last.Unlink, f.name)
		case notFound(err):
		case err != nil:
			return err
		case f.known == nil || f.known.Size != size:
			last.Link[f.name] = size
		}
	}
	if len(last.Link)+len(last.Unlink) == 0 {
		return nil
	}
	referring, err := t.referring(ctx, last)
	if err != nil {
		return err
	}
	p := publication{tx: t, last: last}
	return p.describeAll(ctx, referring, "")
}

// referring are the manifests that refer to blobs which an update links or
// unlinks.
func (t *Tx) referring(ctx context.Context, u index.Update) (all []digest.Digest, err error) {
	for _, d := range slices.AppendSeq(slices.Clone(u.Unlink), maps.Keys(u.Link)) {
		referring, err := t.catalog.index.Referring(ctx, t.lease.Repository, d)
		if err != nil {
			return nil, err
		}
		all = append(all, referring...)
	}
	return all, nil
}

// readManifests makes the index have those of some manifests that storage has.
func (t *Tx) readManifests(ctx context.Context, page []foundManifest) error {
	p := publication{tx: t, content: linkedContent{t}}
	var added []digest.Digest
	for _, f := range page {
		if f.known == nil {
			added = append(added, f.name)
			continue
		}
		there, err := t.stored().HasManifest(ctx, f.name)
		if err != nil {
			return err
		}
		if !there {
			p.update.Delete = append(p.update.Delete, f.name)
		}
	}
	if len(added)+len(p.update.Delete) == 0 {
		return nil
	}
	return p.describeAll(ctx, added, "")
}

// readAliases makes the index have those of some other digests of manifests that
// storage has, and whose manifests are there.
func (t *Tx) readAliases(ctx context.Context, page []foundAlias) error {
	u := index.Update{Alias: make(map[digest.Digest]digest.Digest)}
	for _, f := range page {
		canonical, err := t.stored().AliasOf(ctx, f.name)
		if err == nil {
			canonical, err = t.catalog.Canonical(ctx, t.lease.Repository, canonical)
		}
		switch {
		case notFound(err) && f.known != nil:
			u.Unalias = append(u.Unalias, f.name)
		case notFound(err):
		case err != nil:
			return err
		case f.known == nil || f.known.Canonical != canonical:
			u.Alias[f.name] = canonical
		}
	}
	if len(u.Alias)+len(u.Unalias) == 0 {
		return nil
	}
	_, err := t.catalog.index.Publish(ctx, t.lease, u)
	return err
}

// readTags makes the index say of some tags what storage says.
func (t *Tx) readTags(ctx context.Context, page []foundTag) error {
	u := index.Update{Tag: make(map[string]digest.Digest), Moved: make(map[string]time.Time)}
	for _, f := range page {
		d, moved, err := t.stored().Tag(ctx, f.name)
		switch {
		case notFound(err) && f.known != nil:
			u.Untag = append(u.Untag, f.name)
		case notFound(err):
		case err != nil:
			return err
		case f.known == nil || f.known.Digest != d || !f.known.Moved.Equal(moved):
			u.Tag[f.name], u.Moved[f.name] = d, moved
		}
	}
	if len(u.Tag)+len(u.Untag) == 0 {
		return nil
	}
	_, err := t.catalog.index.Publish(ctx, t.lease, u)
	return err
}

// takeOff takes all that the index has of the repository off it, a page at a time:
// tags before what they point to.
func (t *Tx) takeOff(ctx context.Context) error {
	x, repository := t.catalog.index, t.lease.Repository
	return errorOf(
		takeOff(ctx, t, func() ([]index.Tag, error) { return x.TagsAfter(ctx, repository, "", pageSize) },
			func(u *index.Update, tag index.Tag) { u.Untag = append(u.Untag, tag.Name) }),
		takeOff(ctx, t, func() ([]index.Alias, error) { return x.AliasesAfter(ctx, repository, "", pageSize) },
			func(u *index.Update, a index.Alias) { u.Unalias = append(u.Unalias, a.Digest) }),
		takeOff(ctx, t, func() ([]digest.Digest, error) { return x.ManifestsAfter(ctx, repository, "", pageSize) },
			func(u *index.Update, d digest.Digest) { u.Delete = append(u.Delete, d) }),
		takeOff(ctx, t, func() ([]image.Blob, error) { return x.LinksAfter(ctx, repository, "", pageSize) },
			func(u *index.Update, b image.Blob) { u.Unlink = append(u.Unlink, b.Digest) }),
	)
}

// errorOf is the first error of steps, after which none is done.
func errorOf(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func takeOff[T any](ctx context.Context, t *Tx, next func() ([]T, error), add func(*index.Update, T)) func() error {
	return func() error {
		for {
			some, err := next()
			if err != nil || len(some) == 0 {
				return err
			}
			var u index.Update
			for _, one := range some {
				add(&u, one)
			}
			if _, err := t.catalog.index.Publish(ctx, t.lease, u); err != nil {
				return failed("take off the index", t.lease.Repository, err)
			}
		}
	}
}
