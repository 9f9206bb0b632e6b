// Package node says what a YAML node is, for messages about files that people
// write.
package node

import "go.yaml.in/yaml/v3"

// IsNull reports whether a node holds nothing.
func IsNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// Describe returns what a node is in plain words, and never what it holds: that
// may be a secret. It returns "" for a type that it has no word for.
func Describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias (which is not supported here)"
	}
	switch n.Tag {
	case "!!str":
		return "text"
	case "!!bool":
		return "true or false"
	case "!!int", "!!float":
		return "a number"
	case "!!null":
		return "nothing"
	case "!!timestamp":
		return "a date"
	}
	return ""
}
