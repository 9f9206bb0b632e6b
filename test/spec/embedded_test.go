package spec

import (
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// embedded maps each test that distribution has of its own HTTP interface
// (registry/handlers/api_test.go) to those of ours that want the same of berth,
// in this package or in the one beside it that is named, or says why there is
// none: berth must not be worse than what it embeds.
var embedded = map[string]struct {
	ours   []string
	waived string
}{
	"TestCheckAPI":       {ours: []string{"TestEmptyCatalog"}},
	"TestCatalogAPI":     {ours: []string{"TestPages", "TestEmptyCatalog"}},
	"TestTagsAPI":        {ours: []string{"TestPages"}},
	"TestRelativeURL":    {ours: []string{"TestPublicURL", "TestManifestDigests", "TestChunks"}},
	"TestBlobAPI":        {ours: []string{"TestBlobDigests", "TestChunks", "TestUploadsAreNotThere", "TestConditionalGet"}},
	"TestBlobDelete":     {ours: []string{"TestBlobDigests"}},
	"TestDeleteReadOnly": {ours: []string{"TestReadOnly"}},
	"TestManifestAPI": {ours: []string{"TestContents", "TestMediaTypes", "TestMissingLayers", "TestConditionalGet",
		"TestDigestNeverLies", "TestErrors"}},
	"TestStartPushReadOnly":           {ours: []string{"TestReadOnly"}},
	"TestManifestAPI_DeleteTag":       {ours: []string{"TestPages", "TestTagParameters", "faults.TestEveryChangeIsInTheNextAnswer"}},
	"TestManifestDelete":              {ours: []string{"TestManifestDigests", "TestErrors"}},
	"TestGetManifestWithStorageError": {ours: []string{"faults.TestDiskThatFailsNowAndThen"}},

	"TestManifestAPI_DeleteTag_Unknown":  {ours: []string{"TestErrors"}},
	"TestManifestAPI_DeleteTag_ReadOnly": {ours: []string{"TestReadOnly"}},

	// The largest page is no setting, and larger than any test wants; that a page
	// is cut and linked is tested with the n that the client gives.
	"TestTagsAPIMaxTagsClamp": {ours: []string{"TestPages"}},

	"TestURLPrefix": {ours: []string{"operation.TestPathPrefix"}},
	"TestBlobDeleteDisabled": {waived: "deletions cannot be switched off in berth, whose API deletes images; " +
		"a registry that is read-only refuses them (TestReadOnly)"},
	"TestDeleteDisabled":                       {waived: "as TestBlobDeleteDisabled"},
	"TestManifestDeleteDisabled":               {waived: "as TestBlobDeleteDisabled"},
	"TestManifestAPI_DeleteTag_DeleteDisabled": {waived: "as TestBlobDeleteDisabled"},
	"TestRegistryAsCacheMutationAPIs":          {waived: "berth is not a pull-through cache and has no setting to make it one"},
	"TestProxyManifestGetByTag":                {waived: "as TestRegistryAsCacheMutationAPIs"},
}

// TestEmbeddedTable keeps the table true: what it names is there, and none of
// distribution's tests is missing.
func TestEmbeddedTable(t *testing.T) {
	ours := map[string][]string{}
	for _, in := range []string{"", "faults", "operation"} {
		ours[in] = testsIn(t, filepath.Join("..", cmp.Or(in, "spec")))
	}
	for theirs, c := range embedded {
		if (len(c.ours) == 0) == (c.waived == "") {
			t.Errorf("%s wants either tests of ours or a reason for none", theirs)
		}
		for _, name := range c.ours {
			in, test, other := strings.Cut(name, ".")
			if !other {
				in, test = "", name
			}
			if !slices.Contains(ours[in], test) {
				t.Errorf("%s: there is no test %s", theirs, name)
			}
		}
	}
	list := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/distribution/distribution/v3")
	list.Dir = ".."
	out, err := list.Output()
	dir := strings.TrimSpace(string(out))
	if err != nil || dir == "" {
		t.Skipf("skipped: needs the source of distribution, which is not here: %v", err)
	}
	theirs := testsIn(t, filepath.Join(dir, "registry", "handlers", "api_test.go"))
	for _, name := range theirs {
		if _, ok := embedded[name]; !ok {
			t.Errorf("the table lacks %s", name)
		}
	}
	for name := range embedded {
		if !slices.Contains(theirs, name) {
			t.Errorf("distribution has no %s", name)
		}
	}
	t.Logf("%d tests of distribution's", len(theirs))
}

// testsIn are the test functions of a file, or of a folder.
func testsIn(t *testing.T, path string) (names []string) {
	t.Helper()
	files := []string{path}
	if !strings.HasSuffix(path, ".go") {
		var err error
		if files, err = filepath.Glob(filepath.Join(path, "*_test.go")); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") && fn.Name.Name != "TestMain" {
				names = append(names, fn.Name.Name)
			}
		}
	}
	return names
}
