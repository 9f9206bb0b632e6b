package access

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

// TestTooManyFailures fails to log in until it is answered with 429, at
// the registry, the images API and the token endpoint, with a wrong password and
// with a whole token that is wrong as one. Each says when to try again, and all
// say the same.
func TestTooManyFailures(t *testing.T) {
	t.Parallel()
	harness.Long(t, "stalling", "it waits as long as who guesses has to")
	b := harness.Start(t)
	wrong := harness.AddAccount(t, b, "alice").Wrong()
	// More failures at a time than are let through in the longest wait.
	const atOnce = 60
	client := &http.Client{Transport: harness.Looking(&http.Transport{MaxConnsPerHost: atOnce, MaxIdleConnsPerHost: atOnce})}
	defer client.CloseIdleConnections()
	nested := harness.Account{Name: "organization", Secret: wrong.Bearer}
	for _, test := range []struct {
		path, authorization string
	}{
		{"/v2/", wrong.Basic()}, {"/v1/images", wrong.Basic()}, {"/token", wrong.Basic()}, {"/v2/", nested.Basic()}, {"/token", nested.Basic()},
	} {
		path := test.path
		var mu sync.Mutex
		refused, deadline := 0, time.Now().Add(time.Minute)
		var all sync.WaitGroup
		for range atOnce {
			all.Go(func() {
				for enough := false; !enough && time.Now().Before(deadline); {
					r, err := http.NewRequestWithContext(harness.TestContext(t), http.MethodGet, b.URL+path, nil)
					if err != nil {
						t.Error(err)
						return
					}
					r.Header.Set("Authorization", test.authorization)
					resp, err := client.Do(r)
					if err != nil {
						t.Error(err)
						return
					}
					resp.Body.Close()
					mu.Lock()
					switch wait := resp.Header.Get("Retry-After"); {
					case resp.StatusCode == http.StatusTooManyRequests && wait == "3":
						refused++
					case resp.StatusCode != http.StatusUnauthorized || wait != "":
						t.Errorf("%s: %d, Retry-After %q", path, resp.StatusCode, wait)
						refused++
					}
					enough = refused > 0
					mu.Unlock()
				}
			})
		}
		all.Wait()
		if refused == 0 {
			t.Errorf("%s: no failure was answered with 429", path)
		}
	}
}
