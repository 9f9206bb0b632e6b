package test

import (
	"encoding/xml"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// suite builds the distribution specification's own tests, once.
var suite = sync.OnceValues(func() (string, error) {
	path := filepath.Join(filepath.Dir(binary), "conformance")
	build := exec.Command("go", "build", "-modfile=.ci/tools.mod", "-o", path, "github.com/opencontainers/distribution-spec/conformance")
	build.Dir = ".."
	out, err := build.CombinedOutput()
	if err != nil {
		err = &buildError{err, string(out)}
	}
	return path, err
})

type buildError struct {
	error
	output string
}

// everything switches on what the suite leaves off by default.
var everything = []string{
	"OCI_API_BLOBS_UPLOAD_CANCEL=true", "OCI_API_BLOBS_DIGEST_HEADER=true", "OCI_API_MANIFESTS_DIGEST_HEADER=true",
	"OCI_API_MANIFESTS_TAG_PARAM=true", "OCI_DATA_SPARSE=true",
}

// TestConformance runs the suite against berth, open and with accounts: as
// version 1.1, and as the next one with everything on.
func TestConformance(t *testing.T) {
	for _, c := range []struct {
		name, version string
		atLeast       int
		settings      []string
		berth         []option
	}{
		{"1.1", "1.1", 840, nil, nil},
		{"dev", "dev", 1000, everything, []option{withEnv("BERTH_REGISTRY_MISSING_LAYERS=true")}},
	} {
		for _, closed := range []bool{false, true} {
			name, settings, options := c.name+"/open", c.settings, c.berth
			if closed {
				name = c.name + "/accounts"
			}
			t.Run(name, func(t *testing.T) {
				b := start(t, options...)
				if closed {
					secret := accountsAdd(t, b, "conformance").Secret
					settings = append([]string{"OCI_USERNAME=conformance", "OCI_PASSWORD=" + secret}, settings...)
				}
				conformance(t, b, c.version, c.atLeast, settings...)
			})
		}
	}
}

// conformance runs the suite; nothing may fail, or be skipped.
func conformance(t *testing.T, b *Berth, version string, atLeast int, settings ...string) {
	t.Helper()
	r := runSuite(t, b, version, settings...)
	if r.Tests < atLeast || r.Errors+r.Failures+r.Skipped > 0 {
		t.Errorf("%s; wanted at least %d and none\n%s", r, atLeast, r.output)
	}
}

// suiteReport is what the suite found.
type suiteReport struct {
	Tests    int `xml:"tests,attr"`
	Failures int `xml:"failures,attr"`
	Errors   int `xml:"errors,attr"`
	Skipped  int `xml:"skipped,attr"`
	output   []byte
}

func (r suiteReport) String() string {
	return fmt.Sprintf("%d tests, %d failures, %d errors, %d skipped", r.Tests, r.Failures, r.Errors, r.Skipped)
}

func runSuite(t *testing.T, b *Berth, version string, settings ...string) (r suiteReport) {
	t.Helper()
	path, err := suite()
	if err != nil {
		if required("conformance") {
			t.Fatalf("the suite does not build: %v\n%s", err, err.(*buildError).output)
		}
		t.Skipf("skipped: needs the conformance suite, which cannot be built here: %v", err)
	}
	results := t.TempDir()
	run := exec.CommandContext(testContext(t), path)
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
	r.output = out
	t.Log(r)
	return r
}
