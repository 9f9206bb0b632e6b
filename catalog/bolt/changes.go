package bolt

import (
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// Every update writes its record in the transaction that makes it visible. What a
// record is made of is gathered while the update is done: the entries of the list
// that it makes, touches or takes away, and where its tags pointed before.

// happened is what an update has done so far, as its record will say it.
type happened struct {
	// changed are manifests of which an entry would look another way. Only those
	// that are entries, or were, are in the record.
	changed map[digest.Digest]bool
	// tags are by name.
	tags map[string]index.TagChange
	// came are the manifests that are new, gone those that were there.
	came, gone []digest.Digest
	// number is that of the record, 0 for none.
	number uint64
}

func newHappened() happened {
	return happened{changed: make(map[digest.Digest]bool), tags: make(map[string]index.TagChange)}
}

// moved notes where a tag points, and pointed before; "" for nowhere.
func (h *happened) moved(tag string, from, to digest.Digest) {
	c, again := h.tags[tag]
	if !again {
		c = index.TagChange{Name: tag, Previous: from}
	}
	c.Digest = to
	if c.Digest == "" && c.Previous == "" {
		delete(h.tags, tag)
		return
	}
	h.tags[tag] = c
}

// touch notes that an index looks another way, and with it those above it.
func (r *repoTx) touch(d digest.Digest) error {
	if r.changed[d] {
		return nil
	}
	r.changed[d] = true
	names, err := r.names(d)
	if err != nil {
		return err
	}
	for _, name := range names {
		parents, err := digestsBelow(r.data(), r.by(kindParent, name))
		if err != nil {
			return err
		}
		for _, p := range parents {
			if err := r.touch(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// entries are those of what has changed that are entries of the list, or were.
func (r *repoTx) entries() ([]digest.Digest, error) {
	var all []digest.Digest
	for d := range r.changed {
		_, was := r.unlisted[d]
		is, err := r.standsInList(d)
		if err != nil {
			return nil, err
		}
		if was || is {
			all = append(all, d)
		}
	}
	slices.Sort(all)
	return all, nil
}

// standsInList reports whether a manifest is an entry of the list.
func (r *repoTx) standsInList(d digest.Digest) (bool, error) {
	value := r.data().Get(r.by(kindManifest, d))
	if value == nil {
		return false, nil
	}
	dec := newDecoder(value)
	_, s := decodeStanding(dec)
	return s.Found && r.isListed(&record{Description: image.Description{Digest: d}, standing: s}), dec.err
}

// typeOf says what an update has come to, and which manifest it was about; "" if
// there is nothing to record.
func (r *repoTx) typeOf(u index.Update, entries []digest.Digest) (index.ChangeType, digest.Digest) {
	switch {
	case len(r.gone) > 0:
		return index.Deleted, r.gone[0]
	case len(r.came) == 1:
		return index.Pushed, r.came[0]
	case len(r.came) == 0 && len(u.Tag) > 0:
		if d, one := r.pointedTo(u.Tag); one {
			return index.Tagged, d
		}
	case len(r.came) == 0 && len(r.tags) > 0:
		return index.Untagged, ""
	}
	if len(r.came)+len(r.tags)+len(entries) == 0 {
		return "", ""
	}
	if len(entries) == 1 {
		return index.Changed, entries[0]
	}
	return index.Changed, ""
}

// pointedTo is the manifest that all the tags point to, if it is one.
func (r *repoTx) pointedTo(tags map[string]digest.Digest) (target digest.Digest, one bool) {
	for _, d := range tags {
		if target != "" && target != r.canonical(d) {
			return "", false
		}
		target = r.canonical(d)
	}
	return target, true
}

// log writes the record of an update, if there is something to record. The number
// is taken here, since this may run again.
func (r *repoTx) log(u index.Update) error {
	if r.known.number == 0 || r.building != nil {
		return nil
	}
	entries, err := r.entries()
	if err != nil {
		return err
	}
	c := index.Change{Time: time.Now(), By: u.By, Entries: entries}
	if c.Type, c.Digest = r.typeOf(u, entries); c.Type == "" {
		return nil
	}
	for _, tag := range slices.Sorted(maps.Keys(r.tags)) {
		c.Tags = append(c.Tags, r.tags[tag])
	}
	b := r.at(tableChanges)
	b.FillPercent = fillInOrder
	if r.number, err = b.NextSequence(); err != nil {
		return err
	}
	return b.Put(sequenceKey(r.number), encodeChange(c, r.known.number, r.known.last))
}

// changeTypes are those that a record can have, by the number that stands for each.
var changeTypes = [...]index.ChangeType{1: index.Pushed, 2: index.Tagged, 3: index.Untagged, 4: index.Deleted, 5: index.Changed}

// encodeChange is the value of a record. Each digest is in it once: what is said
// of one names it by its place. previous is the number of the repository's record
// before, 0 for none.
func encodeChange(c index.Change, repository uint32, previous uint64) []byte {
	e := newEncoder()
	e.uint(uint64(max(slices.Index(changeTypes[:], c.Type), 0))) //nolint:gosec // not negative
	e.uint(uint64(repository))
	e.uint(previous)
	e.int(c.Time.UnixMicro())
	e.string(c.By)
	digests := []digest.Digest{""}
	place := func(d digest.Digest) uint64 {
		i := slices.Index(digests, d)
		if i < 0 {
			i = len(digests)
			digests = append(digests, d)
		}
		return uint64(i) //nolint:gosec // not negative
	}
	// Entries come first, and so need no places.
	digests = append(digests, c.Entries...)
	rest := &encoder{}
	rest.uint(place(c.Digest))
	rest.uint(uint64(len(c.Tags)))
	for _, t := range c.Tags {
		rest.string(t.Name)
		rest.uint(place(t.Digest))
		rest.uint(place(t.Previous))
	}
	e.uint(uint64(len(c.Entries)))
	e.uint(uint64(len(digests) - 1))
	for _, d := range digests[1:] {
		e.digest(d)
	}
	e.b = append(e.b, rest.b...)
	return e.b
}

// decodeChange reads a record, but for its revision and the repository's name.
func decodeChange(value []byte) (c index.Change, repository uint32, previous uint64, err error) {
	d := newDecoder(value)
	if n := d.uint(); n > 0 && n < uint64(len(changeTypes)) {
		c.Type = changeTypes[n]
	} else {
		d.fail()
	}
	repository, previous = uint32(d.uint()), d.uint() //nolint:gosec // as encoded
	c.Time = time.UnixMicro(d.int()).UTC()
	c.By = d.string()
	entries, digests := d.count(1), []digest.Digest{""}
	for range d.count(2) {
		digests = append(digests, d.digest())
	}
	if entries >= len(digests) {
		d.fail()
		entries = 0
	}
	c.Entries = digests[1 : 1+entries : 1+entries]
	at := func() digest.Digest {
		n := d.uint()
		if n >= uint64(len(digests)) {
			d.fail()
			return ""
		}
		return digests[n]
	}
	c.Digest = at()
	for range d.count(3) {
		c.Tags = append(c.Tags, index.TagChange{Name: d.string(), Digest: at(), Previous: at()})
	}
	return c, repository, previous, d.err
}
