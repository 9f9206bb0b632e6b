package client_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/berth-oci/berth/catalog/images/client"
	"github.com/berth-oci/berth/test/harness"
)

// TestWatchRights: a copy has what the account may see, as that changes, and goes on
// with another token where one is revoked.
func TestWatchRights(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	alice, bob := harness.AddAccount(t, b, "alice"), harness.AddAccount(t, b, "bob")
	file := filepath.Join(t.TempDir(), "token")
	take := func(a harness.Account) {
		t.Helper()
		if err := os.WriteFile(file, []byte(a.Bearer), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	first, second := harness.AddToken(t, b, "bob", "first"), harness.AddToken(t, b, "bob", "second")
	take(first)
	c := newClient(t, b, client.WithToken(client.FileToken(file)))
	as := &harness.Berth{Client: alice.On(b), Host: b.Host}
	harness.PushSmall(t, as, "alice/shared", "s", "2026-01-01T00:00:00Z", "latest")
	harness.PushSmall(t, as, "alice/app", "a", "2026-01-01T00:00:00Z", "latest")
	harness.PushSmall(t, &harness.Berth{Client: bob.On(b), Host: b.Host}, "bob/app", "b", "2026-01-01T00:00:00Z", "latest")
	m := watch(t, c, client.WatchOptions{})
	shows := func(want int) {
		t.Helper()
		harness.Eventually(t, "the copy does not have what may be seen", func() bool { return m.HasSynced() && len(m.Images()) == want })
		m.wantList(t, c, client.ListOptions{})
	}
	shows(1)
	harness.AccountCommand(t, b, nil, "grant", "bob", "read", "alice/shared")
	shows(2)
	if _, ok := m.Get("alice/shared"); !ok {
		t.Errorf("shows %v", m.Images())
	}
	harness.AccountCommand(t, b, nil, "revoke", "bob", "read", "alice/shared")
	shows(1)
	take(second)
	harness.AccountCommand(t, b, nil, "token", "revoke", "bob", "first")
	harness.PushSmall(t, &harness.Berth{Client: bob.On(b), Host: b.Host}, "bob/other", "c", "2026-01-01T00:00:00Z", "latest")
	shows(2)
	m.mu.Lock()
	defer m.mu.Unlock()
	var e *client.Error
	for _, err := range m.retries {
		if errors.As(err, &e) && e.Status == http.StatusUnauthorized {
			return
		}
	}
	t.Errorf("of the token that was revoked nothing was said: %v", m.retries)
}

// TestTokenEnds: without another token, a copy ends with the one that is revoked.
func TestTokenEnds(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	harness.AddAccount(t, b, "bob")
	token := harness.AddToken(t, b, "bob", "watch")
	w := newClient(t, b, client.WithToken(client.Token(token.Bearer))).Watch(client.WatchOptions{})
	ended := make(chan error, 1)
	go func() { ended <- w.Run(t.Context()) }()
	if err := w.WaitForSync(t.Context()); err != nil {
		t.Fatal(err)
	}
	harness.AccountCommand(t, b, nil, "token", "revoke", "bob", "watch")
	select {
	case err := <-ended:
		var e *client.Error
		if !errors.As(err, &e) || e.Status != http.StatusUnauthorized {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("goes on")
	}
}
