// Package access tests accounts: who may do what, quotas, and what the audit log
// says of it. The matrix below it asks everything as everyone.
package access

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

// writer pushes without a pause until it is stopped.
type writer struct {
	pushed  atomic.Int64
	stopped atomic.Bool
	done    sync.WaitGroup
}

// write starts a writer. fails is called with every error and the time
// at which the push that it ended had begun; what it returns is whether to go
// on.
func write(c *harness.Client, repository string, fails func(begun time.Time, err error) bool) *writer {
	w := &writer{}
	w.done.Go(func() {
		for i := 0; !w.stopped.Load(); i++ {
			begun := time.Now()
			_, err := c.Push(repository, fmt.Sprint("v", i), harness.NewImage("live", fmt.Sprint(repository, i)))
			switch {
			case err == nil:
				w.pushed.Add(1)
				time.Sleep(20 * time.Millisecond) // other tests want the processors too
			case !fails(begun, err):
				return
			}
		}
	})
	return w
}

func (w *writer) stop() {
	w.stopped.Store(true)
	w.done.Wait()
}

// wantMore waits until the writer has pushed once more.
func (w *writer) wantMore(t *testing.T) {
	t.Helper()
	before := w.pushed.Load()
	harness.Eventually(t, "the writer does not get on", func() bool { return w.pushed.Load() > before })
}

// WantAll asks one route of each kind with every form of a token, and wants
// the same status of all.
func wantAll(t *testing.T, b *harness.Berth, status int, what string, who harness.Account, signed string) {
	t.Helper()
	for form, authorization := range map[string]string{"Basic": who.Basic(), "Bearer": "Bearer " + who.Bearer, "signed token": "Bearer " + signed} {
		if authorization == "Bearer " {
			continue
		}
		c := harness.ClientAs(b, authorization)
		for _, path := range []string{"/v2/", "/v2/_catalog", "/v1/images", "/v1/users/quotas", "/api/v2.0/projects/" + who.Name + "/summary"} {
			if _, err := c.Want(status, http.MethodGet, path, nil); err != nil {
				t.Errorf("%s, by %s: %v", what, form, err)
			}
		}
	}
	if status == http.StatusUnauthorized {
		wantStatus(t, harness.ClientAs(b, who.Basic()), status, http.MethodGet, "/token", nil)
	}
}

// TestWhilePushing adds and revokes tokens and accounts while others push, whom that
// must not disturb.
func TestWhilePushing(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	alice, bob := harness.AddAccount(t, b, "alice"), harness.AddAccount(t, b, "bob")
	ci := harness.AddToken(t, b, "alice", "ci")
	signed := harness.SignedToken(t, b, ci.Basic())
	undisturbed := write(bob.On(b), "bob/app", func(_ time.Time, err error) bool {
		t.Errorf("bob is disturbed: %v", err)
		return false
	})
	defer undisturbed.stop()
	undisturbed.wantMore(t)

	t.Run("token", func(t *testing.T) {
		var writers []*writer
		for i, authorization := range []string{ci.Basic(), "Bearer " + ci.Bearer, "Bearer " + signed} {
			writers = append(writers, write(harness.ClientAs(b, authorization), fmt.Sprint("alice/app", i), func(_ time.Time, err error) bool {
				refusal, ok := err.(*harness.Refusal)
				if !ok || refusal.Status != http.StatusUnauthorized {
					t.Errorf("the push ended with %v", err)
				}
				return false
			}))
		}
		for _, w := range writers {
			w.wantMore(t)
		}
		wantAll(t, b, http.StatusOK, "a token that is good", ci, signed)
		harness.AccountCommand(t, b, nil, "token", "revoke", "alice", "ci")
		wantAll(t, b, http.StatusUnauthorized, "a revoked token", ci, signed)
		for _, w := range writers {
			w.done.Wait() // it ends at its next request
		}
		wantAll(t, b, http.StatusOK, "the account's other token", alice, harness.SignedToken(t, b, alice.Basic()))
		again := harness.AddToken(t, b, "alice", "ci")
		wantAll(t, b, http.StatusOK, "a new one by the same label", again, "")
		wantAll(t, b, http.StatusUnauthorized, "the revoked one, still", ci, signed)
	})
	t.Run("account", func(t *testing.T) {
		carol := harness.AddAccount(t, b, "carol")
		signed := harness.SignedToken(t, b, carol.Basic())
		w := write(carol.On(b), "carol/app", func(_ time.Time, err error) bool { return false })
		w.wantMore(t)
		harness.AccountCommand(t, b, nil, "grant", "carol", "read", "bob")
		wantStatus(t, carol.On(b), http.StatusOK, http.MethodGet, "/v2/bob/app/tags/list", nil)
		harness.AccountCommand(t, b, nil, "revoke", "carol", "read", "bob")
		wantStatus(t, carol.On(b), http.StatusNotFound, http.MethodGet, "/v2/bob/app/tags/list", nil)
		harness.AccountCommand(t, b, nil, "remove", "carol", "--yes")
		wantAll(t, b, http.StatusUnauthorized, "a removed account", carol, signed)
		w.done.Wait()
		// Under the same name, but with a token of its own, it is back.
		again := harness.AddAccount(t, b, "carol")
		wantAll(t, b, http.StatusOK, "the account again", again, "")
		wantAll(t, b, http.StatusUnauthorized, "its token of before", carol, signed)
	})
	undisturbed.wantMore(t)
	harness.WantNoSecrets(t, map[string]string{"the log": b.Log.String()}, alice, bob, ci)
}

// TestExpires lets a token expire under a client that pushes.
func TestExpires(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	begun := time.Now()
	alice := harness.AddAccount(t, b, "alice")
	wantAll(t, b, http.StatusOK, "a token that lasts", alice, harness.SignedToken(t, b, alice.Basic()))
	// Long enough for as much again, and for a push, on a slow machine too.
	lives := 3*time.Second + (10 * time.Since(begun)).Truncate(time.Second)
	end := time.Now().Add(lives)
	short := harness.AddToken(t, b, "alice", "short", "--expires", lives.String())
	signed := harness.SignedToken(t, b, short.Basic())
	wantAll(t, b, http.StatusOK, "a token that will expire", short, signed)
	write(harness.ClientAs(b, "Bearer "+signed), "alice/short", func(begun time.Time, err error) bool {
		if refusal, ok := err.(*harness.Refusal); !ok || refusal.Status != http.StatusUnauthorized || !strings.Contains(string(refusal.Body), "expired") {
			t.Errorf("the push ended with %v", err)
		}
		if early := end.Add(-time.Second); time.Now().Before(early) {
			t.Errorf("it expired %v early", time.Until(early))
		}
		return false
	}).done.Wait()
	wantAll(t, b, http.StatusUnauthorized, "an expired token", short, signed)
}

// TestCloseARunningBerth adds the first account to an open berth.
func TestCloseARunningBerth(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	anyone := harness.NewClient(b.URL)
	digest := anyone.PutImage(t, "alice/app", "v1", harness.NewImage("open", "one"))
	harness.WantOnly(t, anyone, "alice/app@"+digest)
	alice := harness.AddAccount(t, b, "alice")
	deadline := time.Now().Add(time.Second)
	for {
		a, err := anyone.Do(http.MethodGet, "/v1/images", nil)
		if err != nil {
			t.Fatal(err)
		}
		if a.Status == http.StatusUnauthorized {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("still open a second later: %d", a.Status)
		}
	}
	for _, path := range []string{"/v2/", "/v2/_catalog", "/v2/alice/app/tags/list", "/v2/alice/app/manifests/v1", "/v1/images", "/v1/users/quotas"} {
		a := wantStatus(t, anyone, http.StatusUnauthorized, http.MethodGet, path, nil)
		if challenge := a.Header.Get("WWW-Authenticate"); !strings.HasPrefix(challenge, `Bearer realm="`+b.URL+`/token",service="`) {
			t.Errorf("%s: the challenge is %s", path, challenge)
		}
	}
	harness.WantOnly(t, alice.On(b), "alice/app@"+digest)
	b.Stop()
	b.Restart()
	harness.WantOnly(t, alice.On(b), "alice/app@"+digest)
	wantStatus(t, anyone, http.StatusUnauthorized, http.MethodGet, "/v1/images", nil)
}

// TestFileBroken breaks the file, and takes it away, under a berth that
// serves: what was good stays in force.
func TestFileBroken(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	alice := harness.AddAccount(t, b, "alice")
	path := filepath.Join(b.Data, "accounts.yaml")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	anyone := harness.NewClient(b.URL)
	inForce := func(when string) {
		t.Helper()
		signed := harness.SignedToken(t, b, alice.Basic())
		wantAll(t, b, http.StatusOK, when, alice, signed)
		wantStatus(t, anyone, http.StatusUnauthorized, http.MethodGet, "/v1/images", nil)
		wantStatus(t, anyone, http.StatusUnauthorized, http.MethodGet, "/v2/alice/app/tags/list", nil)
	}
	says := func(from int, parts ...string) {
		t.Helper()
		harness.Eventually(t, "the log does not say "+strings.Join(parts, ", "), func() bool {
			said := b.Log.String()[from:]
			for _, part := range parts {
				if !strings.Contains(said, part) {
					return false
				}
			}
			return true
		})
	}
	inForce("at first")
	for _, broken := range []struct {
		text string
		says []string
	}{
		{"", []string{"accounts.yaml", "empty"}},
		{"accounts: [", []string{"accounts.yaml:1", "no YAML"}},
		{"accounts:\n  - name: alice\n    tokens:\n      - label: x\n        sha256: " + alice.Secret + "\n", []string{"accounts.yaml:5", "sha256"}},
		{"accounts:\n  - name: alice\n  - name: Bob\n", []string{"accounts.yaml:3", "name"}},
		{"accounts:\n  - name: alice\n    amdin: true\n", []string{"accounts.yaml:3", "amdin"}},
	} {
		from := len(b.Log.String())
		if err := os.WriteFile(path, []byte(broken.text), 0o600); err != nil {
			t.Fatal(err)
		}
		says(from, append(broken.says, "level=ERROR")...)
		inForce(fmt.Sprintf("with a file that holds %.30q", broken.text))
		if _, stderr, code := harness.CommandLine(t, nil, "account", "--data", b.Data, "add", "bob"); code == 0 || !strings.Contains(stderr, "accounts.yaml") {
			t.Errorf("adds to a broken file: %d %s", code, stderr)
		}
	}

	from := len(b.Log.String())
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	says(from, "level=ERROR", "accounts.yaml")
	inForce("without a file")
	from = len(b.Log.String())
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	says(from, "good again")
	inForce("with the file of before")
	bob := harness.AddAccount(t, b, "bob")
	wantAll(t, b, http.StatusOK, "an account that is added then", bob, "")
	harness.WantNoSecrets(t, map[string]string{"the log": b.Log.String()}, alice, bob)
}
