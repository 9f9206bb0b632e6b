package access

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestMain lets the test binary be one of several processes that edit.
func TestMain(m *testing.M) {
	path, name := os.Getenv("ACCESS_TEST_FILE"), os.Getenv("ACCESS_TEST_NAME")
	if path == "" {
		os.Exit(m.Run())
	}
	for i := range 5 {
		err := Edit(path, func(f *File) error { return f.Add(Account{Name: fmt.Sprintf("%s-%d", name, i)}) })
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// Edits by several processes, and by several goroutines of one, lose nothing.
func TestEditConcurrently(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "accounts.yaml")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const processes, goroutines = 4, 10
	var wg sync.WaitGroup
	for i := range processes {
		wg.Go(func() {
			cmd := exec.Command(self)
			cmd.Env = append(os.Environ(), "ACCESS_TEST_FILE="+path, fmt.Sprintf("ACCESS_TEST_NAME=p%d", i))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	for i := range goroutines {
		wg.Go(func() {
			if err := Edit(path, func(f *File) error { return f.Add(Account{Name: fmt.Sprintf("g%d", i)}) }); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	f, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Accounts) != 5*processes+goroutines {
		t.Errorf("%d accounts are left", len(f.Accounts))
	}
	wantFiles(t, filepath.Dir(path), "accounts.yaml", "accounts.yaml.lock")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
}

func wantFiles(t *testing.T, folder string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got := strings.Join(names, " "); got != strings.Join(want, " ") {
		t.Errorf("the folder holds %s", got)
	}
}

// An edit that fails leaves the file as it is.
func TestEditRefused(t *testing.T) {
	path := accountsFile(t, tenants())
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	mine := errors.New("mine")
	for name, test := range map[string]struct {
		change func(*File) error
		want   string
	}{
		"own error":       {func(*File) error { return mine }, "mine"},
		"taken":           {func(f *File) error { return f.Add(Account{Name: "bob"}) }, "there is an account bob already"},
		"bad name":        {func(f *File) error { return f.Add(Account{Name: "BOB"}) }, `"BOB" is no name for an account`},
		"unknown":         {func(f *File) error { return f.Remove("bop") }, `there is no account "bop"; did you mean bob?`},
		"far":             {func(f *File) error { return f.Remove("zzzzzzzzzzzz") }, `there is no account "zzzzzzzzzzzz"`},
		"secret":          {func(f *File) error { return f.Remove(secretPrefix + "x") }, `there is no account what looks like a secret`},
		"behind its back": {func(f *File) error { f.Accounts[0].Read = []string{"BAD"}; return nil }, "the accounts file was not changed, for it would be wrong: "},
		"label taken": {func(f *File) error {
			a, _ := f.Account("alice")
			t, _ := NewToken("laptop")
			return a.AddToken(t)
		}, `alice has a token with the label "laptop" already`},
		"no such label": {func(f *File) error {
			a, _ := f.Account("alice")
			return a.RevokeToken("laptob")
		}, `alice has no token with the label "laptob"; did you mean laptop?`},
		"bad grant": {func(f *File) error { return Grant(&f.Accounts[0].Read, "a", "B") }, `"B" is no namespace or repository`},
		"no such grant": {func(f *File) error {
			a, _ := f.Account("alice")
			return Revoke(&a.Write, "tean")
		}, `"tean" is not granted; did you mean team?`},
	} {
		err := Edit(path, test.change)
		if err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("the file changed: %v\n%s", err, after)
	}
	write(t, path, "accounts: [\n")
	err = Edit(path, func(*File) error { t.Error("a broken file is edited"); return nil })
	if err == nil {
		t.Error("no error")
	}
}

// A link stays a link, a mode stays, and what is not changed is not written.
func TestEditLink(t *testing.T) {
	path := accountsFile(t, tenants())
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "accounts.yaml")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := Edit(link, func(f *File) error { return f.Remove("bob") }); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v", err)
	}
	wantFiles(t, filepath.Dir(link), "accounts.yaml")
	before, err := os.Stat(path)
	if err != nil || before.Mode().Perm() != 0o640 {
		t.Errorf("got %v, %v", before.Mode(), err)
	}
	f, err := Read(path)
	if err != nil || len(f.Accounts) != len(tenants())-1 {
		t.Errorf("got %v, %v", f, err)
	}
	if err := Edit(link, func(*File) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("the file was written again: %v", err)
	}
}

// Someone who looks while others edit sees a whole file, always.
func TestEditWhole(t *testing.T) {
	path := accountsFile(t, tenants())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 50 {
			if err := Edit(path, func(f *File) error { return f.Add(Account{Name: fmt.Sprintf("a%d", i)}) }); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for {
		if f, err := Read(path); err != nil || len(f.Accounts) < len(tenants()) {
			t.Fatalf("got %v", err)
		}
		select {
		case <-done:
			return
		default:
		}
	}
}

func TestNewToken(t *testing.T) {
	a, one := NewToken("a")
	b, two := NewToken("a")
	if one == two || a.Hash == b.Hash || a.Hash != sha256Of(one) || strings.ContainsAny(one, ":.=+/ ") || len(one) != len(secretPrefix)+43 {
		t.Errorf("got %s and %s", one, two)
	}
}
