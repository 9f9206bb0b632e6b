// Package test checks how the module is put together. Berth itself is tested in the
// packages below.
package test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module       = "github.com/berth-oci/berth"
	distribution = "github.com/distribution/distribution/v3"
	anything     = "anything" // of berth, but for its tests
)

// mayImport says which package of berth may import which. A package that is not
// named here may not be at all: whoever adds one says what it is to know.
var mayImport = map[string][]string{
	"cmd/berth":         {anything},
	"cmd/berth/remote":  {"catalog/image", "storage", "storage/fsync", "storage/reference"},
	"cmd/berth/server":  {"catalog/index"},
	"config":            {"config/nearest", "config/network", "config/node", "config/size", "storage/reference"},
	"config/nearest":    {},
	"config/network":    {},
	"config/node":       {},
	"config/size":       {},
	"registry":          {"catalog/image", "config/size", "registry/access", "registry/budget", "storage", "storage/reference"},
	"registry/budget":   {},
	"registry/access":   {"config/nearest", "config/node", "config/size", "storage/fsync", "storage/reference"},
	"catalog":           {"catalog/image", "catalog/index", "storage"},
	"catalog/bolt":      {"catalog/image", "catalog/index", "storage", "storage/fsync", "storage/reference"},
	"catalog/fsck":      {"catalog", "catalog/image", "catalog/index", "storage", "storage/reference"},
	"catalog/image":     {"storage"},
	"catalog/images":    {"catalog/image", "catalog/index", "registry/access", "registry/budget", "storage", "storage/reference"},
	"catalog/webhook":   {"config/network", "storage/fsync"},
	"catalog/rules":     {"catalog", "storage/reference"},
	"catalog/index":     {"catalog/image", "storage", "storage/reference"},
	"storage":           {"storage/reference"},
	"storage/fsync":     {},
	"storage/local":     {},
	"storage/reference": {},
	"storage/pace":      {},
	"storage/collect":   {"storage", "storage/fsync", "storage/pace"},
	"storage/scrub":     {"storage", "storage/fsync", "storage/pace"},
	// What other programs build on.
	"catalog/images/client": {},
	// The suites.
	"catalog/index/indextest": {"catalog", "catalog/image", "catalog/index", "storage", "storage/collect", "storage/reference"},
	"storage/storagetest":     {"storage"},
	// What the tests below test/ share knows berth from outside alone.
	"test/harness": {},
	"test/writers": {"test/harness"},
	"test/scratch": {},
	"test/summary": {},
	// A receiver of webhooks, to try.
	"test/receiver": {"catalog/images/client"},
	// The benchmark. What it asks is answered by programs; only the stores that
	// it asks are written by the packages that keep them.
	"test/bench":         {"test/bench/figures", "test/bench/load", "test/bench/peers", "test/bench/stored"},
	"test/bench/figures": {},
	"test/bench/load":    {},
	"test/bench/peers":   {"test/harness"},
	"test/bench/stored":  {"catalog/bolt", "catalog/image", "catalog/index", "storage", "storage/local"},
}

// onlyIn says which packages of berth may import what is not berth's. Of two
// prefixes the longer one counts; what has none may be imported by all.
var onlyIn = map[string][]string{
	"go.etcd.io/bbolt":      {"catalog/bolt"},
	"github.com/prometheus": {"cmd/berth", "cmd/berth/server"},
	"github.com/spf13":      {"cmd/berth"},
	"github.com/aws":        {},
	"github.com/pb33f":      {"test/harness"}, // large, and for tests alone
	"oras.land":             {"cmd/berth/remote"},
	// distribution's drivers have its interface of a driver as storage does, and
	// the redirects of one speak HTTP.
	"net/http":                                        {"cmd/berth", "cmd/berth/remote", "cmd/berth/server", "registry", "registry/access", "catalog/images", "catalog/images/client", "catalog/webhook", "storage", "storage/local", "test/bench", "test/bench/load", "test/bench/peers", "test/harness", "test/receiver", "test/writers"},
	"github.com/sirupsen":                             {"registry"}, // how distribution logs
	distribution:                                      {"registry"},
	distribution + "/configuration":                   {"registry", "config"},
	distribution + "/registry/storage/driver":         {"cmd/berth", "registry", "storage", "storage/local", "storage/storagetest"},
	distribution + "/registry/storage/driver/":        {"cmd/berth"},
	distribution + "/registry/storage/driver/factory": {"storage", "storage/local"},
}

// withoutDistribution are the packages, with all below them, that of
// distribution may be built with no more than a driver's interface, however
// indirectly.
var withoutDistribution = []string{"catalog", "storage"}

// TestImports checks that every package of berth knows only what it is to know.
// Files for other systems count too, tests do not.
func TestImports(t *testing.T) {
	for _, problem := range importProblems(t, "..") {
		t.Error(problem)
	}
}

// TestImportsRefused checks that TestImports would see what it is there for.
func TestImportsRefused(t *testing.T) {
	const imports = "%s imports %s, and may not"
	for _, test := range []struct{ file, imports, want string }{
		{"catalog/a.go", module + "/registry", fmt.Sprintf(imports, "catalog", "registry")},
		{"catalog/a.go", module + "/config", fmt.Sprintf(imports, "catalog", "config")},
		{"catalog/a.go", "go.etcd.io/bbolt", fmt.Sprintf(imports, "catalog", "go.etcd.io/bbolt")},
		{"catalog/a.go", "go.etcd.io/bbolt/errors", fmt.Sprintf(imports, "catalog", "go.etcd.io/bbolt/errors")},
		{"catalog/a.go", "net/http/httptest", fmt.Sprintf(imports, "catalog", "net/http/httptest")},
		{"catalog/a_windows.go", module + "/registry", fmt.Sprintf(imports, "catalog", "registry")},
		{"catalog/images/a.go", module + "/registry", fmt.Sprintf(imports, "catalog/images", "registry")},
		{"catalog/images/a.go", module + "/registry/access", ""},
		{"catalog/images/a.go", distribution + "/registry/handlers", fmt.Sprintf(imports, "catalog/images", distribution+"/registry/handlers")},
		{"registry/a.go", module + "/catalog", fmt.Sprintf(imports, "registry", "catalog")},
		{"registry/a.go", module + "/catalog/index", fmt.Sprintf(imports, "registry", "catalog/index")},
		{"registry/a.go", module + "/catalog/image", ""},
		{"registry/a.go", distribution + "/registry/storage/driver/inmemory", fmt.Sprintf(imports, "registry", distribution+"/registry/storage/driver/inmemory")},
		{"registry/access/a.go", module + "/storage", fmt.Sprintf(imports, "registry/access", "storage")},
		{"storage/a.go", module + "/catalog/image", fmt.Sprintf(imports, "storage", "catalog/image")},
		{"storage/a.go", distribution + "/registry/storage/driver/filesystem", fmt.Sprintf(imports, "storage", distribution+"/registry/storage/driver/filesystem")},
		{"storage/a.go", distribution + "/registry/storage/driver/factory", ""},
		{"cmd/berth/a.go", module + "/config", ""},
		{"cmd/berth/a.go", module + "/test/harness", fmt.Sprintf(imports, "cmd/berth", "test/harness")},
		{"registry/a.go", module + "/test/writers", fmt.Sprintf(imports, "registry", "test/writers")},
		{"test/harness/a.go", module + "/storage", fmt.Sprintf(imports, "test/harness", "storage")},
		{"cmd/berth/a.go", "go.etcd.io/bbolt", fmt.Sprintf(imports, "cmd/berth", "go.etcd.io/bbolt")},
		{"catalog/a_test.go", module + "/registry", ""},
		{"catalog/nonesuch/a.go", "fmt", "catalog/nonesuch is not among the packages that say what they may import"},
	} {
		t.Run(test.file+" "+test.imports, func(t *testing.T) {
			root := t.TempDir()
			for name := range mayImport {
				writeSource(t, filepath.Join(root, name, "there.go"), "fmt")
			}
			writeSource(t, filepath.Join(root, test.file), test.imports)
			if got := strings.Join(importProblems(t, root), "\n"); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	root := t.TempDir()
	if got := importProblems(t, root); len(got) != len(mayImport) {
		t.Errorf("packages that are named and not there: got %q", got)
	}
}

// TestBuiltWithout checks what packages are built with, which they need not
// import themselves.
func TestBuiltWithout(t *testing.T) {
	for _, tree := range withoutDistribution {
		for _, dependency := range dependencies(t, tree+"/...") {
			if strings.HasPrefix(dependency, distribution+"/") && !strings.HasSuffix(dependency, "/registry/storage/driver") &&
				!strings.HasSuffix(dependency, "/registry/storage/driver/factory") {
				t.Errorf("a package of %s is built with %s", tree, dependency)
			}
		}
	}
	if all := dependencies(t, "cmd/berth"); !slices.Contains(all, distribution+"/registry/handlers") {
		t.Error("the program is built without distribution: this test sees nothing")
	}
}

// dependencies lists the packages that those of a pattern are built with.
func dependencies(t *testing.T, pattern string) []string {
	t.Helper()
	list := exec.Command("go", "list", "-deps", "./"+pattern)
	list.Dir, list.Stderr = "..", os.Stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return strings.Fields(string(out))
}

// importProblems says what is imported below a module's root that may not be,
// in the order of the packages.
func importProblems(t *testing.T, root string) (problems []string) {
	t.Helper()
	imported := importsBelow(t, root)
	for _, name := range slices.Sorted(maps.Keys(imported)) {
		if _, ok := mayImport[name]; !ok {
			problems = append(problems, name+" is not among the packages that say what they may import")
			continue
		}
		for _, p := range slices.Sorted(maps.Keys(imported[name])) {
			if !allowed(name, p) {
				problems = append(problems, fmt.Sprintf("%s imports %s, and may not", name, strings.TrimPrefix(p, module+"/")))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(mayImport)) {
		if _, ok := imported[name]; !ok {
			problems = append(problems, name+" says what it may import, and is not there")
		}
	}
	return problems
}

func allowed(name, imported string) bool {
	if own, ok := strings.CutPrefix(imported, module+"/"); ok {
		if slices.Contains(mayImport[name], anything) {
			return own != "test" && !strings.HasPrefix(own, "test/")
		}
		return slices.Contains(mayImport[name], own)
	}
	var decides string
	for prefix := range onlyIn {
		below := strings.TrimSuffix(prefix, "/") + "/"
		matches := imported == prefix || strings.HasPrefix(imported, below)
		if matches && len(prefix) > len(decides) {
			decides = prefix
		}
	}
	return decides == "" || slices.Contains(onlyIn[decides], name)
}

// importsBelow reads what the packages below a folder import, by the folders'
// names.
func importsBelow(t *testing.T, root string) map[string]map[string]bool {
	t.Helper()
	imported := map[string]map[string]bool{}
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name := entry.Name(); name == "testdata" || file != root && strings.HasPrefix(name, ".") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		name := path.Dir(filepath.ToSlash(relative))
		if imported[name] == nil {
			imported[name] = map[string]bool{}
		}
		for _, spec := range parsed.Imports {
			p, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			imported[name][p] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return imported
}

func writeSource(t *testing.T, file, imports string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	source := fmt.Sprintf("package %s\n\nimport _ %q\n", filepath.Base(filepath.Dir(file)), imports)
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
}
