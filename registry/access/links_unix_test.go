//go:build unix

package access

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// service is the owner of a folder that the tests, run as root, work in.
const service = 12345

// wantOwner wants a file to belong to somebody.
func wantOwner(t *testing.T, path string, uid, gid uint32) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if s := info.Sys().(*syscall.Stat_t); s.Uid != uid || s.Gid != gid {
		t.Errorf("%s belongs to %d:%d, want %d:%d", path, s.Uid, s.Gid, uid, gid)
	}
}

// asRoot is a folder of the service's user, with a victim outside of it.
func asRoot(t *testing.T) (folder, victim string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("skipped: only root can give files away")
	}
	folder, victim = t.TempDir(), filepath.Join(t.TempDir(), "victim")
	if err := errors.Join(os.Chown(folder, service, service), os.WriteFile(victim, []byte("root's\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	return folder, victim
}

func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Lchown(path, service, service); err != nil {
			t.Fatal(err)
		}
	}
}

func addAlice(f *File) error { return f.Add(Account{Name: "alice"}) }

func wantVictim(t *testing.T, victim string) {
	t.Helper()
	wantOwner(t, victim, 0, 0)
	if text, err := os.ReadFile(victim); err != nil || string(text) != "root's\n" {
		t.Errorf("the file behind the link: %q, %v", text, err)
	}
}

func TestLockIsNoLink(t *testing.T) {
	folder, victim := asRoot(t)
	path := filepath.Join(folder, "accounts.yaml")
	link(t, victim, path+".lock")
	err := Edit(path, addAlice)
	if err == nil || !strings.Contains(err.Error(), "accounts.yaml.lock is a symbolic link") {
		t.Errorf("got %v", err)
	}
	wantVictim(t, victim)

	if err := errors.Join(os.Remove(path+".lock"), os.Link(victim, path+".lock")); err != nil {
		t.Fatal(err)
	}
	if err := Edit(path, addAlice); err == nil {
		t.Error("a hard link was taken for the lock")
	}
	wantVictim(t, victim)
}

// TestLinkOfAnother: only root's own links, and links to what their owner has,
// lead root out of the folder.
func TestLinkOfAnother(t *testing.T) {
	folder, victim := asRoot(t)
	if err := os.WriteFile(victim, []byte("accounts: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "accounts.yaml")
	link(t, victim, path)
	if err := Edit(path, addAlice); err == nil || !strings.Contains(err.Error(), "is a symbolic link of another user") {
		t.Errorf("got %v", err)
	}
	wantFiles(t, filepath.Dir(victim), "victim")
	if text, err := os.ReadFile(victim); err != nil || string(text) != "accounts: []\n" {
		t.Errorf("the file behind the link: %q, %v", text, err)
	}
	if err := os.Lchown(path, 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := Edit(path, addAlice); err != nil {
		t.Errorf("root's own link: %v", err)
	}
}

func TestAuditIsNoLink(t *testing.T) {
	folder, victim := t.TempDir(), filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("root's\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "audit.jsonl")
	link(t, victim, path)
	if a, err := OpenAudit(path); err == nil || !strings.Contains(err.Error(), "audit.jsonl is a symbolic link") {
		t.Errorf("got %v, %v", a, err)
	}
	dangling := filepath.Join(folder, "dangling")
	link(t, filepath.Join(folder, "none"), dangling)
	if a, err := OpenAudit(dangling); err == nil {
		t.Errorf("a link to nothing was opened: %v", a)
	}
	pipe := filepath.Join(folder, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if a, err := OpenAudit(pipe); err == nil {
		t.Errorf("a pipe that nobody reads was opened: %v", a)
	}
	hard := filepath.Join(folder, "hard")
	if err := os.Link(victim, hard); err != nil {
		t.Fatal(err)
	}
	if a, err := OpenAudit(hard); err == nil || !strings.Contains(err.Error(), "hard links") {
		t.Errorf("got %v, %v", a, err)
	}
	if text, err := os.ReadFile(victim); err != nil || string(text) != "root's\n" {
		t.Errorf("the file behind the links: %q, %v", text, err)
	}
}

// TestRootLeavesNothing wants that the service's user can open all that a
// command of root makes.
func TestRootLeavesNothing(t *testing.T) {
	folder, _ := asRoot(t)
	path := filepath.Join(folder, "accounts.yaml")
	audit := filepath.Join(folder, "audit.jsonl")
	n := 0
	write := func(path, audit string) {
		t.Helper()
		n++
		err := EditFor(path, folder, func(f *File) error { return f.Add(Account{Name: fmt.Sprintf("a%d", n)}) })
		a, openErr := OpenAuditFor(audit, folder)
		if err := errors.Join(err, openErr, a.Close()); err != nil {
			t.Fatal(err)
		}
	}
	write(path, audit)
	for _, name := range []string{path, path + ".lock", audit} {
		wantOwner(t, name, service, service)
	}
	// Root's editor has left a file that only root can read.
	if err := os.Chown(path, 0, 0); err != nil {
		t.Fatal(err)
	}
	write(path, audit)
	wantOwner(t, path, service, service)

	// In a folder of root's the accounts stay root's, and the service reads.
	etc := t.TempDir()
	path, audit = filepath.Join(etc, "accounts.yaml"), filepath.Join(etc, "audit.jsonl")
	write(path, audit)
	wantOwner(t, path, 0, service)
	wantOwner(t, audit, service, service)
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o640 {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
	write(path, audit)
	wantOwner(t, path, 0, service)
}

// TestPipeHangsNothing puts a pipe in the place of the accounts file: opening it
// would wait for somebody who writes.
func TestPipeHangsNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts.yaml")
	if err := Edit(path, addAlice); err != nil {
		t.Fatal(err)
	}
	accounts, err := Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := NewGate(accounts, GateOptions{}).Identify(&http.Request{Header: http.Header{}})
		_, readErr := Read(path)
		if readErr == nil || errors.Is(readErr, fs.ErrNotExist) {
			err = errors.Join(err, errors.New("a pipe was read as accounts"))
		}
		accounts.Close()
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil || !accounts.Closed() {
			t.Errorf("got %v; closed %t", err, accounts.Closed())
		}
	case <-time.After(time.Minute):
		// Whoever waits for a writer gets one, so that the test can end.
		if f, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
			_ = f.Close()
		}
		t.Fatal("a request hangs")
	}
}
