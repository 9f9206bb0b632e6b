package bolt

import (
	"bytes"
	"context"
	"errors"

	"github.com/berth-oci/berth/catalog/index"
)

// maxScanned bounds how many images one batch looks at, so that a filter that
// few images pass does not hold a transaction for long. maxSkipped does the same
// for repositories without one, which cost less.
const (
	maxScanned = 4096
	maxSkipped = 65536
)

// List implements index.Reader.
func (i *Index) List(ctx context.Context, q index.Query, after index.Cursor, n int) (entries []index.Entry, next index.Cursor, err error) {
	err = i.view(ctx, "list", func(s *session) error {
		l, err := resume(s, q, after)
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
	*session
	query   index.Query
	at      place
	extra   []listed
	entries []index.Entry
	bytes   int // what the entries come to, see entry
}

// walker goes through the images of a list in its order.
type walker interface {
	// more reports whether there is another one. position, if not nil, is where
	// to go on instead: enough has been looked at in vain.
	more() (found bool, position []byte, err error)
	// take returns it: the bytes of its digest, and the value of its manifest where
	// that was come by.
	take() (r *repoTx, raw, value []byte, err error)
	// position is where to go on after what was taken last.
	position() []byte
}

func (l *list) read(n int) (index.Cursor, error) {
	full := func() bool { return len(l.entries) >= n || l.bytes >= index.BatchBytes }
	rd := l.reading()
	likely := min(n, usualBatch)
	if l.at.Position == nil {
		likely = min(n, firstBatch) // most lists end with the first
	}
	rd.expect(likely)
	rd.brief = l.query.Brief
	l.entries = make([]index.Entry, 0, likely)
	for at, i := range l.extra {
		if full() {
			l.at.Extra = l.extra[at:]
			return l.at.cursor()
		}
		r, err := l.open(i.Repository)
		if err == nil {
			err = l.add(r, digestKey(r.canonical(i.Digest)), nil)
		}
		if err != nil {
			return "", err
		}
	}
	w, err := l.walker(n)
	if err != nil {
		return "", err
	}
	for scanned := 0; ; scanned++ {
		found, position, err := w.more()
		switch {
		case err != nil:
			return "", err
		case position != nil:
			l.at.Position = position
			return l.at.cursor()
		case !found:
			return "", nil
		case full() || scanned == maxScanned:
			if scanned > 0 {
				l.at.Position = w.position()
			}
			return l.at.cursor()
		}
		r, raw, value, err := w.take()
		if err != nil {
			return "", err
		}
		if l.skipped(r, raw) {
			continue
		}
		if err := l.add(r, raw, value); err != nil {
			return "", err
		}
	}
}

// usualBatch is how many images a batch hardly exceeds, by their bytes, and
// firstBatch how many there is room for at first in that which begins a list.
const usualBatch, firstBatch = 256, 16

func (l *list) walker(n int) (walker, error) {
	if l.query.ByTime {
		return l.byTime()
	}
	return l.byName(n), nil
}

// skipped reports whether an image has been read before.
func (l *list) skipped(r *repoTx, raw []byte) bool {
	if len(l.at.Seen) == 0 {
		return false
	}
	d, _, _ := cutDigest(raw)
	return l.at.skip(listed{r.repository, d})
}

// add takes an image into the batch, if it passes the filters.
func (l *list) add(r *repoTx, raw, value []byte) error {
	rd := l.reading()
	if !index.Within(l.query.Within, r.repository) || l.query.Tagged && !rd.tagged(r, raw) {
		return nil
	}
	l.entries = append(l.entries, index.Entry{})
	last := len(l.entries) - 1
	size, err := rd.entry(r, raw, value, &l.entries[last])
	if err != nil {
		l.entries = l.entries[:last]
		return err
	}
	l.bytes += size
	return nil
}

// Repositories implements index.Reader.
func (i *Index) Repositories(ctx context.Context, namespaces []string, after string, n int) (names []string, err error) {
	err = i.view(ctx, "repositories", func(s *session) error {
		m := namesIn(s.at(tableNames), "", namespaces, after)
		for next := m.least(); next != nil && len(names) < n; next = m.least() {
			known, err := decodeRepository(next.v)
			if err != nil {
				return err
			}
			// One that only links blobs is not among them.
			if known.manifests > 0 {
				names = append(names, string(next.k))
			}
			next.advance()
		}
		return nil
	})
	return names, err
}

// nameSeparator stands between a repository's name and the rest of a position; it
// is in no name.
const nameSeparator = 0

// namePosition is where an image stands in the order by name. It is no key.
func namePosition(repository string, rest []byte) []byte {
	return append(append([]byte(repository), nameSeparator), rest...)
}

func cutPosition(position []byte) (repository string, rest []byte) {
	name, rest, _ := bytes.Cut(position, []byte{nameSeparator})
	return string(name), rest
}
