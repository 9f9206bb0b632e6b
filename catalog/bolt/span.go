package bolt

import (
	"bytes"
	"slices"
	"strings"

	bbolt "go.etcd.io/bbolt"
)

// merge reads several spans of keys in one order.
type merge []*span

// span is a range of keys of one bucket: those that start with prefix, as far
// as they come before end, and not before start.
type span struct {
	cursor     *bbolt.Cursor
	descending bool
	start      string
	prefix     []byte
	end        []byte  // exclusive; nil: none but the prefix
	strip      int     // leading bytes of the key that do not count for the order
	of         *repoTx // whose keys they are, if they are one repository's

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

// namesIn reads keys that are a start and a repository's name, of the
// repositories in the namespaces that come after one.
func namesIn(b *bbolt.Bucket, start string, namespaces []string, after string) merge {
	var m merge
	add := func(prefix, end string) {
		s := &span{cursor: b.Cursor(), prefix: []byte(start + prefix)}
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
		add(ns, ns+"\x00") // the repository that has the namespace's name
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
