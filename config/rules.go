package config

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/berth-oci/berth/config/nearest"
	"github.com/berth-oci/berth/config/node"
	"github.com/berth-oci/berth/storage/reference"
)

// Rules say which images are removed by themselves.
type Rules struct {
	// Interval is from one run to the next; 0 is none but by command.
	Interval time.Duration
	// Default is for namespaces that have none of their own.
	Default RuleSet
	// Namespaces have rules of their own, in place of the default.
	Namespaces RuleSets
}

// RuleSet is the rules of a namespace. In the environment it is YAML on one line.
type RuleSet struct {
	// Untagged is how old an image without a tag gets; 0 is for ever.
	Untagged time.Duration
	Tags     []TagRule
	// Immutable are patterns of tags.
	Immutable []string
}

// TagRule removes the tags that match, but for the last, once they are old enough.
// At least one of KeepLast and OlderThan is set.
type TagRule struct {
	Match     []string
	KeepLast  int
	OlderThan time.Duration
}

// RuleSets are the rules of namespaces by their names.
type RuleSets map[string]RuleSet

// structured is a field that is more than a value: it reads itself from a node,
// and becomes one.
type structured interface {
	// read sets the field, and tells wrong of everything that cannot be; path is
	// below the key, and begins with a dot or is empty.
	read(n *yaml.Node, wrong wrong)
	node() any
}

type wrong func(n *yaml.Node, path, format string, args ...any)

func (r *RuleSet) read(n *yaml.Node, wrong wrong) {
	fields(n, "", wrong, map[string]func(*yaml.Node, string){
		"untagged": func(n *yaml.Node, at string) {
			given := false
			fields(n, at, wrong, map[string]func(*yaml.Node, string){"older_than": func(n *yaml.Node, at string) {
				given = true
				r.Untagged = readAge(n, at, wrong)
			}})
			if n.Kind == yaml.MappingNode && len(n.Content) == 0 || !given && node.IsNull(n) {
				wrong(n, at, "says nothing; give older_than, like 30d, or leave it out")
			}
		},
		"tags": func(n *yaml.Node, at string) {
			for i, one := range items(n, at, "a list of rules", wrong) {
				r.Tags = append(r.Tags, readTagRule(one, fmt.Sprintf("%s[%d]", at, i), wrong))
			}
		},
		"immutable": func(n *yaml.Node, at string) { r.Immutable = readPatterns(n, at, wrong) },
	})
}

func readTagRule(n *yaml.Node, at string, wrong wrong) (rule TagRule) {
	given := false
	ok := fields(n, at, wrong, map[string]func(*yaml.Node, string){
		"match": func(n *yaml.Node, at string) { rule.Match = readPatterns(n, at, wrong) },
		"keep_last": func(n *yaml.Node, at string) {
			given = true
			number, err := strconv.Atoi(n.Value)
			if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || err != nil || number < 1 {
				wrong(n, at, "%s is not a whole number from 1 on", shown(n))
				return
			}
			rule.KeepLast = number
		},
		"older_than": func(n *yaml.Node, at string) {
			given = true
			rule.OlderThan = readAge(n, at, wrong)
		},
	})
	if ok && !given {
		wrong(n, at, "says nothing of when a tag goes; give keep_last, older_than or both")
	}
	return rule
}

// fields reads the keys of a mapping, and reports whether it is one.
func fields(n *yaml.Node, at string, wrong wrong, known map[string]func(*yaml.Node, string)) bool {
	if n = follow(n); node.IsNull(n) {
		return true
	}
	if n.Kind != yaml.MappingNode {
		wrong(n, at, "is %s, not a mapping of keys", describe(n))
		return false
	}
	seen := map[string]bool{}
	for i := 0; i < len(n.Content); i += 2 {
		key := follow(n.Content[i])
		name := shorten(key.Value)
		read, ok := known[name]
		switch {
		case !ok || key.Kind != yaml.ScalarNode:
			names := slices.Sorted(maps.Keys(known))
			hint := "there are " + strings.Join(names, ", ")
			if best, near := nearest.Of(name, names); near {
				hint = "did you mean " + best + "?"
			}
			wrong(key, at, "unknown key %q; %s", name, hint)
		case seen[name]:
			wrong(key, at+"."+name, "is set twice")
		default:
			read(follow(n.Content[i+1]), at+"."+name)
		}
		seen[name] = true
	}
	return true
}

func items(n *yaml.Node, at, what string, wrong wrong) []*yaml.Node {
	if node.IsNull(n) {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		wrong(n, at, "is %s, not %s", describe(n), what)
		return nil
	}
	all := make([]*yaml.Node, len(n.Content))
	for i, one := range n.Content {
		all[i] = follow(one)
	}
	return all
}

// readPatterns reads a list of patterns, or one alone.
func readPatterns(n *yaml.Node, at string, wrong wrong) (patterns []string) {
	all := []*yaml.Node{n}
	if n.Kind != yaml.ScalarNode || node.IsNull(n) {
		all = items(n, at, "a pattern of tags or a list of them", wrong)
	}
	if len(all) == 0 {
		wrong(n, at, `is empty; "*" is every tag`)
	}
	for _, one := range all {
		if one.Kind != yaml.ScalarNode {
			wrong(one, at, "is %s, not a pattern of tags", describe(one))
			continue
		}
		if wrongPattern(one.Value) {
			wrong(one, at, `%q is not a pattern of tags like "v*", "v[0-9]*" or latest`, shorten(one.Value))
			continue
		}
		patterns = append(patterns, one.Value)
	}
	return patterns
}

// inPattern is what a pattern of tags may have in it.
var inPattern = regexp.MustCompile(`^[A-Za-z0-9_.*?\[\]^\\-]+$`)

func wrongPattern(pattern string) bool {
	_, err := path.Match(pattern, "")
	return err != nil || !inPattern.MatchString(pattern)
}

func readAge(n *yaml.Node, at string, wrong wrong) time.Duration {
	age, err := parseAge(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || age <= 0 {
		wrong(n, at, "%s is not an age like 30d or 12h", shown(n))
		return 0
	}
	return age
}

const day = 24 * time.Hour

// parseAge reads a duration, or a number of days.
func parseAge(text string) (time.Duration, error) {
	const most = 100 * 365
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.Atoi(days)
		if err == nil && (n < 0 || n > most) {
			err = strconv.ErrRange
		}
		return time.Duration(n) * day, err
	}
	return time.ParseDuration(text)
}

func formatAge(d time.Duration) string {
	if d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	return formatDuration(d)
}

// shown is a node as a message has it.
func shown(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode && !node.IsNull(n) {
		return strconv.Quote(shorten(n.Value))
	}
	return describe(n)
}

func (r *RuleSets) read(n *yaml.Node, wrong wrong) {
	if n = follow(n); node.IsNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		wrong(n, "", "is %s, not a mapping of namespaces", describe(n))
		return
	}
	for i := 0; i < len(n.Content); i += 2 {
		key, name := n.Content[i], shorten(n.Content[i].Value)
		_, twice := (*r)[name]
		switch {
		case key.Kind != yaml.ScalarNode || !reference.IsComponent(key.Value):
			wrong(key, "", "%q is no namespace: it is the first part of a repository's name, like alice of alice/app", name)
		case twice:
			wrong(key, "."+name, "is set twice")
		default:
			if *r == nil {
				*r = RuleSets{}
			}
			var set RuleSet
			set.read(follow(n.Content[i+1]), func(n *yaml.Node, path, format string, args ...any) {
				wrong(n, "."+name+path, format, args...)
			})
			(*r)[name] = set
		}
	}
}

// node is what is printed of it.
func (r *RuleSet) node() any {
	out := map[string]any{}
	if r.Untagged > 0 {
		out["untagged"] = map[string]any{"older_than": formatAge(r.Untagged)}
	}
	var tags []any
	for _, t := range r.Tags {
		one := map[string]any{}
		if len(t.Match) > 0 {
			one["match"] = t.Match
		}
		if t.KeepLast > 0 {
			one["keep_last"] = t.KeepLast
		}
		if t.OlderThan > 0 {
			one["older_than"] = formatAge(t.OlderThan)
		}
		tags = append(tags, one)
	}
	if tags != nil {
		out["tags"] = tags
	}
	if len(r.Immutable) > 0 {
		out["immutable"] = r.Immutable
	}
	return out
}

func (r *RuleSets) node() any {
	out := map[string]any{}
	for name, set := range *r {
		out[name] = set.node()
	}
	return out
}

func (r *Rules) settings() []setting {
	return []setting{
		{path: "rules.interval", field: &r.Interval,
			doc: "Time between two runs of the rules in the background, at least 1m. 0: only `berth rules run` runs them."},
		{path: "rules.default", field: &r.Default,
			doc: "The rules of every namespace that has none of its own: see [Rules](../catalog/rules/README.md). In a variable it is YAML on one line."},
		{path: "rules.namespaces", field: &r.Namespaces,
			doc: "Rules of namespaces by their names, each in place of the default as a whole; `{}` is none."},
	}
}

func (c *Config) checkRules(p *problems) {
	if n := c.Rules.Interval; n != 0 && n < time.Minute {
		c.problem(p, "rules.interval", "%s is too short; at least 1m, or 0 for none in the background", formatDuration(n))
	}
}
