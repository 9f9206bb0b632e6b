package server

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestPathsAreDescribed wants every path that stands for itself in the description
// of what berth answers beside the API of OCI, and no other there.
func TestPathsAreDescribed(t *testing.T) {
	text, err := os.ReadFile("../../../catalog/images/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var document struct{ Paths map[string]any }
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	o := testOptions(http.NotFoundHandler())
	o.Metrics = NewMetrics()
	single := New(o).single()
	for path := range single {
		if document.Paths[path] == nil {
			t.Errorf("%s is not described", path)
		}
	}
	for path := range document.Paths {
		if !isImages(path) && !isHarbor(path) && single[path] == nil {
			t.Errorf("%s is described, and is no path", path)
		}
	}
	if len(single) != 4 || strings.Contains(string(text), "/v2/{") {
		t.Errorf("there are %d paths", len(single))
	}
}
