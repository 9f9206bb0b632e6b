package harness

import (
	"encoding/xml"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// suite is the distribution specification's own tests.
var suite = NewProgram(".ci/tools.mod", "github.com/opencontainers/distribution-spec/conformance")

// ConformanceExtras switches on what the suite leaves off by default.
var ConformanceExtras = []string{
	"OCI_API_BLOBS_UPLOAD_CANCEL=true", "OCI_API_BLOBS_DIGEST_HEADER=true", "OCI_API_MANIFESTS_DIGEST_HEADER=true",
	"OCI_API_MANIFESTS_TAG_PARAM=true", "OCI_DATA_SPARSE=true",
}

// Conformance runs the suite as RunConformance does, of which at least so many
// tests must be run and nothing may fail, or be skipped.
func Conformance(t *testing.T, b *Berth, version string, atLeast int, settings ...string) {
	t.Helper()
	r := RunConformance(t, b, version, settings...)
	if r.Tests < atLeast || r.Errors+r.Failures+r.Skipped > 0 {
		t.Errorf("%s; wanted at least %d and none\n%s", r, atLeast, r.Output)
	}
}

// ConformanceReport is what the suite found.
type ConformanceReport struct {
	Tests    int    `xml:"tests,attr"`
	Failures int    `xml:"failures,attr"`
	Errors   int    `xml:"errors,attr"`
	Skipped  int    `xml:"skipped,attr"`
	Output   []byte // what it printed
}

// String says how many there were of each.
func (r ConformanceReport) String() string {
	return fmt.Sprintf("%d tests, %d failures, %d errors, %d skipped", r.Tests, r.Failures, r.Errors, r.Skipped)
}

// RunConformance runs the suite as a version of the specification, with more of
// its settings as KEY=value.
func RunConformance(t *testing.T, b *Berth, version string, settings ...string) (r ConformanceReport) {
	t.Helper()
	path, err := suite.Path()
	if err != nil {
		if Required("conformance") {
			t.Fatal(err)
		}
		t.Skipf("skipped: needs the conformance suite, which cannot be built here (TEST_REQUIRE=conformance fails then): %v", err)
	}
	results := t.TempDir()
	run := exec.CommandContext(TestContext(t), path)
	run.Dir = results
	run.Env = append(os.Environ(), "OCI_REGISTRY="+b.Host, "OCI_TLS=disabled", "OCI_REPO1=conformance/one",
		"OCI_REPO2=conformance/two", "OCI_VERSION="+version, "OCI_RESULTS_DIR="+results)
	run.Env = append(run.Env, settings...)
	out, _ := run.CombinedOutput() // it fails if one test does
	report, err := os.ReadFile(filepath.Join(results, "junit.xml"))
	if err != nil {
		t.Fatalf("no report: %v\n%s", err, out)
	}
	if err := xml.Unmarshal(report, &r); err != nil {
		t.Fatal(err)
	}
	r.Output = out
	t.Log(r)
	return r
}
