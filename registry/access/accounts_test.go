package access

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// within lets a second of a synctest bubble pass, and wants something to hold
// then: what the poll sees, it sees in a second.
func within(t *testing.T, what string, holds func() bool) {
	t.Helper()
	time.Sleep(time.Second)
	synctest.Wait()
	if !holds() {
		t.Fatalf("not within a second: %s", what)
	}
}

func has(a *Accounts, name string) func() bool {
	return func() bool { _, ok := a.Current().Account(name); return ok }
}

const one = "accounts: [{name: one}]\n"

// TestNotReadAgain checks that a request does not read the file again, of which
// a look says that it is as it was, or that there is still none.
func TestNotReadAgain(t *testing.T) {
	for what, prepare := range map[string]func(path string){
		"no file": func(string) {},
		"a file": func(path string) {
			write(t, path, one)
			old := time.Now().Add(-time.Hour)
			if err := os.Chtimes(path, old, old); err != nil {
				t.Fatal(err)
			}
		},
	} {
		path := filepath.Join(t.TempDir(), "accounts.yaml")
		prepare(path)
		a, _ := opened(t, path)
		seen := a.seen.Load()
		a.fresh()
		if a.seen.Load() != seen {
			t.Errorf("%s: read again", what)
		}
		write(t, path, strings.ReplaceAll(one, "one", "three"))
		if _, ok := a.fresh().Account("three"); !ok {
			t.Errorf("%s: a change is not seen by the next request", what)
		}
	}
}

func TestReload(t *testing.T) { synctest.Test(t, testReload) }

func testReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts.yaml")
	a, log := opened(t, path)
	if a.Closed() {
		t.Fatal("closed without a file")
	}
	// A first file that is broken does not close, and does not pass unnoticed.
	write(t, path, "accounts: hush\n")
	within(t, "the problem is logged", func() bool { return strings.Contains(log.String(), "stays open until it is right") })
	if a.Closed() {
		t.Fatal("closed by a broken file")
	}
	write(t, path, one)
	within(t, "the first account is seen", has(a, "one"))

	// In place, in the same second, of the same length.
	write(t, path, strings.ReplaceAll(one, "one", "two"))
	within(t, "a change in place is seen", has(a, "two"))

	problems := func() int { return strings.Count(log.String(), "stay in force") }
	for i, broken := range []string{"accounts: [", "", "accounts:\n", "accounts: [{name: TWO}]", "accounts: [{nam: hush}]"} {
		write(t, path, broken)
		within(t, "a broken file is logged", func() bool { return problems() == i+1 })
		if _, ok := a.Current().Account("two"); !ok || !a.Closed() {
			t.Fatalf("%q: the last good one is not in force", broken)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	within(t, "the loss is logged", func() bool { return problems() == 6 })
	time.Sleep(3 * pollEvery)
	synctest.Wait()
	if problems() != 6 || !a.Closed() || !has(a, "two")() {
		t.Fatalf("logged %d times, closed %v", problems(), a.Closed())
	}
	write(t, path, strings.ReplaceAll(one, "one", "two"))
	within(t, "it is said that all is well", func() bool { return strings.Contains(log.String(), "good again") })
	write(t, path, "accounts: []")
	within(t, "the last account is gone", func() bool { return len(a.Current().Accounts()) == 0 })
	if !a.Closed() {
		t.Error("without accounts the registry is open")
	}
	noSecret(t, log.String())

	before := a.Current()
	a.Close()
	a.Close()
	write(t, path, one)
	time.Sleep(2 * pollEvery)
	synctest.Wait()
	if a.Current() != before {
		t.Error("still read after it was closed")
	}
}

// Kubernetes swaps a link above the file.
func TestReloadLink(t *testing.T) { synctest.Test(t, testReloadLink) }

func testReloadLink(t *testing.T) {
	folder := t.TempDir()
	for name, account := range map[string]string{"1": "one", "2": "two"} {
		if err := os.Mkdir(filepath.Join(folder, name), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(folder, name, "accounts.yaml"), strings.ReplaceAll(one, "one", account))
	}
	// The same size and time: only the file is another.
	at := time.Now().Add(-time.Hour)
	data, path := filepath.Join(folder, "..data"), filepath.Join(folder, "accounts.yaml")
	for _, err := range []error{
		os.Chtimes(filepath.Join(folder, "1", "accounts.yaml"), at, at), os.Chtimes(filepath.Join(folder, "2", "accounts.yaml"), at, at),
		os.Symlink("1", data), os.Symlink("..data/accounts.yaml", path),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	a, _ := opened(t, path)
	if !has(a, "one")() {
		t.Fatal("not read through the link")
	}
	for _, err := range []error{os.Symlink("2", data+"_tmp"), os.Rename(data+"_tmp", data)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	within(t, "the swap is seen", has(a, "two"))
}

func TestOpenRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts.yaml")
	for _, broken := range []string{"", "accounts: [{name: A}]", "hush"} {
		write(t, path, broken)
		a, err := Open(path, (&logged{}).log())
		if err == nil {
			a.Close()
			t.Fatalf("%q is accepted", broken)
		}
		noSecret(t, err.Error())
	}
	if a, err := Open(filepath.Dir(path), (&logged{}).log()); err == nil {
		a.Close()
		t.Error("a folder is accepted")
	}
}

// Requests, edits and the poll at the same time: for the race detector, and an
// edit that is done is in force.
func TestReloadConcurrently(t *testing.T) {
	g, path := gate(t, GateOptions{})
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					identify(t, g, "alice", "laptop")
				}
			}
		})
	}
	for range 30 {
		token, secret := NewToken("new")
		token.Created = now
		for _, change := range []func(*Account) error{
			func(a *Account) error { return a.AddToken(token) },
			func(a *Account) error { return a.RevokeToken("new") },
		} {
			err := Edit(path, func(f *File) error {
				a, err := f.Account("bob")
				if err != nil {
					return err
				}
				return change(a)
			})
			if err != nil {
				t.Fatal(err)
			}
			f, err := Read(path)
			if err != nil {
				t.Fatal(err)
			}
			bob, err := f.Account("bob")
			if err != nil {
				t.Fatal(err)
			}
			_, err = g.Identify(request(basic("bob", secret)...))
			if (err == nil) != (len(bob.Tokens) == 2) {
				t.Fatalf("with %d tokens: %v", len(bob.Tokens), err)
			}
		}
	}
	close(done)
	wg.Wait()
}
