package bolt

import (
	"context"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/index"
)

func (r *repoTx) tagsOf(d digest.Digest) (tags []string) {
	_ = below(r.data(), r.by(kindTagged, d), func(tag, _ []byte) error {
		tags = append(tags, string(tag))
		return nil
	})
	return tags
}

// tagged is what a tag points to, as it was pushed; "" for nothing.
func (r *repoTx) tagged(tag string) (digest.Digest, error) {
	value := r.data().Get(append(r.key(kindTag), tag...))
	if value == nil {
		return "", nil
	}
	t, err := decodeTag(tag, value)
	return t.Digest, err
}

func decodeTag(name string, value []byte) (index.Tag, error) {
	d := newDecoder(value)
	return index.Tag{Name: name, Digest: d.digest(), Moved: d.time()}, d.err
}

func (r *repoTx) putTag(tag string, d digest.Digest, moved time.Time) error {
	e := newEncoder()
	e.digest(d)
	e.time(moved)
	return r.data().Put(append(r.key(kindTag), tag...), e.b)
}

// TagTime implements index.Reader.
func (i *Index) TagTime(ctx context.Context, repository, tag string) (at time.Time, err error) {
	err = i.read(ctx, "tag_time", repository, func(r *repoTx) error {
		value := r.data().Get(append(r.key(kindTag), tag...))
		if value == nil {
			return index.ErrNotFound
		}
		t, err := decodeTag(tag, value)
		at = t.Moved
		return err
	})
	return at, err
}

// tagAll makes tags point to manifests, as an update has them.
func (r *repoTx) tagAll(u index.Update) error {
	for tag, d := range u.Tag {
		old, err := r.tagged(tag)
		if err != nil {
			return err
		}
		if old == d && u.At.IsZero() { // nobody has pushed it; only its time may be another
			err = r.putTag(tag, d, u.Moved[tag])
		} else if err = r.tag(tag, d, u.Moved[tag]); err == nil {
			err = r.pushedBy(tag, u.By, u.At)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *repoTx) tag(tag string, d digest.Digest, moved time.Time) error {
	if err := r.untag(tag); err != nil {
		return err
	}
	canonical := r.canonical(d)
	if err := r.adopt(canonical); err != nil {
		return err
	}
	r.affected[canonical], r.changed[canonical] = true, true
	r.moved(tag, "", d)
	r.countTags(+1)
	if err := r.putTag(tag, d, moved); err != nil {
		return err
	}
	return r.data().Put(append(r.by(kindTagged, canonical), tag...), nil)
}

func (r *repoTx) untag(tag string) error {
	old, err := r.tagged(tag)
	if err != nil || old == "" {
		return err
	}
	canonical := r.canonical(old)
	r.affected[canonical], r.changed[canonical] = true, true
	r.moved(tag, old, "")
	r.countTags(-1)
	if err := r.data().Delete(append(r.key(kindPushed), tag...)); err != nil {
		return err
	}
	if err := r.data().Delete(append(r.by(kindTagged, canonical), tag...)); err != nil {
		return err
	}
	return r.data().Delete(append(r.key(kindTag), tag...))
}
