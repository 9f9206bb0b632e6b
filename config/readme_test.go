package config

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestREADME keeps the table of keys in the reference true.
func TestREADME(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range Keys() {
		byDefault := "none"
		if k.Default != "" {
			byDefault = "`" + k.Default + "`"
		}
		row := fmt.Sprintf("| `%s` | %s | %s |\n", k.Path, byDefault, k.Doc)
		if !strings.Contains(string(readme), row) {
			t.Errorf("the README lacks the row\n%s", row)
		}
	}
}

var yamlBlock = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```\n")

// TestExamples loads every configuration that a document shows, with a
// certificate where it names one.
func TestExamples(t *testing.T) {
	certificate, key := pair(t, t.TempDir(), "tls")
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(random), 0o600); err != nil {
		t.Fatal(err)
	}
	files := strings.NewReplacer("/etc/berth/tls.crt", certificate, "/etc/berth/tls.key", key, "/etc/berth/scheduler.secret", secret)
	for document, examples := range map[string]int{"README.md": 4, "../storage/README.md": 3, "../catalog/rules/README.md": 1, "../catalog/webhook/README.md": 1} {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		blocks := yamlBlock.FindAllSubmatch(text, -1)
		if len(blocks) != examples {
			t.Errorf("%s has %d examples, want %d", document, len(blocks), examples)
		}
		for _, block := range blocks {
			file := filepath.Join(t.TempDir(), "berth.yaml")
			if err := os.WriteFile(file, []byte(files.Replace(string(block[1]))), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := Load(file, nil)
			if err == nil {
				err = c.Validate()
			}
			if err != nil {
				t.Errorf("%s: %v\n%s", document, err, block[1])
			}
		}
	}
}
