package test

import (
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// conformanceFailures is how many tests of the suite the embedded registry
// fails by itself. It may only become smaller.
const conformanceFailures = 91

// TestConformance runs the distribution specification's own suite, version 1.1,
// against berth.
func TestConformance(t *testing.T) {
	suite := filepath.Join(t.TempDir(), "conformance")
	build := exec.Command("go", "build", "-modfile=.ci/tools.mod", "-o", suite, "github.com/opencontainers/distribution-spec/conformance")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		if required("conformance") {
			t.Fatalf("the suite does not build: %v\n%s", err, out)
		}
		t.Skipf("skipped: needs the conformance suite, which cannot be built here: %v", err)
	}
	b, results := start(t), t.TempDir()
	run := exec.CommandContext(testContext(t), suite)
	run.Dir = results
	run.Env = append(os.Environ(), "OCI_REGISTRY="+b.Host, "OCI_TLS=disabled", "OCI_REPO1=conformance/one",
		"OCI_REPO2=conformance/two", "OCI_VERSION=1.1", "OCI_RESULTS_DIR="+results)
	out, _ := run.CombinedOutput() // it fails if one test does
	report, err := os.ReadFile(filepath.Join(results, "junit.xml"))
	if err != nil {
		t.Fatalf("no report: %v\n%s", err, out)
	}
	var suites struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Errors   int `xml:"errors,attr"`
	}
	if err := xml.Unmarshal(report, &suites); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d tests, %d failures, %d errors", suites.Tests, suites.Failures, suites.Errors)
	if suites.Tests < 840 || suites.Errors > 0 || suites.Failures > conformanceFailures {
		t.Errorf("%d tests, %d failures, %d errors; wanted at least 840, at most %d, none",
			suites.Tests, suites.Failures, suites.Errors, conformanceFailures)
	}
}
