package test

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
)

// accountsWriter pushes without a pause until it is stopped.
type accountsWriter struct {
	pushed  atomic.Int64
	stopped atomic.Bool
	done    sync.WaitGroup
}

// accountsWrite starts a writer. fails is called with every error and the time
// at which the push that it ended had begun; what it returns is whether to go
// on.
func accountsWrite(c *rawClient, repository string, fails func(begun time.Time, err error) bool) *accountsWriter {
	w := &accountsWriter{}
	w.done.Go(func() {
		for i := 0; !w.stopped.Load(); i++ {
			begun := time.Now()
			_, err := c.push(repository, fmt.Sprint("v", i), newRawImage("live", fmt.Sprint(repository, i)))
			switch {
			case err == nil:
				w.pushed.Add(1)
			case !fails(begun, err):
				return
			}
		}
	})
	return w
}

func (w *accountsWriter) stop() {
	w.stopped.Store(true)
	w.done.Wait()
}

// wantMore waits until the writer has pushed once more.
func (w *accountsWriter) wantMore(t *testing.T) {
	t.Helper()
	before := w.pushed.Load()
	eventually(t, "the writer does not get on", func() bool { return w.pushed.Load() > before })
}

// accountsAll asks one route of each kind with every form of a token, and wants
// the same status of all.
func accountsAll(t *testing.T, b *Berth, status int, what string, who accountsTenant, signed string) {
	t.Helper()
	for form, authorization := range map[string]string{"Basic": who.basic(), "Bearer": "Bearer " + who.Bearer, "signed token": "Bearer " + signed} {
		if authorization == "Bearer " {
			continue
		}
		c := accountsClient(b, authorization)
		for _, path := range []string{"/v2/", "/v2/_catalog", "/v1/images", "/v1/users/quotas", "/api/v2.0/projects/" + who.Name + "/summary"} {
			if _, err := c.want(status, http.MethodGet, path, nil); err != nil {
				t.Errorf("%s, by %s: %v", what, form, err)
			}
		}
	}
	if status == http.StatusUnauthorized {
		accountsStatus(t, accountsClient(b, who.basic()), status, http.MethodGet, "/token", nil)
	}
}

// TestAccountsWhilePushing adds, revokes and expires tokens and accounts while
// others push, whom that must not disturb.
func TestAccountsWhilePushing(t *testing.T) {
	t.Parallel()
	b := start(t)
	alice, bob := accountsAdd(t, b, "alice"), accountsAdd(t, b, "bob")
	ci := accountsToken(t, b, "alice", "ci")
	signed := accountsSigned(t, b, ci.basic())
	undisturbed := accountsWrite(bob.on(b), "bob/app", func(_ time.Time, err error) bool {
		t.Errorf("bob is disturbed: %v", err)
		return false
	})
	defer undisturbed.stop()
	undisturbed.wantMore(t)

	t.Run("token", func(t *testing.T) {
		var writers []*accountsWriter
		for i, authorization := range []string{ci.basic(), "Bearer " + ci.Bearer, "Bearer " + signed} {
			writers = append(writers, accountsWrite(accountsClient(b, authorization), fmt.Sprint("alice/app", i), func(_ time.Time, err error) bool {
				refusal, ok := err.(*rawRefusal)
				if !ok || refusal.status != http.StatusUnauthorized {
					t.Errorf("the push ended with %v", err)
				}
				return false
			}))
		}
		for _, w := range writers {
			w.wantMore(t)
		}
		accountsAll(t, b, http.StatusOK, "a token that is good", ci, signed)
		accountsCommand(t, b, nil, "token", "revoke", "alice", "ci")
		accountsAll(t, b, http.StatusUnauthorized, "a revoked token", ci, signed)
		for _, w := range writers {
			w.done.Wait() // it ends at its next request
		}
		accountsAll(t, b, http.StatusOK, "the account's other token", alice, accountsSigned(t, b, alice.basic()))
		again := accountsToken(t, b, "alice", "ci")
		accountsAll(t, b, http.StatusOK, "a new one by the same label", again, "")
		accountsAll(t, b, http.StatusUnauthorized, "the revoked one, still", ci, signed)
	})
	t.Run("expiry", func(t *testing.T) {
		// Long enough for all that must be answered before, on a slow machine too.
		const lives = 10 * time.Second
		end := time.Now().Add(lives)
		short := accountsToken(t, b, "alice", "short", "--expires", lives.String())
		signed := accountsSigned(t, b, short.basic())
		accountsAll(t, b, http.StatusOK, "a token that will expire", short, signed)
		accountsWrite(accountsClient(b, "Bearer "+signed), "alice/short", func(begun time.Time, err error) bool {
			if refusal, ok := err.(*rawRefusal); !ok || refusal.status != http.StatusUnauthorized || !strings.Contains(string(refusal.body), "expired") {
				t.Errorf("the push ended with %v", err)
			}
			if early := end.Add(-time.Second); time.Now().Before(early) {
				t.Errorf("it expired %v early", time.Until(early))
			}
			return false
		}).done.Wait()
		accountsAll(t, b, http.StatusUnauthorized, "an expired token", short, signed)
	})
	t.Run("account", func(t *testing.T) {
		carol := accountsAdd(t, b, "carol")
		signed := accountsSigned(t, b, carol.basic())
		w := accountsWrite(carol.on(b), "carol/app", func(_ time.Time, err error) bool { return false })
		w.wantMore(t)
		accountsCommand(t, b, nil, "grant", "carol", "read", "bob")
		accountsStatus(t, carol.on(b), http.StatusOK, http.MethodGet, "/v2/bob/app/tags/list", nil)
		accountsCommand(t, b, nil, "revoke", "carol", "read", "bob")
		accountsStatus(t, carol.on(b), http.StatusNotFound, http.MethodGet, "/v2/bob/app/tags/list", nil)
		accountsCommand(t, b, nil, "remove", "carol", "--yes")
		accountsAll(t, b, http.StatusUnauthorized, "a removed account", carol, signed)
		w.done.Wait()
		// Under the same name, but with a token of its own, it is back.
		again := accountsAdd(t, b, "carol")
		accountsAll(t, b, http.StatusOK, "the account again", again, "")
		accountsAll(t, b, http.StatusUnauthorized, "its token of before", carol, signed)
	})
	undisturbed.wantMore(t)
	accountsGreps(t, map[string]string{"the log": b.log.String()}, alice, bob, ci)
}

// TestAccountsCloseARunningBerth adds the first account to an open berth.
func TestAccountsCloseARunningBerth(t *testing.T) {
	t.Parallel()
	b := start(t)
	anyone := newRawClient(b.URL)
	digest := anyone.putImage(t, "alice/app", "v1", newRawImage("open", "one"))
	accountsList(t, anyone, "alice/app@"+digest)
	alice := accountsAdd(t, b, "alice")
	deadline := time.Now().Add(time.Second)
	for {
		a, err := anyone.do(http.MethodGet, "/v1/images", nil)
		if err != nil {
			t.Fatal(err)
		}
		if a.status == http.StatusUnauthorized {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("still open a second later: %d", a.status)
		}
	}
	for _, path := range []string{"/v2/", "/v2/_catalog", "/v2/alice/app/tags/list", "/v2/alice/app/manifests/v1", "/v1/images", "/v1/users/quotas"} {
		a := accountsStatus(t, anyone, http.StatusUnauthorized, http.MethodGet, path, nil)
		if challenge := a.header.Get("WWW-Authenticate"); !strings.HasPrefix(challenge, `Bearer realm="`+b.URL+`/token",service="`) {
			t.Errorf("%s: the challenge is %s", path, challenge)
		}
	}
	accountsList(t, alice.on(b), "alice/app@"+digest)
	b.stop()
	b.restart()
	accountsList(t, alice.on(b), "alice/app@"+digest)
	accountsStatus(t, anyone, http.StatusUnauthorized, http.MethodGet, "/v1/images", nil)
}

// TestAccountsFileBroken breaks the file, and takes it away, under a berth that
// serves: what was good stays in force.
func TestAccountsFileBroken(t *testing.T) {
	t.Parallel()
	b := start(t)
	alice := accountsAdd(t, b, "alice")
	path := filepath.Join(b.Data, "accounts.yaml")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	anyone := newRawClient(b.URL)
	inForce := func(when string) {
		t.Helper()
		signed := accountsSigned(t, b, alice.basic())
		accountsAll(t, b, http.StatusOK, when, alice, signed)
		accountsStatus(t, anyone, http.StatusUnauthorized, http.MethodGet, "/v1/images", nil)
		accountsStatus(t, anyone, http.StatusUnauthorized, http.MethodGet, "/v2/alice/app/tags/list", nil)
	}
	says := func(from int, parts ...string) {
		t.Helper()
		eventually(t, "the log does not say "+strings.Join(parts, ", "), func() bool {
			said := b.log.String()[from:]
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
		from := len(b.log.String())
		if err := os.WriteFile(path, []byte(broken.text), 0o600); err != nil {
			t.Fatal(err)
		}
		says(from, append(broken.says, "level=ERROR")...)
		inForce(fmt.Sprintf("with a file that holds %.30q", broken.text))
		if _, stderr, code := commandLine(t, nil, "account", "--data", b.Data, "add", "bob"); code == 0 || !strings.Contains(stderr, "accounts.yaml") {
			t.Errorf("adds to a broken file: %d %s", code, stderr)
		}
	}

	from := len(b.log.String())
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	says(from, "level=ERROR", "accounts.yaml")
	inForce("without a file")
	from = len(b.log.String())
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	says(from, "good again")
	inForce("with the file of before")
	bob := accountsAdd(t, b, "bob")
	accountsAll(t, b, http.StatusOK, "an account that is added then", bob, "")
	accountsGreps(t, map[string]string{"the log": b.log.String()}, alice, bob)
}
