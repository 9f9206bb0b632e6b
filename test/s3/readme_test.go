package s3

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

var readmeExample = regexp.MustCompile("(?ms)^```yaml\n(storage:\n  s3:\n    regionendpoint.*?)^```\n")

// TestReadme starts berth with the example of the README of storage. Only the
// address, the bucket and the keys are others.
func TestReadme(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(filepath.Join(harness.Root(), "storage", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	example := readmeExample.FindSubmatch(readme)
	if example == nil {
		t.Fatal("the README has no example of an S3 server")
	}
	s := startServer(t)
	if err := os.Mkdir(filepath.Join(s.root, "images"), 0o700); err != nil {
		t.Fatal(err)
	}
	text := string(example[1])
	for name, value := range map[string]string{"regionendpoint": s.endpoint, "accesskey": s.access, "secretkey": s.secret} {
		line := regexp.MustCompile(`(?m)^(    ` + name + `: )[^ \n]+`)
		if !line.MatchString(text) {
			t.Fatalf("the example has no %s:\n%s", name, text)
		}
		text = line.ReplaceAllString(text, "${1}"+fmt.Sprintf("%q", value))
	}
	file := filepath.Join(t.TempDir(), "berth.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b := harness.Start(t, harness.WithArgs("--config", file))
	f := harness.FixtureNamed(t, "kraft-hello")
	if err := harness.PushGGCR(t, b, f.Dir(), f.Tag, "alice/hello"); err != nil {
		t.Fatal(err)
	}
	harness.WantFixture(t, b, f, "alice/hello", f.Tag)
	stored, err := os.ReadDir(filepath.Join(s.root, "images"))
	if err != nil || !slices.ContainsFunc(stored, func(e os.DirEntry) bool { return e.Name() == "docker" }) {
		t.Errorf("the bucket holds %v, %v", stored, err)
	}
	if _, err := os.Stat(filepath.Join(b.Data, "storage")); err == nil {
		t.Error("berth has made a folder for the storage that it does not use")
	}
}
