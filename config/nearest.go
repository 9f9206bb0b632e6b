package config

import (
	"maps"
	"slices"

	"github.com/berth-oci/berth/config/nearest"
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
	best, near := nearest.Of(name, slices.Collect(maps.Keys(known)))
	if !near {
		return "the nearest known one is " + best
	}
	return "did you mean " + best + "?"
}
