// Package nearest finds what somebody meant who misspelt the name of a key, an
// account or a label.
package nearest

import (
	"strings"

	"github.com/agnivade/levenshtein"
)

// Of returns the known name that is nearest to name, "" if none is known, and
// reports whether it is near enough to ask for it: "did you mean …?". The order
// of the known names does not matter. The time it takes grows with the length
// of name, which the caller bounds.
func Of(name string, known []string) (best string, near bool) {
	var least match
	for _, k := range known {
		if m := compare(name, k); best == "" || m.less(least) || m == least && k < best {
			best, least = k, m
		}
	}
	return best, best != "" && (least.rank < far || least.distance <= len(name)/2)
}

// match says how near two names are to each other.
type match struct{ rank, distance int }

// far is the rank of a name that is just another one.
const far = 3

func compare(name, known string) match {
	m := match{far, levenshtein.ComputeDistance(strings.ToLower(name), strings.ToLower(known))}
	switch {
	case m.distance <= 2:
		m.rank = 0
	case last(name) == last(known):
		m.rank = 1 // the right name in the wrong place
	case extends(known, name) || extends(name, known):
		m.rank = 2 // a shorter or longer form
	}
	return m
}

func (m match) less(other match) bool {
	return m.rank < other.rank || m.rank == other.rank && m.distance < other.distance
}

// last is the part of a path or variable after its last separator.
func last(name string) string { return name[strings.LastIndexAny(name, "._")+1:] }

// extends reports whether long is short with more letters, not with more parts.
func extends(long, short string) bool {
	rest, ok := strings.CutPrefix(long, short)
	return ok && short != "" && rest != "" && rest[0] != '.'
}
