package access

import (
	"slices"

	"github.com/berth-oci/berth/storage/reference"
)

// meant names the known name that is nearest to one that is not known, as the
// end of a message; "" if none is near.
func meant(name string, known []string) string {
	if len(name) > reference.MaxName {
		return ""
	}
	best, least := "", 0
	for _, k := range known {
		if d := distance(name, k); best == "" || d < least {
			best, least = k, d
		}
	}
	if best == "" || least > max(2, len(name)/2) {
		return ""
	}
	return "; did you mean " + best + "?"
}

// distance is the number of letters to insert, remove or replace between a
// and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = slices.Min([]int{replace, row[j+1] + 1, row[j] + 1})
		}
	}
	return row[len(b)]
}
