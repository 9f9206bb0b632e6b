package images

import (
	"slices"
	"strings"

	"github.com/berth-oci/berth/catalog/index"
)

// filter says which changes somebody gets: those that it asks for, of what it may
// read.
type filter struct {
	// all is set if every repository is let through, and else within are those that
	// are, with what lies below them. repositories, if there are any, are the only
	// ones.
	all          bool
	within       map[string]struct{}
	repositories map[string]struct{}
	types        map[index.ChangeType]struct{}
	// text tells filters apart.
	text string
}

// newFilter makes the filter of a query for who may read so much; nil means
// everything.
func newFilter(readable []string, q changesQuery) *filter {
	within := visible(readable, q.namespaces)
	f := &filter{all: within == nil, within: set(within), repositories: set(q.repositories), types: set(q.types)}
	f.text = strings.Join([]string{sorted(within), sorted(q.repositories), sorted(q.types)}, "\n")
	if f.all {
		f.text = "*" + f.text
	}
	return f
}

func set[T comparable](values []T) map[T]struct{} {
	if len(values) == 0 {
		return nil
	}
	m := make(map[T]struct{}, len(values))
	for _, v := range values {
		m[v] = struct{}{}
	}
	return m
}

func sorted[T ~string](values []T) string {
	var b strings.Builder
	for _, v := range slices.Sorted(slices.Values(values)) {
		b.WriteString(string(v))
		b.WriteByte(' ')
	}
	return b.String()
}

// passes reports whether a change gets through. What that costs depends on how
// deep the repository's name is, not on how much may be read.
func (f *filter) passes(c *index.Change) bool {
	if f.types != nil {
		if _, ok := f.types[c.Type]; !ok {
			return false
		}
	}
	return f.covers(c.Repository)
}

func (f *filter) covers(repository string) bool {
	if f.repositories != nil {
		if _, ok := f.repositories[repository]; !ok {
			return false
		}
	}
	if f.all {
		return true
	}
	for i := range len(repository) {
		if repository[i] == '/' {
			if _, ok := f.within[repository[:i]]; ok {
				return true
			}
		}
	}
	_, ok := f.within[repository]
	return ok
}
