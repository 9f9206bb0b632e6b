package bolt

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage/reference"
)

// A list is read in batches, each in a transaction of its own. Images that come
// or go meanwhile are in it or not; but one that is there all the time must be
// in it exactly once, also if its place changes between two batches, because it
// is described again with another creation time. Such reorders are rare. They
// are written down, and a batch makes up for those since the batch before.

// maxReorders bounds how many reorders are kept. A list that is so slow that more
// happen between two of its batches is ended with an error.
const maxReorders = 10000

// listed names an image of the list.
type listed struct {
	Repository string        `json:"repository"`
	Digest     digest.Digest `json:"digest"`
}

// reorder is a change of an image's place in the lists.
type reorder struct {
	listed
	From, To time.Time
}

func (m reorder) encode() []byte {
	e := newEncoder()
	e.string(m.Repository)
	e.digest(m.Digest)
	e.time(m.From)
	e.time(m.To)
	return e.b
}

func decodeReorder(value []byte) (reorder, error) {
	d := newDecoder(value)
	m := reorder{listed: listed{Repository: d.string(), Digest: d.digest()}, From: d.time(), To: d.time()}
	return m, d.err
}

func (s *session) recordReorder(m reorder) error {
	b := s.at(tableReorders)
	n, err := b.NextSequence()
	if err != nil {
		return err
	}
	if n > maxReorders {
		if err := b.Delete(sequenceKey(n - maxReorders)); err != nil {
			return err
		}
	}
	return b.Put(sequenceKey(n), m.encode())
}

func sequenceKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// place is how far a list has been read; it is what a cursor holds.
type place struct {
	// Position is the last key that was read, nil before the first.
	Position []byte `json:"position"`
	// Sequence is the last reorder that was made up for.
	Sequence uint64 `json:"sequence"`
	// Seen are images that were read and have moved to a place not read yet.
	Seen []listed `json:"seen,omitempty"`
	// Extra are images that were not read and have moved to a place that was.
	Extra []listed `json:"extra,omitempty"`
}

func (p *place) cursor() (index.Cursor, error) {
	data, err := json.Marshal(p)
	return index.Cursor(data), err
}

// skip reports whether an image has been read before, and forgets it.
func (p *place) skip(i listed) bool {
	at := slices.Index(p.Seen, i)
	if at < 0 {
		return false
	}
	p.Seen = slices.Delete(p.Seen, at, at+1)
	return true
}

// resume goes on with a list after a cursor, and makes up for the reorders since.
func resume(s *session, q index.Query, after index.Cursor) (*list, error) {
	l := &list{session: s, query: q}
	reorders := s.at(tableReorders)
	if after == "" {
		l.at.Sequence = reorders.Sequence()
		return l, nil
	}
	if err := json.Unmarshal([]byte(after), &l.at); err != nil {
		return nil, fmt.Errorf("cursor: %w", err)
	}
	l.extra, l.at.Extra = l.at.Extra, nil
	for ; l.at.Sequence < reorders.Sequence(); l.at.Sequence++ {
		value := reorders.Get(sequenceKey(l.at.Sequence + 1))
		if value == nil {
			return nil, index.ErrCursor
		}
		m, err := decodeReorder(value)
		if err != nil {
			return nil, err
		}
		l.follow(m)
	}
	return l, nil
}

// follow keeps a reordered image in the list exactly once.
func (l *list) follow(m reorder) {
	read := l.at.skip(m.listed) || !l.ahead(m.listed, m.From)
	if at := slices.Index(l.extra, m.listed); at >= 0 {
		// It had moved behind before, and is still to be read.
		l.extra = slices.Delete(l.extra, at, at+1)
		read = false
	}
	switch ahead := l.ahead(m.listed, m.To); {
	case read && ahead:
		l.at.Seen = append(l.at.Seen, m.listed)
	case !read && !ahead:
		l.extra = append(l.extra, m.listed)
	}
}

// ahead reports whether an image with a creation time has a place that the list
// has not come to.
func (l *list) ahead(i listed, created time.Time) bool {
	if l.at.Position == nil {
		return true
	}
	if l.query.ByTime {
		c := bytes.Compare(byTimeKey(created, index.ImageUUID(i.Repository, i.Digest)), l.at.Position)
		if l.query.Descending {
			c = -c
		}
		return c > 0
	}
	name, rest := cutPosition(l.at.Position)
	here := appendDigest(invert(timeKey(created)), i.Digest)
	c := cmp.Or(
		strings.Compare(reference.Short(i.Repository), reference.Short(name)),
		bytes.Compare(here, rest),
		len(i.Repository)-len(name), // of equals the bare name comes first
	)
	return c > 0
}
