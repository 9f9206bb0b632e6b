package fsck

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
)

// comparison is of one repository in the index, and in one made of storage.
type comparison struct {
	ctx        context.Context
	repository string
	is, should index.Index
	found      []Finding
}

func (c *comparison) add(kind Kind, d digest.Digest, tag, form string, args ...any) {
	c.found = append(c.found, Finding{Kind: kind, Repository: c.repository, Digest: d, Tag: tag, Detail: fmt.Sprintf(form, args...)})
}

// compare returns in what the index differs from storage. subjects are what the
// stored manifests refer to.
func compare(ctx context.Context, is, should index.Index, repository string, subjects []digest.Digest) ([]Finding, error) {
	c := &comparison{ctx: ctx, repository: repository, is: is, should: should}
	have, err := is.State(ctx, repository)
	if err != nil {
		return nil, err
	}
	want, err := should.State(ctx, repository)
	if err != nil {
		return nil, err
	}
	if err := c.tags(); err != nil {
		return nil, err
	}
	differ(have.Aliases, want.Aliases, func(d digest.Digest, what string) { c.add(IndexAlias, d, "", "%s", what) })
	differ(have.Links, want.Links, func(d digest.Digest, what string) { c.add(IndexLink, d, "", "%s", what) })
	differ(have.Manifests, want.Manifests, func(d digest.Digest, what string) { c.add(IndexManifest, d, "", "%s", what) })
	for d := range want.Manifests {
		if _, ok := have.Manifests[d]; !ok {
			continue
		}
		if err := c.manifest(d); err != nil {
			return nil, err
		}
	}
	for d := range want.Links {
		err := c.lists(IndexReference, d, "the manifests that refer to it", index.Index.Referring)
		if err != nil {
			return nil, err
		}
	}
	for _, subject := range subjects {
		if err := c.referrers(subject); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(c.found, Finding.order)
	return c.found, nil
}

// set is what a tag points to, and since when.
type set struct {
	digest.Digest
	moved string
}

func (s set) String() string { return s.Digest.String() + ", set at " + s.moved }

// tags compares the tags, and when they were set.
func (c *comparison) tags() error {
	have, err := tagsOf(c.ctx, c.is, c.repository)
	if err != nil {
		return err
	}
	want, err := tagsOf(c.ctx, c.should, c.repository)
	differ(have, want, func(tag, what string) { c.add(IndexTag, want[tag].Digest, tag, "%s", what) })
	return err
}

func tagsOf(ctx context.Context, x index.Planner, repository string) (map[string]set, error) {
	const batch = 1000
	all := map[string]set{}
	for after := ""; ; {
		some, err := x.TagsAfter(ctx, repository, after, batch)
		if err != nil || len(some) == 0 {
			return all, err
		}
		for _, tag := range some {
			all[tag.Name] = set{tag.Digest, tag.Moved.Format(time.RFC3339Nano)}
			after = tag.Name
		}
	}
}

// differ tells of every key that only one map has, or that both have with another
// value.
func differ[K comparable, V comparable](have, want map[K]V, tell func(K, string)) {
	for k, v := range want {
		got, ok := have[k]
		switch {
		case !ok:
			tell(k, "it is stored, and not in the index")
		case got != v:
			tell(k, fmt.Sprintf("it is %v, and in the index %v", v, got))
		}
	}
	for k := range have {
		if _, ok := want[k]; !ok {
			tell(k, "it is in the index, and not stored")
		}
	}
}

func (c *comparison) manifest(d digest.Digest) error {
	for _, list := range []struct {
		kind Kind
		what string
		read func(index.Index, context.Context, string, digest.Digest) ([]digest.Digest, error)
	}{
		{IndexChildren, "the manifests in it", index.Index.Children},
		{IndexChildren, "the indexes that hold it", index.Index.Parents},
		{IndexAlias, "its other digests", index.Index.Aliases},
	} {
		if err := c.lists(list.kind, d, list.what, list.read); err != nil {
			return err
		}
	}
	have, err := c.is.Tags(c.ctx, c.repository, d)
	if err != nil {
		return err
	}
	want, err := c.should.Tags(c.ctx, c.repository, d)
	if err != nil {
		return err
	}
	if !slices.Equal(have, want) {
		c.add(IndexTag, d, "", "its tags are %q, and in the index %q", want, have)
	}
	return c.image(d)
}

// lists compares two lists of digests.
func (c *comparison) lists(kind Kind, d digest.Digest, what string, read func(index.Index, context.Context, string, digest.Digest) ([]digest.Digest, error)) error {
	have, err := read(c.is, c.ctx, c.repository, d)
	if err != nil {
		return err
	}
	want, err := read(c.should, c.ctx, c.repository, d)
	if err != nil {
		return err
	}
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		c.add(kind, d, "", "%s are %q, and in the index %q", what, want, have)
	}
	return nil
}

// image compares all that the images API says of an image.
func (c *comparison) image(d digest.Digest) error {
	have, err := entryOf(c.ctx, c.is, c.repository, d)
	if err != nil {
		return err
	}
	want, err := entryOf(c.ctx, c.should, c.repository, d)
	if err != nil {
		return err
	}
	if have != want {
		c.add(IndexImage, d, "", "it is %s, and in the index %s", want, have)
	}
	return nil
}

// entryOf is an entry as JSON, which does not tell nil from empty.
func entryOf(ctx context.Context, x index.Reader, repository string, d digest.Digest) (string, error) {
	entry, err := x.Entry(ctx, repository, d)
	if errors.Is(err, storage.ErrNotFound) {
		return "no unikernel", nil
	}
	if err != nil {
		return "", err
	}
	slices.Sort(entry.Aliases)
	text, err := json.Marshal(entry)
	return string(text), err
}

func (c *comparison) referrers(subject digest.Digest) error {
	have, err := referrersOf(c.ctx, c.is, c.repository, subject)
	if err != nil {
		return err
	}
	want, err := referrersOf(c.ctx, c.should, c.repository, subject)
	if err != nil {
		return err
	}
	differ(have, want, func(d digest.Digest, what string) {
		c.add(IndexReferrer, d, "", "of %s: %s", subject, what)
	})
	return nil
}

// referrersOf are the manifests that have a subject, with what is said of them.
func referrersOf(ctx context.Context, x index.Reader, repository string, subject digest.Digest) (map[digest.Digest]string, error) {
	all := map[digest.Digest]string{}
	for r, err := range index.ReferrersOf(ctx, x, repository, subject) {
		if err != nil {
			return nil, err
		}
		text, err := json.Marshal(r)
		if err != nil {
			return nil, err
		}
		all[r.Digest] = string(text)
	}
	return all, nil
}

// listed are the images of a list, by UUID, with the number of times that it has
// them.
func listed(ctx context.Context, x index.Reader, q index.Query) (map[string]int, error) {
	const batch = 1000
	all := map[string]int{}
	for after := index.Cursor(""); ; {
		some, next, err := x.List(ctx, q, after, batch)
		if err != nil {
			return nil, err
		}
		for _, e := range some {
			all[e.Repository+"@"+e.Digest.String()]++
		}
		if next == "" {
			return all, nil
		}
		after = next
	}
}

// sums compares what concerns no single repository. It is of use only while
// nothing changes.
func sums(ctx context.Context, is, should index.Index, namespaces map[string]bool) (found []Finding, err error) {
	for _, q := range []index.Query{{}, {ByTime: true}, {Tagged: true}} {
		have, err := listed(ctx, is, q)
		if err != nil {
			return nil, err
		}
		want, err := listed(ctx, should, q)
		if err != nil {
			return nil, err
		}
		differ(have, want, func(image, what string) {
			found = append(found, Finding{Kind: IndexList, Repository: image, Detail: fmt.Sprintf("in the list %+v: %s", q, what)})
		})
	}
	have, err := is.Stats(ctx)
	if err != nil {
		return nil, err
	}
	want, err := should.Stats(ctx)
	if err != nil {
		return nil, err
	}
	for _, count := range []struct {
		of         string
		have, want int64
	}{
		{"unikernels", have.Unikernels, want.Unikernels}, {"ROMs", have.ROMs, want.ROMs}, {"manifests", have.Manifests, want.Manifests},
		{"repositories", have.Repositories, want.Repositories}, {"repositories with images", have.ImageRepositories, want.ImageRepositories},
	} {
		if count.have != count.want {
			found = append(found, Finding{Kind: IndexCount, Detail: fmt.Sprintf("%d %s, and in the index %d", count.want, count.of, count.have)})
		}
	}
	for _, namespace := range slices.Sorted(maps.Keys(namespaces)) {
		f, err := usage(ctx, is, should, namespace)
		if err != nil {
			return nil, err
		}
		found = append(found, f...)
	}
	return found, nil
}

// usage compares what counts against a quota. What the past has added or taken
// from it, storage does not tell: only too much is certainly wrong.
func usage(ctx context.Context, is, should index.Reader, namespace string) (found []Finding, err error) {
	have, err := is.Usage(ctx, namespace)
	if err != nil {
		return nil, err
	}
	want, err := should.Usage(ctx, namespace)
	if err != nil {
		return nil, err
	}
	if have.Images != want.Images {
		found = append(found, Finding{Kind: IndexQuota, Repository: namespace, Detail: fmt.Sprintf("%d images, and in the index %d", want.Images, have.Images)})
	}
	// A blob that has come and no manifest refers to yet counts, which storage does
	// not tell.
	if most := want.Bytes + want.Uncollected; have.Bytes > most {
		found = append(found, Finding{Kind: IndexQuota, Repository: namespace, Detail: fmt.Sprintf("%d bytes count at most, and in the index %d", most, have.Bytes)})
	}
	return found, nil
}
