package node

import (
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestDescribe(t *testing.T) {
	for text, want := range map[string]string{
		"{a: b}": "a mapping", "[a]": "a list", "a": "text", "true": "true or false", "1": "a number", "1.5": "a number",
		"null": "nothing", "2027-01-01": "a date", "!secret x": "",
	} {
		var document yaml.Node
		if err := yaml.Unmarshal([]byte(text), &document); err != nil {
			t.Fatal(err)
		}
		n := document.Content[0]
		if got := Describe(n); got != want {
			t.Errorf("%s is %q, want %q", text, got, want)
		}
		if IsNull(n) != (text == "null") {
			t.Errorf("%s is nothing: %v", text, IsNull(n))
		}
	}
}
