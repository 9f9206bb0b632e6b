package images

import (
	"net/http"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestRoutesAreDescribed wants every route in openapi.yaml, and every path of the
// API that is there to be a route.
func TestRoutesAreDescribed(t *testing.T) {
	var document struct{ Paths map[string]any }
	if err := yaml.Unmarshal(OpenAPI, &document); err != nil {
		t.Fatal(err)
	}
	isRoute := map[string]bool{}
	for _, r := range routes {
		if isRoute[r.path] = true; document.Paths[r.path] == nil {
			t.Errorf("%s is not described", r.path)
		}
	}
	for path := range document.Paths {
		if (strings.HasPrefix(path, "/v1") || path == "/images") && !isRoute[path] {
			t.Errorf("%s is described, and is no route", path)
		}
	}
}

func TestDocument(t *testing.T) {
	server := serve(t, shop(), Options{})
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		r, err := http.NewRequest(method, server.URL+"/v1/openapi.yaml", nil)
		if err != nil {
			t.Fatal(err)
		}
		a, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		var first [14]byte
		n, _ := a.Body.Read(first[:])
		_ = a.Body.Close()
		if a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != "application/yaml" || method == http.MethodGet && string(first[:n]) != "openapi: 3.1.0" || method == http.MethodHead && n > 0 {
			t.Errorf("%s: %d %v %q", method, a.StatusCode, a.Header, first[:n])
		}
	}
}
