package config

import (
	"fmt"
	"os"
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
