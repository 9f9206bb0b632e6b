package access

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestAgain: an answer that goes on learns that its caller may read something else by
// now, that the token is gone, or that it ends at another time; and nothing else of
// what changes in the accounts.
func TestAgain(t *testing.T) {
	g, path := gate(t, GateOptions{Secret: []byte("key")})
	var id *Identity
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.SetBasicAuth("alice", secretOf("alice", "laptop"))
	begin := func() {
		t.Helper()
		g.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { id = Of(r) })).ServeHTTP(httptest.NewRecorder(), r)
		if _, err := id.Again(r); err != nil || id.Caller.Name() != "alice" {
			t.Fatalf("%q, %v", id.Caller.Name(), err)
		}
	}
	change := func(name string, fn func(a *Account)) {
		t.Helper()
		next := g.accounts.Next()
		if err := Edit(path, func(f *File) error {
			for i := range f.Accounts {
				if f.Accounts[i].Name == name {
					fn(&f.Accounts[i])
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if err := g.accounts.Reload(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-next:
		default:
			t.Error("nobody is told that something else is in force")
		}
	}
	begin()
	change("bob", func(a *Account) { a.Quota = 77 })
	if _, err := id.Again(r); err != nil {
		t.Errorf("another account changes: %v", err)
	}
	ends := now.Add(time.Hour)
	change("alice", func(a *Account) {
		for i := range a.Tokens {
			a.Tokens[i].Expires = ends
		}
	})
	if caller, err := id.Again(r); err != nil || !caller.Ends().Equal(ends) || !id.Caller.Ends().IsZero() {
		t.Errorf("it ends at %v, %v", caller.Ends(), err)
	}
	change("alice", func(a *Account) { a.Read = append(a.Read, "somebody/else") })
	if _, err := id.Again(r); !errors.Is(err, ErrRights) {
		t.Errorf("it may read more: %v", err)
	}
	begin()
	change("alice", func(a *Account) { a.Tokens = nil })
	if _, err := id.Again(r); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("its token is gone: %v", err)
	}
	open := &Identity{Caller: Everyone()}
	if _, err := open.Again(r); err != nil {
		t.Errorf("without a gate: %v", err)
	}
}
