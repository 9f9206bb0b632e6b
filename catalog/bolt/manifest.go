package bolt

import (
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
)

// A manifest is kept as one value: first its place in the lists, which writing
// looks at most, then what it refers to, then, for one manifest, the image that it
// is. Digests that stand in it already are named by their place.
//
// What an index lists lies apart from it where it is long, so that its place can
// change without all of that being written again.

// maxInline is how many children an index has at most that lists them in its own
// value.
const maxInline = 32

// Flags of a manifest.
const (
	flagImage uint64 = 1 << iota
	flagKernel
	flagInitrd
	flagROM
	// flagComposed: the image is put together from the members.
	flagComposed
	// flagApart: what it lists lies apart.
	flagApart
	// flagFlat is image.Standing's.
	flagFlat
	// flagStated: the image's time is the one that the content states.
	flagStated
	flagSubject
)

// record is a manifest as it is kept.
type record struct {
	image.Description
	// standing is its place in the lists. It is that of Image, or follows from
	// the members.
	standing image.Standing
	composed bool
	// apart is set if what it lists lies apart, whether it has been read or not.
	apart bool
	// stored is how many bytes it takes in the index.
	stored int
	// places are those of the blobs by digest, made when there is something to
	// look up.
	places map[digest.Digest]int
	// raw are the blobs, in place of Blobs, and image is what Image is, where it is
	// read for an answer: see reader.
	raw       []rawBlob
	image     image.Image
	platforms []image.Platform // of a brief one
}

// rawBlob is a blob with the bytes of its digest.
type rawBlob struct {
	digest []byte
	size   int64
}

// empty is the record without what it is of, so that another can be read into the
// room that it has.
func (m *record) empty() record {
	r := record{raw: m.raw[:0], platforms: m.platforms[:0]}
	r.Children, r.Members = m.Children[:0], m.Members[:0]
	return r
}

// forget makes the record empty, and keeps no more room than most have use for.
func (m *record) forget() {
	const most = 64
	if max(cap(m.raw), cap(m.platforms), cap(m.Children), cap(m.Members)) > most {
		*m = record{}
		return
	}
	clear(m.raw[:cap(m.raw)])
	clear(m.platforms[:cap(m.platforms)])
	clear(m.Children[:cap(m.Children)])
	clear(m.Members[:cap(m.Members)])
	*m = m.empty()
}

// newRecord is a description to be kept. One that is composed has its standing
// still to be found.
func newRecord(d image.Description) *record {
	m := &record{Description: d, composed: d.Image == nil && len(d.Members) > 0}
	if d.Image != nil {
		m.standing = image.Standing{
			Found: true, Created: d.Image.Created,
			Kernel: d.Image.Kernel, Initrd: d.Image.Initrd, ROM: d.Image.ROM,
		}
	}
	return m
}

func (m *record) isApart() bool {
	return m.apart || len(m.Children) > maxInline || len(m.Members) > maxInline
}

func (m *record) isStated() bool {
	return m.Image != nil && !m.Created.IsZero() && m.Created.Equal(m.Image.Created)
}

func (m *record) flags() (flags uint64) {
	for _, f := range []struct {
		set  bool
		flag uint64
	}{
		{m.standing.Found, flagImage},
		{m.standing.Kernel, flagKernel}, {m.standing.Initrd, flagInitrd}, {m.standing.ROM, flagROM},
		{m.composed, flagComposed}, {m.isApart(), flagApart}, {m.standing.Flat, flagFlat},
		{m.isStated(), flagStated}, {m.Subject != "", flagSubject},
	} {
		if f.set {
			flags |= f.flag
		}
	}
	return flags
}

func (m *record) encode() []byte {
	e := newEncoder()
	e.uint(m.flags())
	if m.standing.Found {
		e.time(m.standing.Created)
	}
	if m.standing.Found && m.composed {
		e.uint(uint64(m.standing.Rank))    //nolint:gosec // small
		e.uint(uint64(m.standing.Ordinal)) //nolint:gosec // small
	}
	e.string(m.MediaType)
	e.uint(uint64(max(m.Size, 0)))
	if !m.isStated() {
		e.time(m.Created)
	}
	e.time(m.Modified)
	e.uint(uint64(max(m.LayerBytes, 0)))
	if m.Subject != "" {
		e.digest(m.Subject)
	}
	e.uint(uint64(len(m.Blobs)))
	for _, blob := range m.Blobs {
		e.digest(blob.Digest)
		e.uint(uint64(max(blob.Size, 0)))
	}
	if !m.isApart() {
		m.encodeLists(e)
	}
	if m.standing.Found && !m.composed {
		m.encodeImage(e)
	}
	return e.b
}

// encodeLists writes what an index lists.
func (m *record) encodeLists(e *encoder) {
	e.uint(uint64(len(m.Children)))
	place := make(map[digest.Digest]int, len(m.Children))
	for i, child := range m.Children {
		e.digest(child)
		place[child] = i + 1
	}
	e.uint(uint64(len(m.Members)))
	for _, member := range m.Members {
		at := place[member.Digest]
		e.uint(uint64(at)) //nolint:gosec // not negative
		if at == 0 {
			e.digest(member.Digest)
		}
		index := uint64(0)
		if member.Index {
			index = 1
		}
		e.uint(index)
		e.string(member.OS)
		e.string(member.Architecture)
	}
}

// decodeStanding reads the place of a manifest in the lists, which its value
// begins with.
func decodeStanding(d *decoder) (flags uint64, s image.Standing) {
	flags = d.uint()
	s.Found, s.Flat = flags&flagImage != 0, flags&flagFlat != 0
	s.Kernel, s.Initrd, s.ROM = flags&flagKernel != 0, flags&flagInitrd != 0, flags&flagROM != 0
	if s.Found {
		s.Created = d.time()
	}
	if s.Found && flags&flagComposed != 0 {
		s.Rank, s.Ordinal = int(d.size()), int(d.size())
	}
	return flags, s
}

// decodeRecord reads a manifest; apart returns the value that lies apart from it,
// if there is one. Without it what it lists is left out.
func decodeRecord(dgst digest.Digest, value []byte, apart func() []byte) (*record, error) {
	m := &record{}
	return m, m.decode(dgst, newDecoder(value), len(value), apart)
}

func (m *record) decode(dgst digest.Digest, d *decoder, stored int, apart func() []byte) error {
	m.stored = stored
	var flags uint64
	flags, m.standing = decodeStanding(d)
	m.Digest, m.composed, m.apart = dgst, flags&flagComposed != 0, flags&flagApart != 0
	m.MediaType, m.Size = d.string(), d.size()
	if flags&flagStated != 0 {
		m.Created = m.standing.Created
	} else {
		m.Created = d.time()
	}
	m.Modified, m.LayerBytes = d.time(), d.size()
	if flags&flagSubject != 0 {
		m.Subject = d.digest()
	}
	m.decodeBlobs(d)
	if flags&flagApart == 0 {
		m.decodeLists(d)
	}
	if m.standing.Found && !m.composed {
		m.decodeImage(d)
		m.Image = &m.image
	}
	if d.err == nil && m.apart && apart != nil {
		m.decodeLists(d.on(apart()))
	}
	return d.err
}

func (m *record) decodeBlobs(d *decoder) {
	const least = 2
	n := d.count(least)
	if d.in != nil {
		for range n {
			m.raw = append(m.raw, rawBlob{d.raw(), d.size()})
		}
		return
	}
	if n > 0 {
		m.Blobs = make([]image.Blob, n)
		for i := range m.Blobs {
			m.Blobs[i] = image.Blob{Digest: d.digest(), Size: d.size()}
		}
	}
}

// blob is one of the blobs by its place.
func (m *record) blob(d *decoder, place uint64) (digest.Digest, int64) {
	switch {
	case place < uint64(len(m.Blobs)):
		return m.Blobs[place].Digest, m.Blobs[place].Size
	case place < uint64(len(m.raw)) && m.raw[place].digest != nil:
		return d.in.digest(m.raw[place].digest), m.raw[place].size
	}
	d.fail()
	return "", 0
}

// sized is a slice of zero elements, in the room that another has.
func sized[T any](s []T, n int) []T {
	if n > cap(s) {
		return make([]T, n)
	}
	s = s[:n]
	clear(s)
	return s
}

func (m *record) decodeLists(d *decoder) {
	const least = 2
	if n := d.count(least); n > 0 {
		m.Children = sized(m.Children, n)
		for i := range m.Children {
			m.Children[i] = d.digest()
		}
	}
	n := d.count(least)
	if n == 0 {
		return
	}
	m.Members = sized(m.Members, n)
	for i := range m.Members {
		at := d.uint()
		switch {
		case at == 0:
			m.Members[i].Digest = d.digest()
		case at <= uint64(len(m.Children)):
			m.Members[i].Digest = m.Children[at-1]
		default:
			d.fail()
		}
		m.Members[i].Index = d.uint() == 1
		m.Members[i].OS, m.Members[i].Architecture = d.string(), d.string()
	}
}

// same reports whether two standings are.
func same(a, b image.Standing) bool {
	if !a.Created.Equal(b.Created) {
		return false
	}
	a.Created = b.Created // the same instant may have two forms
	return a == b
}
