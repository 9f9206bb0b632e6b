package bolt

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage/reference"
)

// nameWalk reads the listed images in the order of their names. Official images
// are known by the name below official/, so theirs are a span of their own,
// merged into the others; and an official repository and one that has the bare
// name are merged image by image.
type nameWalk struct {
	*session
	names merge
	// images are those of the repositories that are being read.
	images  merge
	skipped int
	// from is the position to go on after, nil for none.
	from []byte
	// most is how many images are wanted at most.
	most int
	// last is what was taken last, and its key without what all have in common.
	last *repoTx
	rest []byte
}

func (l *list) byName(n int) *nameWalk {
	w := &nameWalk{session: l.session, from: l.at.Position, most: n}
	w.names = nameSpans(l.session, l.query.Within)
	for _, s := range w.names {
		start := max(s.start, string(s.prefix))
		if w.from != nil {
			repository, _ := cutPosition(w.from)
			start = max(start, string(s.prefix[:s.strip])+reference.Short(repository))
		}
		s.seek([]byte(start))
	}
	return w
}

// nameSpans are the spans of names that a list holds.
func nameSpans(s *session, within []string) merge {
	const official = reference.Official + "/"
	var m merge
	add := func(start, prefix, end string, strip int) {
		sp := &span{cursor: s.at(tableNames).Cursor(), start: start, prefix: []byte(prefix), strip: strip}
		if end != "" {
			sp.end = []byte(end)
		}
		m = append(m, sp)
	}
	if within == nil {
		add("", "", official, 0)
		add("", official, "", len(official))
		add(reference.Official+"0", "", "", 0) // the first that follows all of official/
	}
	for _, ns := range outermost(within) {
		strip := 0
		if strings.HasPrefix(ns, official) {
			strip = len(official)
		}
		add("", ns, ns+"\x00", strip) // the repository that has the namespace's name
		if ns == reference.Official {
			strip = len(official)
		}
		add("", ns+"/", "", strip)
	}
	// Of equals, least takes the first span: the bare name.
	slices.SortStableFunc(m, func(a, b *span) int { return a.strip - b.strip })
	return m
}

func (w *nameWalk) more() (found bool, position []byte, err error) {
	for w.images.least() == nil {
		first := w.names.least()
		if first == nil {
			return false, nil, nil
		}
		name := string(first.k)
		if w.skipped++; w.skipped > maxSkipped {
			// After all images of the name, whatever they are.
			return false, namePosition(name, bytes.Repeat([]byte{0xff}, timeLength+1)), nil
		}
		if err := w.enter(name[first.strip:]); err != nil {
			return false, nil, err
		}
	}
	return true, nil, nil
}

// enter goes into the repositories that are known by a name.
func (w *nameWalk) enter(short string) error {
	w.images = w.images[:0]
	for _, s := range w.names {
		if s.k == nil || string(s.k[s.strip:]) != short {
			continue
		}
		known, err := decodeRepository(s.v)
		if err != nil {
			return err
		}
		r := &repoTx{session: w.session, repository: string(s.k), known: known, plain: known.aliases == 0}
		s.advance()
		if known.images == 0 {
			continue
		}
		prefix := r.key(kindListed)
		images := &span{cursor: r.data().Cursor(), prefix: prefix, strip: len(prefix), of: r}
		w.start(images, r)
		w.images = append(w.images, images)
		r.load(w.most, len(w.images))
	}
	return nil
}

// start sets the span of a repository's images to the first that is to be read.
func (w *nameWalk) start(images *span, r *repoTx) {
	repository, rest := cutPosition(w.from)
	if w.from == nil || reference.Short(repository) != reference.Short(r.repository) {
		images.seek(images.prefix)
		return
	}
	k := append(bytes.Clone(images.prefix), rest...)
	images.seek(k)
	// An official image and one with the bare name are equals: the bare one
	// comes first.
	if bytes.Equal(images.k, k) && len(r.repository) <= len(repository) {
		images.advance()
	}
}

func (w *nameWalk) take() (r *repoTx, raw, value []byte, err error) {
	s := w.images.least()
	w.last, w.rest = s.of, s.k[s.strip:]
	s.advance()
	if len(w.rest) < timeLength {
		return nil, nil, nil, errValue
	}
	raw, rest, ok := cutRaw(w.rest[timeLength:])
	if !ok || len(rest) > 0 {
		err = errValue
	}
	return w.last, raw, nil, err
}

func (w *nameWalk) position() []byte { return namePosition(w.last.repository, w.rest) }

// timeWalk reads the listed images in the order of their creation.
type timeWalk struct {
	*session
	images merge
	// last is where what was taken last lies, and rest its key.
	last *repoTx
	rest []byte
}

func (l *list) byTime() (*timeWalk, error) {
	w := &timeWalk{session: l.session}
	if l.query.Within == nil {
		w.add(l, tableTimes, nil)
		return w, nil
	}
	var spaces []string
	for _, ns := range l.query.Within {
		space := reference.Namespace(ns)
		if slices.Contains(spaces, space) {
			continue
		}
		spaces = append(spaces, space)
		known, err := l.spaceOf(space)
		if err != nil {
			return nil, err
		}
		if known.number != 0 {
			w.add(l, tableNamespaces, numbered(known.number, kindTime))
		}
	}
	return w, nil
}

// add adds a span, set to the first image that is to be read.
func (w *timeWalk) add(l *list, t table, prefix []byte) {
	s := &span{cursor: w.at(t).Cursor(), descending: l.query.Descending, prefix: prefix, strip: len(prefix)}
	from := func(k []byte) []byte { return append(bytes.Clone(prefix), k...) }
	switch {
	case l.at.Position != nil:
		k := from(l.at.Position)
		if s.seek(k); bytes.Equal(s.k, k) {
			s.advance()
		}
	case l.query.From != nil:
		s.seek(from(byTimeKey(l.query.From.Time, fromUUID(l.query))))
	case l.query.Descending:
		s.seek(from(bytes.Repeat([]byte{0xff}, timeLength+len(uuid.UUID{})+1)))
	default:
		s.seek(from(nil))
	}
	w.images = append(w.images, s)
}

// fromUUID completes a position that is a time alone, so that the images of
// that time are included.
func fromUUID(q index.Query) uuid.UUID {
	if q.Descending && q.From.UUID == uuid.Nil {
		return uuid.Max
	}
	return q.From.UUID
}

func (w *timeWalk) more() (found bool, position []byte, err error) {
	return w.images.least() != nil, nil, nil
}

func (w *timeWalk) take() (r *repoTx, raw, value []byte, err error) {
	s := w.images.least()
	w.rest = s.k[s.strip:]
	target := s.v
	s.advance()
	if len(w.rest) != timeLength+len(uuid.UUID{}) || len(target) < numberLength {
		return nil, nil, nil, errValue
	}
	// What was made at a time often lies in one repository.
	if number := binary.BigEndian.Uint32(target); w.last == nil || w.last.known.number != number {
		if w.last, err = w.openNumber(number); err != nil {
			return nil, nil, nil, err
		}
	}
	raw, value, err = w.last.target(target[numberLength:], uuid.UUID(w.rest[timeLength:]))
	return w.last, raw, value, err
}

func (w *timeWalk) position() []byte { return bytes.Clone(w.rest) }
