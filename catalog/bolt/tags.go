package bolt

import (
	"github.com/opencontainers/go-digest"
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
	d := newDecoder(value)
	return d.digest(), d.err
}

func (r *repoTx) tag(tag string, d digest.Digest) error {
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
	e := newEncoder()
	e.digest(d)
	if err := r.data().Put(append(r.key(kindTag), tag...), e.b); err != nil {
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
