package config

import (
	"slices"
	"strings"
)

// shorten bounds names that come from the file or the environment: they are
// printed, and compared with all known ones.
func shorten(name string) string {
	const longest = 100
	if runes := []rune(name); len(runes) > longest {
		return string(runes[:longest]) + "…"
	}
	return name
}

// suggest names the known key or variable nearest to name: "did you mean …?",
// or if none is near, as little more than a starting point.
func suggest(name string, known map[string]bool) string {
	type candidate struct {
		name           string
		rank, distance int
	}
	var best candidate
	for k := range known {
		c := candidate{k, 3, distance(strings.ToLower(name), strings.ToLower(k))}
		switch {
		case c.distance <= 2:
			c.rank = 0
		case last(name) == last(k):
			c.rank = 1 // the right name in the wrong place
		case extends(k, name) || extends(name, k):
			c.rank = 2 // a shorter or longer form
		}
		if best.name == "" || c.rank < best.rank ||
			c.rank == best.rank && (c.distance < best.distance || c.distance == best.distance && c.name < best.name) {
			best = c
		}
	}
	if best.rank == 3 && best.distance > len(name)/2 {
		return "the nearest known one is " + best.name
	}
	return "did you mean " + best.name + "?"
}

// last is the part of a path or variable after its last separator.
func last(name string) string { return name[strings.LastIndexAny(name, "._")+1:] }

// extends tells whether long is short with more letters, not with more parts.
func extends(long, short string) bool {
	rest, ok := strings.CutPrefix(long, short)
	return ok && rest != "" && rest[0] != '.'
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
