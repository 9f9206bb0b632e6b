package bolt

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"
	bbolt "go.etcd.io/bbolt"

	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage/reference"
)

// maxScanned bounds how many images one batch looks at, so that a filter that
// few images pass does not hold a transaction for long.
const maxScanned = 4096

// List implements index.Reader.
func (i *Index) List(ctx context.Context, q index.Query, after index.Cursor, n int) (entries []index.Entry, next index.Cursor, err error) {
	err = i.view(ctx, "list", func(tx *bbolt.Tx) error {
		l, err := resume(tx, q, after)
		if err != nil {
			return err
		}
		next, err = l.read(n)
		entries = l.entries
		return err
	})
	if errors.Is(err, index.ErrNotFound) {
		err = errors.New("the index lists an image that it does not have")
	}
	return entries, next, err
}

// list is one batch of a list being read.
type list struct {
	tx      *bbolt.Tx
	query   index.Query
	at      place
	extra   []listed
	entries []index.Entry
	bytes   int // what the entries come to, see size
}

func (l *list) read(n int) (index.Cursor, error) {
	full := func() bool { return len(l.entries) >= n || l.bytes >= index.BatchBytes }
	for at, i := range l.extra {
		if full() {
			l.at.Extra = l.extra[at:]
			return l.at.cursor()
		}
		if err := l.add(i); err != nil {
			return "", err
		}
	}
	var m merge
	if l.query.ByTime {
		m = byTime(l.tx, l.query, l.at.Position)
	} else {
		m = byName(l.tx, l.query, l.at.Position)
	}
	for scanned := 0; ; scanned++ {
		s := m.least()
		if s == nil {
			return "", nil
		}
		if full() || scanned == maxScanned {
			return l.at.cursor()
		}
		l.at.Position = s.position()
		repository, d := s.image()
		s.advance()
		if l.at.skip(listed{repository, d}) {
			continue
		}
		if err := l.add(listed{repository, d}); err != nil {
			return "", err
		}
	}
}

// add takes an image into the batch, if it passes the filters.
func (l *list) add(i listed) error {
	if !index.Within(l.query.Within, i.Repository) ||
		l.query.Tagged && !anyBelow(l.tx.Bucket(bucketTagged), prefix(i.Repository, i.Digest.String())) {
		return nil
	}
	e, size, err := entry(l.tx, i.Repository, i.Digest)
	if err == nil {
		l.entries = append(l.entries, e)
		l.bytes += size
	}
	return err
}

// merge reads several spans of keys in one order.
type merge []*span

// span is a range of keys of one bucket: those that start with prefix, as far
// as they come after start and before end.
type span struct {
	cursor     *bbolt.Cursor
	descending bool
	prefix     []byte
	end        []byte // exclusive; nil: none but the prefix
	strip      int    // leading bytes of the key that do not count for the order
	place      func(k []byte) []byte
	read       func(k, v []byte) (string, digest.Digest)

	k, v []byte // the key that comes next; nil at the end
}

// least returns the span whose key comes next, nil if all are at their end.
func (m merge) least() *span {
	var first *span
	for _, s := range m {
		if s.k == nil {
			continue
		}
		if first == nil {
			first = s
			continue
		}
		c := bytes.Compare(s.k[s.strip:], first.k[first.strip:])
		if s.descending {
			c = -c
		}
		if c < 0 {
			first = s
		}
	}
	return first
}

func (s *span) position() []byte { return s.place(s.k) }

func (s *span) image() (string, digest.Digest) { return s.read(s.k, s.v) }

func (s *span) advance() {
	if s.descending {
		s.set(s.cursor.Prev())
	} else {
		s.set(s.cursor.Next())
	}
}

func (s *span) set(k, v []byte) {
	if k == nil || !bytes.HasPrefix(k, s.prefix) || s.end != nil && bytes.Compare(k, s.end) >= 0 {
		k, v = nil, nil
	}
	s.k, s.v = k, v
}

// seek goes to the first key at or after k, in the order of the span.
func (s *span) seek(k []byte) {
	found, v := s.cursor.Seek(k)
	if s.descending && !bytes.Equal(found, k) {
		if found == nil {
			found, v = s.cursor.Last()
		} else {
			found, v = s.cursor.Prev()
		}
	}
	s.set(found, v)
}

// byName reads the listed images in the order of their names. Official images
// are known by the name below official/, so theirs are a span of their own,
// merged into the others.
func byName(tx *bbolt.Tx, q index.Query, after []byte) merge {
	const official = reference.Official + "/"
	type bounds struct{ start, prefix, end, strip string }
	var all []bounds
	if q.Within == nil {
		all = []bounds{
			{end: official},
			{prefix: official, strip: official},
			{start: reference.Official + "0"}, // the first that follows all of official/
		}
	}
	for _, ns := range outermost(q.Within) {
		strip := ""
		if strings.HasPrefix(ns+"/", official) {
			strip = official
		}
		below := bounds{prefix: ns + "/", strip: strip}
		if ns == reference.Official {
			strip = ""
		}
		all = append(all, bounds{prefix: ns + separator, strip: strip}, below)
	}
	var m merge
	for _, b := range all {
		s := &span{
			cursor: tx.Bucket(bucketByName).Cursor(),
			prefix: []byte(b.prefix), strip: len(b.strip),
			place: bytes.Clone,
			read:  func(k, _ []byte) (string, digest.Digest) { return byNameParts(k) },
		}
		if b.end != "" {
			s.end = []byte(b.end)
		}
		start := max(b.start, b.prefix)
		if after == nil {
			s.seek([]byte(start))
		} else {
			// What follows the last key in the common order begins, in this
			// span, at that key less its own prefix that does not count.
			order := inOrder(string(after))
			s.seek([]byte(max(start, b.strip+order)))
			// An official image and one with the bare name are equals: the bare
			// one comes first.
			if s.k != nil && string(s.k[s.strip:]) == order && s.strip <= len(after)-len(order) {
				s.advance()
			}
		}
		m = append(m, s)
	}
	// Of equals, least takes the first span.
	slices.SortStableFunc(m, func(a, b *span) int { return a.strip - b.strip })
	return m
}

// inOrder is the part of a key of byname that counts for the order.
func inOrder(k string) string { return reference.Short(k) }

// byTime reads the listed images in the order of their creation.
func byTime(tx *bbolt.Tx, q index.Query, after []byte) merge {
	spaces := []string{""}
	if q.Within != nil {
		spaces = nil
		for _, ns := range q.Within {
			if space := reference.Namespace(ns); !slices.Contains(spaces, space) {
				spaces = append(spaces, space)
			}
		}
	}
	var m merge
	for _, space := range spaces {
		p := prefix(space)
		s := &span{
			cursor: tx.Bucket(bucketByTime).Cursor(), descending: q.Descending,
			prefix: p, strip: len(p),
			place: func(k []byte) []byte { return bytes.Clone(k[len(p):]) },
			read: func(_, v []byte) (string, digest.Digest) {
				repository, d := split(v)
				return repository, digest.Digest(d)
			},
		}
		switch {
		case after != nil:
			k := append(bytes.Clone(p), after...)
			if s.seek(k); bytes.Equal(s.k, k) {
				s.advance()
			}
		case q.From != nil:
			s.seek(byTimeKey(space, q.From.Time, fromUUID(q)))
		case q.Descending:
			s.seek(append(bytes.Clone(p), bytes.Repeat([]byte{0xff}, timeLength+len(uuid.UUID{})+1)...))
		default:
			s.seek(p)
		}
		m = append(m, s)
	}
	return m
}

// fromUUID completes a position that is a time alone, so that the images of
// that time are included.
func fromUUID(q index.Query) uuid.UUID {
	if q.Descending && q.From.UUID == uuid.Nil {
		return uuid.Max
	}
	return q.From.UUID
}

// Repositories implements index.Reader.
func (i *Index) Repositories(ctx context.Context, namespaces []string, after string, n int) (names []string, err error) {
	err = i.view(ctx, "repositories", func(tx *bbolt.Tx) error {
		m := namesIn(tx.Bucket(bucketRepositories), "", namespaces, after)
		for s := m.least(); s != nil && len(names) < n; s = m.least() {
			names = append(names, string(s.k))
			s.advance()
		}
		return nil
	})
	return names, err
}

// namesIn reads keys that are a start and a repository's name, of the
// repositories in the namespaces that come after one.
func namesIn(b *bbolt.Bucket, start string, namespaces []string, after string) merge {
	var m merge
	add := func(prefix, end string) {
		s := &span{
			cursor: b.Cursor(), prefix: []byte(start + prefix),
			place: bytes.Clone, read: func(k, _ []byte) (string, digest.Digest) { return string(k), "" },
		}
		if end != "" {
			s.end = []byte(start + end)
		}
		s.seek([]byte(start + max(prefix, after)))
		if after != "" && string(s.k) == start+after {
			s.advance()
		}
		m = append(m, s)
	}
	if namespaces == nil {
		add("", "")
	}
	for _, ns := range outermost(namespaces) {
		add(ns, ns+separator) // the repository that has the namespace's name
		add(ns+"/", "")
	}
	return m
}

// outermost leaves out the namespaces that lie in another one, and repetitions.
func outermost(namespaces []string) []string {
	sorted := slices.Compact(slices.Sorted(slices.Values(namespaces)))
	return slices.DeleteFunc(slices.Clone(sorted), func(ns string) bool {
		return slices.ContainsFunc(sorted, func(other string) bool {
			return strings.HasPrefix(ns, other+"/")
		})
	})
}
