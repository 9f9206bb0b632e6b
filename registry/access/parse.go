package access

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/berth-oci/berth/config/node"

	"github.com/berth-oci/berth/config/size"
)

// maxFile bounds the accounts file: an account with a few tokens takes about a
// kilobyte.
const maxFile = 64 << 20

// readFile reads the whole file, and what it looked like before.
func readFile(path string) ([]byte, fs.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, info, fmt.Errorf("%s is not a file", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s is larger than %s", path, size.Format(maxFile))
	}
	return text, info, err
}

// parse reads the file. The error names file, line and key of everything that
// is wrong, and never a value that could be a secret.
func parse(path string, text []byte) (*File, error) {
	var document yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: is empty; a file with no accounts in it says \"accounts: []\"", path)
	} else if err != nil {
		return nil, syntaxError(path, err)
	}
	if err := decoder.Decode(new(yaml.Node)); err == nil {
		return nil, fmt.Errorf("%s: holds a second document; accounts are one document", path)
	} else if !errors.Is(err, io.EOF) {
		return nil, syntaxError(path, err)
	}
	r := &reader{path: path}
	file := r.file(document.Content[0])
	return file, r.err()
}

var (
	yamlLine    = regexp.MustCompile(`^(?:yaml: )?line (\d+): `)
	yamlExcerpt = regexp.MustCompile(`'[^']*'|"[^"]*"|` + "`[^`]*`")
)

// syntaxError says what the YAML library says, without the text that it cites.
func syntaxError(path string, err error) error {
	message := err.Error()
	if m := yamlLine.FindStringSubmatch(message); m != nil {
		path, message = path+":"+m[1], strings.TrimPrefix(message, m[0])
	}
	return fmt.Errorf("%s: is no YAML: %s", path, yamlExcerpt.ReplaceAllString(strings.TrimPrefix(message, "yaml: "), "…"))
}

// reader reads the nodes of the file. It goes on after what is wrong, so that
// all of it is reported in one go.
type reader struct {
	path     string
	problems []error
}

func (r *reader) err() error {
	const most = 20
	if more := len(r.problems) - most; more > 0 {
		return errors.Join(append(r.problems[:most:most], fmt.Errorf("and %d problems more", more))...)
	}
	return errors.Join(r.problems...)
}

func (r *reader) wrong(n *yaml.Node, where, format string, args ...any) {
	r.problems = append(r.problems, fmt.Errorf("%s:%d: %s: %s", r.path, n.Line, where, fmt.Sprintf(format, args...)))
}

func (r *reader) file(n *yaml.Node) *File {
	file := &File{Accounts: []Account{}}
	found := false
	r.keys(n, "", map[string]func(*yaml.Node, string){
		"accounts": func(n *yaml.Node, where string) {
			if node.IsNull(n) {
				return
			}
			found = true
			names := map[string]int{}
			r.list(n, where, func(n *yaml.Node, where string) {
				a := r.account(n, where)
				if line, ok := names[a.Name]; ok && a.Name != "" {
					r.wrong(n, where+".name", "%s is here twice, first in line %d", a.Name, line)
				}
				names[a.Name] = n.Line
				file.Accounts = append(file.Accounts, a)
			})
		},
		"public": func(n *yaml.Node, where string) { file.Public = r.names(n, where, CheckPublic) },
	})
	if !found && len(r.problems) == 0 {
		r.wrong(n, "accounts", "is missing or empty; a file with no accounts in it says \"accounts: []\"")
	}
	return file
}

func (r *reader) account(n *yaml.Node, where string) (a Account) {
	known := r.keys(n, where, map[string]func(*yaml.Node, string){
		"name": func(n *yaml.Node, where string) {
			if a.Name = r.text(n, where); a.Name != "" {
				r.check(n, where, CheckName(a.Name))
			}
		},
		"admin": func(n *yaml.Node, where string) { a.Admin = r.boolean(n, where) },
		"quota": func(n *yaml.Node, where string) {
			if n.Kind != yaml.ScalarNode {
				r.wrong(n, where, "is %s; it %v", describe(n), errSize)
				return
			}
			var err error
			a.Quota, err = ParseQuota(n.Value)
			r.check(n, where, err)
		},
		"tokens": func(n *yaml.Node, where string) {
			r.list(n, where, func(n *yaml.Node, where string) {
				t := r.token(n, where)
				for _, other := range a.Tokens {
					if t.Label != "" && other.Label == t.Label {
						r.wrong(n, where+".label", "%s is the label of two tokens", t.Label)
					}
					if other.Hash == t.Hash && t.Hash != [32]byte{} {
						r.wrong(n, where+".sha256", "is the same as that of another token")
					}
				}
				a.Tokens = append(a.Tokens, t)
			})
		},
		"read":  func(n *yaml.Node, where string) { a.Read = r.names(n, where, CheckGrant) },
		"write": func(n *yaml.Node, where string) { a.Write = r.names(n, where, CheckGrant) },
	})
	if known != nil && !known["name"] {
		r.wrong(n, where+".name", "is missing")
	}
	return a
}

func (r *reader) token(n *yaml.Node, where string) (t Token) {
	known := r.keys(n, where, map[string]func(*yaml.Node, string){
		"label": func(n *yaml.Node, where string) {
			if t.Label = r.text(n, where); t.Label != "" {
				r.check(n, where, CheckLabel(t.Label))
			}
		},
		"sha256": func(n *yaml.Node, where string) {
			hash, err := hex.DecodeString(n.Value)
			if n.Kind != yaml.ScalarNode || err != nil || len(hash) != len(t.Hash) {
				r.wrong(n, where, "wants the SHA-256 of the secret, 64 digits of 0-9 a-f")
				return
			}
			copy(t.Hash[:], hash)
		},
		"created":   func(n *yaml.Node, where string) { t.Created = r.time(n, where) },
		"expires":   func(n *yaml.Node, where string) { t.Expires = r.time(n, where) },
		"read_only": func(n *yaml.Node, where string) { t.ReadOnly = r.boolean(n, where) },
	})
	for _, key := range []string{"label", "sha256"} {
		if known != nil && !known[key] {
			r.wrong(n, where+"."+key, "is missing")
		}
	}
	return t
}

// names reads a list of different names that are as check wants them.
func (r *reader) names(n *yaml.Node, where string, check func(string) error) (names []string) {
	r.list(n, where, func(n *yaml.Node, where string) {
		name := r.text(n, where)
		if name == "" {
			return
		}
		r.check(n, where, check(name))
		if slices.Contains(names, name) {
			r.wrong(n, where, "%s is here twice", quoted(name))
		}
		names = append(names, name)
	})
	return names
}

func (r *reader) check(n *yaml.Node, where string, err error) {
	if err != nil {
		r.wrong(n, where, "%v", err)
	}
}

// keys reads a mapping, and returns which keys were there, nil if it is none.
func (r *reader) keys(n *yaml.Node, where string, read map[string]func(*yaml.Node, string)) map[string]bool {
	if n.Kind != yaml.MappingNode {
		if where == "" {
			where = "the file"
		}
		r.wrong(n, where, "is %s, not a mapping of keys", describe(n))
		return nil
	}
	found := map[string]bool{}
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		path := key.Value
		if where != "" {
			path = where + "." + key.Value
		}
		into, ok := read[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode || !ok:
			var names []string
			for name := range read {
				names = append(names, name)
			}
			slices.Sort(names)
			hint := meant(key.Value, names)
			if hint == "" {
				hint = "; the keys here are " + strings.Join(names, ", ")
			}
			r.wrong(key, cmp.Or(where, "the file"), "%s is no key%s", quoted(key.Value), hint)
		case found[key.Value]:
			r.wrong(key, path, "is set twice")
		default:
			found[key.Value] = true
			into(value, path)
		}
	}
	return found
}

// list reads each of a list. Nothing after the colon is an empty one.
func (r *reader) list(n *yaml.Node, where string, each func(*yaml.Node, string)) {
	if node.IsNull(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		r.wrong(n, where, "is %s, not a list", describe(n))
		return
	}
	for i, item := range n.Content {
		each(item, fmt.Sprintf("%s[%d]", where, i))
	}
}

func (r *reader) text(n *yaml.Node, where string) string {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
		hint := ""
		if n.Kind == yaml.ScalarNode && !node.IsNull(n) {
			hint = "; put it in quotes"
		}
		r.wrong(n, where, "is %s, not text%s", describe(n), hint)
		return ""
	}
	if n.Value == "" {
		r.wrong(n, where, "is empty")
	}
	return n.Value
}

func (r *reader) boolean(n *yaml.Node, where string) (value bool) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" || n.Decode(&value) != nil {
		r.wrong(n, where, "is %s, not true or false", describe(n))
	}
	return value
}

func (r *reader) time(n *yaml.Node, where string) time.Time {
	if n.Kind == yaml.ScalarNode {
		if t, err := ParseTime(n.Value); err == nil {
			return t
		}
	}
	r.wrong(n, where, "wants to be a date like 2027-01-01, or with a time: 2027-01-01T18:00:00Z")
	return time.Time{}
}

// ParseTime reads a time as the file has it: a date, which means its begin in
// UTC, or RFC 3339.
func ParseTime(text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil && !t.IsZero() {
			return t.UTC(), nil
		}
	}
	return time.Time{}, errors.New("not a time")
}

// describe says what a node is.
func describe(n *yaml.Node) string { return cmp.Or(node.Describe(n), "something else") }
