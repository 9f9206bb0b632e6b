package rules

import (
	"path"
	"time"

	"github.com/berth-oci/berth/storage/reference"
)

// Policy is the rules of all namespaces.
type Policy struct {
	// Default is for the namespaces that have none of their own.
	Default Set
	// Namespaces are the rules of some, by name, in place of the default.
	Namespaces map[string]Set
}

// Set is the rules of a namespace. The zero value removes nothing.
type Set struct {
	// Name stands in front of the names of the rules: where they are configured.
	Name string
	// Untagged is how old an image without a tag gets; 0 is for ever.
	Untagged time.Duration
	// Tags are the rules for tags, of which the first that fits a tag counts.
	Tags []TagRule
	// Immutable are patterns of tags that neither move nor are removed by a rule.
	Immutable []string
}

// TagRule removes tags.
type TagRule struct {
	// Match are patterns as of [path.Match], of which one has to fit; none is all
	// tags.
	Match []string
	// KeepLast is how many of them stay whatever their age.
	KeepLast int
	// OlderThan is how old the others get; 0 is not at all.
	OlderThan time.Duration
}

// Of returns the rules for a repository.
func (p Policy) Of(repository string) Set {
	if set, ok := p.Namespaces[reference.Namespace(repository)]; ok {
		return set
	}
	return p.Default
}

// Immutable reports whether a tag of a repository may not move once it is set.
func (p Policy) Immutable(repository, tag string) bool { return p.Of(repository).immutable(tag) }

// Any reports whether there is a rule that removes anything.
func (p Policy) Any() bool {
	for _, set := range p.Namespaces {
		if set.removes() {
			return true
		}
	}
	return p.Default.removes()
}

func (s Set) removes() bool { return s.Untagged > 0 || len(s.Tags) > 0 }

func (s Set) immutable(tag string) bool { return fits(s.Immutable, tag) }

// ruleFor returns the index of the rule that a tag falls under, or -1.
func (s Set) ruleFor(tag string) int {
	for i, rule := range s.Tags {
		if len(rule.Match) == 0 || fits(rule.Match, tag) {
			return i
		}
	}
	return -1
}

func fits(patterns []string, tag string) bool {
	for _, pattern := range patterns {
		if ok, _ := path.Match(pattern, tag); ok {
			return true
		}
	}
	return false
}
