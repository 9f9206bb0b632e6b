package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/berth-oci/berth/config/node"
)

// file reads the YAML file into c. It walks the nodes itself, against the
// table: a decoder would stop at the first wrong type and cannot name the path
// of a key.
type file struct {
	c        *Config
	table    map[string]setting
	path     string
	problems *problems
}

func (f *file) where(line int) string { return fmt.Sprintf("%s:%d", f.path, line) }

func (f *file) load(text []byte) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var document, second yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return
	} else if err != nil {
		f.syntax(text, err)
		return
	}
	if err := decoder.Decode(&second); err == nil {
		f.problems.add(f.where(second.Line), "a second document begins here; the configuration is one document")
	} else if !errors.Is(err, io.EOF) {
		f.syntax(text, err)
		return
	}
	f.section("", document.Content[0])
}

var (
	yamlLine = regexp.MustCompile(`^(?:yaml: )?line (\d+): `)
	tabbed   = regexp.MustCompile(`^ *\t`)
)

// syntax reports text that is not YAML. The library names the line at which
// the enclosing mapping begins, or none, so the line is found by reading less
// and less of the text.
func (f *file) syntax(text []byte, err error) {
	const most = 4 << 20 // bytes to read in all; some hundred lines of text need less
	lines := bytes.SplitAfter(text, []byte("\n"))
	for end, n := len(text), len(lines); n > 0 && len(text)*len(lines) <= most; n-- {
		end -= len(lines[n-1])
		if !wellFormed(text[:end]) {
			continue
		}
		message := yamlLine.ReplaceAllString(err.Error(), "")
		if tabbed.Match(lines[n-1]) {
			message = "is indented with a tab; YAML allows only spaces"
		}
		f.library(f.where(n), "", message)
		return
	}
	f.library(f.path, "", err.Error())
}

func wellFormed(text []byte) bool {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		if err := decoder.Decode(&yaml.Node{}); err != nil {
			return errors.Is(err, io.EOF)
		}
	}
}

// library reports an error of the YAML library, with its line in our form.
func (f *file) library(where, key, message string) {
	if m := yamlLine.FindStringSubmatch(message); m != nil {
		where, message = f.path+":"+m[1], strings.TrimPrefix(message, m[0])
	}
	f.problems.add(where, "%s%s", key, strings.TrimPrefix(message, "yaml: "))
}

// section reads the keys below prefix, which is empty for the whole document.
// The depth of sections is that of the table and each key is read once, so
// aliases cannot make this long.
func (f *file) section(prefix string, n *yaml.Node) {
	n = follow(n)
	if node.IsNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		name := prefix
		if name == "" {
			name = "the file"
		}
		f.problems.add(f.where(n.Line), "%s: is %s, not a mapping of keys", name, describe(n))
		return
	}
	first := map[string]int{}
	for i := 0; i < len(n.Content); i += 2 {
		key, value := follow(n.Content[i]), n.Content[i+1]
		where := f.where(n.Content[i].Line)
		if key.Kind != yaml.ScalarNode {
			f.problems.add(where, "%s is no name of a key", describe(key))
			continue
		}
		name := shorten(key.Value)
		path := name
		if prefix != "" {
			path = prefix + "." + name
		}
		if line, ok := first[name]; ok {
			f.problems.add(where, "%s: is set twice, first in line %d", path, line)
			continue
		}
		first[name] = n.Content[i].Line
		switch {
		case key.Tag == "!!merge":
			f.problems.add(where, "%s: merging is not supported here; use an alias for a whole section", path)
		case strings.Contains(name, "."):
			f.problems.add(where, "%s: unknown key; write each part of a path on a line of its own, indented below the one before", path)
		default:
			f.key(where, path, value)
		}
	}
	if prefix == "storage" {
		f.oneDriver(first)
	}
}

func (f *file) key(where, path string, n *yaml.Node) {
	if s, ok := f.table[path]; ok {
		f.value(where, s, follow(n))
		return
	}
	if path == "storage" && follow(n).Kind == yaml.ScalarNode && !node.IsNull(follow(n)) {
		f.driver(where, follow(n).Value)
		return
	}
	if driver, ok := strings.CutPrefix(path, "storage."); ok && drivers[driver] != "" {
		f.parameters(where, path, follow(n))
		f.driver(where, driver)
		return
	}
	if name, ok := strings.CutPrefix(path, webhooksPath+"."); ok && !strings.Contains(name, ".") {
		f.webhook(where, path, name, n)
		return
	}
	known := sections(f.table)
	if known[path] || path == webhooksPath {
		f.section(path, n)
		return
	}
	if why, ok := refused[path]; ok {
		f.problems.add(where, "%s: %s", path, why)
		return
	}
	for key := range f.table {
		known[key] = true
	}
	for driver := range drivers {
		known["storage."+driver] = true
	}
	hint := ""
	if strings.Count(path, ".") == 1 && strings.HasPrefix(path, "storage.") {
		hint = " (or driver: berth has " + driverNames + ")"
	}
	f.problems.add(where, "%s: unknown key%s; %s", path, hint, suggest(path, known))
}

// value reads the value of one key. Nothing after the colon leaves the default.
func (f *file) value(where string, s setting, n *yaml.Node) {
	if node.IsNull(n) {
		return
	}
	if rules, ok := s.field.(structured); ok {
		rules.read(n, func(n *yaml.Node, path, text string, args ...any) {
			f.problems.add(f.where(n.Line), "%s%s: "+text, append([]any{s.path, path}, args...)...)
		})
		f.c.sources[s.path] = source{where, format(s.field)}
		return
	}
	if isList(s.field) && n.Kind == yaml.SequenceNode {
		n = joined(n)
	}
	if n.Kind != yaml.ScalarNode {
		f.problems.add(where, "%s: is %s, not %s", s.path, describe(n), kind(s.field))
		return
	}
	// YAML's types are held to where the text alone would also be readable:
	// 0123 as text is another secret than the number that YAML sees.
	var want string
	switch s.field.(type) {
	case *string:
		want = "!!str"
	case *bool, **bool:
		want = "!!bool"
	case *int:
		want = "!!int"
	}
	if want == "!!str" && n.Tag != want {
		f.problems.add(where, "%s: is %s, not text; put it in quotes", s.path, describe(n))
		return
	}
	if want != "" && n.Tag != want {
		f.problems.add(where, "%s: %q is %s, not %s", s.path, n.Value, describe(n), kind(s.field))
		return
	}
	if err := parse(s.field, n.Value); err != nil {
		f.problems.add(where, "%s: %w", s.path, err)
		return
	}
	f.c.sources[s.path] = source{where, format(s.field)}
}

// joined makes of a list of texts what stands for it in the environment. A list
// of anything else it leaves as it is.
func joined(list *yaml.Node) *yaml.Node {
	var all []string
	for _, n := range list.Content {
		if n = follow(n); n.Kind != yaml.ScalarNode || node.IsNull(n) {
			return list
		}
		all = append(all, n.Value)
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: strings.Join(all, ",")}
}

// follow gives what an alias stands for.
func follow(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// describe says what a node is.
func describe(n *yaml.Node) string {
	return cmp.Or(node.Describe(n), "of the type "+shorten(n.Tag))
}
