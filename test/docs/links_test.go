// Package docs checks documents: the commands that they print run as printed, and
// what they name is there.
package docs

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	// named is a name of the code, and the file in which it is.
	named = regexp.MustCompile("`([^`]+)`\\s\\(`([^`]+\\.go)`\\)")
	// path is a file or folder of the module, in code.
	path = regexp.MustCompile("`((?:catalog|cmd|config|registry|storage|test)(?:/[a-z0-9_]+)+(?:\\.go)?)`")
)

// documents are all of the module, by their names below its root.
func documents(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(harness.Root(), func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && file != harness.Root() && strings.HasPrefix(entry.Name(), "."):
			return fs.SkipDir
		case !strings.HasSuffix(file, ".md"):
			return nil
		}
		text, err := os.ReadFile(file)
		name, _ := filepath.Rel(harness.Root(), file)
		found[filepath.ToSlash(name)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestLinks checks that what documents link to is there.
func TestLinks(t *testing.T) {
	all := documents(t)
	links := 0
	for name, text := range all {
		for _, found := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(found[1], "://") {
				continue
			}
			links++
			file, anchor, _ := strings.Cut(found[1], "#")
			target := filepath.ToSlash(filepath.Join(filepath.Dir(name), file))
			if file == "" {
				target = name
			}
			if _, err := os.Stat(filepath.Join(harness.Root(), target)); err != nil {
				t.Errorf("%s links to %s: %v", name, found[1], err)
			}
			if anchor != "" && !hasAnchor(all[target], anchor) {
				t.Errorf("%s links to %s, and there is no such heading", name, found[1])
			}
		}
	}
	if links < 20 {
		t.Errorf("%d links in %d documents: this test sees too little", links, len(all))
	}
}

// hasAnchor reports whether a heading has the anchor that hosts of repositories
// give it.
func hasAnchor(text, anchor string) bool {
	for _, found := range heading.FindAllStringSubmatch(text, -1) {
		if strings.ReplaceAll(strings.ToLower(strings.NewReplacer("`", "", ",", "", "'", "").Replace(found[1])), " ", "-") == anchor {
			return true
		}
	}
	return false
}

// TestNames checks that the guide for contributors names code that is there.
func TestNames(t *testing.T) {
	text := documents(t)["CONTRIBUTING.md"]
	names, paths := named.FindAllStringSubmatch(text, -1), path.FindAllStringSubmatch(text, -1)
	if len(names) < 10 || len(paths) < 10 {
		t.Errorf("%d names and %d paths: this test sees too little", len(names), len(paths))
	}
	for _, found := range names {
		source, err := os.ReadFile(filepath.Join(harness.Root(), found[2]))
		if err != nil {
			t.Error(err)
			continue
		}
		// Of Type.Method, the method; of f(), f.
		name := strings.TrimSuffix(found[1][strings.LastIndexByte(found[1], '.')+1:], "()")
		if !regexp.MustCompile(`\b` + regexp.QuoteMeta(name) + `\b`).Match(source) {
			t.Errorf("CONTRIBUTING.md says that %s is in %s, and it is not", found[1], found[2])
		}
	}
	for _, found := range paths {
		if _, err := os.Stat(filepath.Join(harness.Root(), found[1])); err != nil {
			t.Errorf("CONTRIBUTING.md: %v", err)
		}
	}
}

// TestPackageComments checks that every package says what it is.
func TestPackageComments(t *testing.T) {
	commented := map[string]bool{}
	err := filepath.WalkDir(harness.Root(), func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && file != harness.Root() && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata"):
			return fs.SkipDir
		case !strings.HasSuffix(file, ".go"):
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		folder := filepath.Dir(file)
		commented[folder] = commented[folder] || parsed.Doc != nil
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(commented) < 20 {
		t.Errorf("%d packages: this test sees too little", len(commented))
	}
	for folder, says := range commented {
		if !says {
			t.Errorf("the package in %s has no comment", folder)
		}
	}
}
