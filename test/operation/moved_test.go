package operation

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// TestDataFolderMoved moves the folders of a running berth away and back: what is
// pushed meanwhile must not go to a fresh one.
func TestDataFolderMoved(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	data, away := filepath.Join(parent, "data"), filepath.Join(parent, "away")
	b := harness.Start(t, harness.WithData(data))
	ask := func(method, path string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, b.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		a, err := b.HTTP.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = a.Body.Close()
		if a.StatusCode == http.StatusServiceUnavailable && path != "/readyz" && a.Header.Get("Retry-After") == "" {
			t.Errorf("%s %s: 503 without Retry-After", method, path)
		}
		return a.StatusCode
	}
	wants := func(when string, ready, push int) {
		t.Helper()
		if code := ask("GET", "/readyz"); code != ready {
			t.Errorf("%s: /readyz is %d, want %d", when, code, ready)
		}
		for _, path := range []string{"/v2/alice/app/blobs/uploads/", "/v2/bob/new/blobs/uploads/"} {
			if code := ask("POST", path); code != push {
				t.Errorf("%s: POST %s is %d, want %d", when, path, code, push)
			}
		}
		if code := ask("GET", "/v1/images"); code != http.StatusOK {
			t.Errorf("%s: the list is %d", when, code)
		}
	}
	wants("at first", http.StatusOK, http.StatusAccepted)
	for _, folder := range []string{"", "storage"} {
		here := filepath.Join(data, folder)
		if err := os.Rename(here, away); err != nil {
			t.Fatal(err)
		}
		wants("without "+here, http.StatusServiceUnavailable, http.StatusServiceUnavailable)
		if _, err := os.Lstat(here); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("something was written to %s: %v", here, err)
		}
		if err := os.Mkdir(here, 0o700); err != nil {
			t.Fatal(err)
		}
		wants("with another folder in the place of "+here, http.StatusServiceUnavailable, http.StatusServiceUnavailable)
		if entries, err := os.ReadDir(here); err != nil || len(entries) != 0 {
			t.Errorf("in the other folder: %v, %v", entries, err)
		}
		if err := errors.Join(os.Remove(here), os.Rename(away, here)); err != nil {
			t.Fatal(err)
		}
		wants("with "+here+" back", http.StatusOK, http.StatusAccepted)
	}
	// The index is a file in it, or elsewhere.
	catalog := filepath.Join(data, "catalog.db")
	if err := os.Rename(catalog, away); err != nil {
		t.Fatal(err)
	}
	wants("without the index", http.StatusServiceUnavailable, http.StatusServiceUnavailable)
	if err := os.Rename(away, catalog); err != nil {
		t.Fatal(err)
	}
	wants("with the index back", http.StatusOK, http.StatusAccepted)
	if log := b.Log.String(); !strings.Contains(log, "is another folder than at the start") || !strings.Contains(log, "is gone") {
		t.Errorf("the log does not say why:\n%s", log)
	}
}
