package registry

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// citation is how a comment names a section of the specification: in quotes and
// parentheses, with whatever else says where.
var (
	citation = regexp.MustCompile(`\(("[A-Z][A-Za-z ]*"[^)]*)\)`)
	section  = regexp.MustCompile(`"([A-Z][A-Za-z ]*)"`)
	column   = regexp.MustCompile(` {2,}`)
)

// TestSectionTable compares the table in the package comment with what the
// comments of the files cite.
func TestSectionTable(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	cited, listed := map[string]bool{}, map[string]bool{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		if file == "doc.go" {
			readTable(t, parsed.Doc, listed)
			continue
		}
		for _, group := range parsed.Comments {
			text := strings.Join(strings.Fields(group.Text()), " ")
			for _, c := range citation.FindAllStringSubmatch(text, -1) {
				for _, s := range section.FindAllStringSubmatch(c[1], -1) {
					cited[file+": "+s[1]] = true
				}
			}
		}
	}
	for c := range cited {
		if !listed[c] {
			t.Errorf("the table in doc.go lacks %s", c)
		}
	}
	for l := range listed {
		if !cited[l] {
			t.Errorf("the table in doc.go has %s, which no comment of that file cites", l)
		}
	}
	if len(listed) < 10 {
		t.Errorf("the table has %d rows", len(listed))
	}
}

func readTable(t *testing.T, doc *ast.CommentGroup, listed map[string]bool) {
	t.Helper()
	for line := range strings.SplitSeq(doc.Text(), "\n") {
		row, ok := strings.CutPrefix(line, "\t")
		if !ok || strings.HasPrefix(row, "file ") {
			continue
		}
		cells := column.Split(row, -1)
		if len(cells) != 3 {
			t.Errorf("a row of %d columns, want 3: %s", len(cells), row)
			continue
		}
		name := cells[0] + ": " + cells[1]
		if listed[name] {
			t.Errorf("the table lists %s twice", name)
		}
		listed[name] = true
	}
}
