package images

import (
	"strings"

	"github.com/agnivade/levenshtein"
)

// slipOf returns the known name that another one looks like a slip of, "" if it
// looks like none: nothing else is known about it then, and it is ignored. A
// filter that is misspelt must not be: without it the answer would be everything.
func slipOf(name string, known ...string) string {
	const longest, fewest = 32, 2
	if len(name) < fewest || len(name) > longest {
		return ""
	}
	lower := strings.ToLower(name)
	best, least := "", 0
	for _, k := range known {
		if d, ok := slip(lower, k); ok && (best == "" || d < least) {
			best, least = k, d
		}
	}
	return best
}

// slip says how many letters two names differ by, and reports whether they are
// as near as a slip is: one letter of a short name, two of a longer one, or the
// beginning of the longer of them.
func slip(name, known string) (distance int, ok bool) {
	const short, whole = 4, 4
	most := 1
	if len(known) > short {
		most = 2
	}
	long, begins := name, known
	if len(name) < len(known) {
		long, begins = known, name
	}
	rest := len(long) - len(begins)
	if len(begins) >= whole && strings.HasPrefix(long, begins) {
		return rest, true
	}
	if rest > most {
		return 0, false
	}
	distance = levenshtein.ComputeDistance(name, known)
	return distance, distance <= most
}
