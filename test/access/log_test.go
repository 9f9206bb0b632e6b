package access

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// TestAccessLogNamesTheAccount: each line of the access log says who asked.
func TestAccessLogNamesTheAccount(t *testing.T) {
	t.Parallel()
	b := harness.Start(t, harness.WithArgs("--log-format", "json"))
	alice := harness.AddAccount(t, b, "alice")
	harness.Eventually(t, "berth is not closed", func() bool {
		a, err := b.Do(http.MethodGet, "/v2/", nil)
		return err == nil && a.Status == http.StatusUnauthorized
	})
	for id, who := range map[string]*harness.Client{"known": alice.On(b), "unknown": b.Client} {
		for _, path := range []string{"/v2/", "/v1/images"} {
			if _, err := who.Do(http.MethodGet, path, nil, "X-Request-Id", id+strings.ReplaceAll(path, "/", ".")); err != nil {
				t.Fatal(err)
			}
		}
	}
	account := func(id string) (name string, found bool) {
		for line := range strings.Lines(b.Log.String()) {
			var entry map[string]any
			if json.Unmarshal([]byte(line), &entry) == nil && entry["request"] == id && entry["status"] != nil {
				name, _ = entry["account"].(string)
				return name, true
			}
		}
		return "", false
	}
	for id, want := range map[string]string{"known.v2.": "alice", "known.v1.images": "alice", "unknown.v2.": "", "unknown.v1.images": ""} {
		harness.Eventually(t, "no access log line has "+id, func() bool { _, found := account(id); return found })
		if got, _ := account(id); got != want {
			t.Errorf("%s: the account is %q, want %q", id, got, want)
		}
	}
}
