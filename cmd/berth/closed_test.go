package main

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-oci/berth/cmd/berth/server"
	"github.com/berth-oci/berth/config"
)

// opened opens a berth without a listener.
func opened(t *testing.T, data string, environ ...string) (*berth, error) {
	t.Helper()
	c, err := config.Load("", append(environ, "BERTH_DATA="+data))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return open(t.Context(), c, server.NewMetrics(), slog.New(slog.DiscardHandler), io.Discard)
}

// TestBackupStaysClosed follows the README: what is backed up is the storage
// folder, and nothing else.
func TestBackupStaysClosed(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, data string){
		"accounts at the start": func(t *testing.T, data string) {
			ok(t, data, "account", "add", "root", "--admin")
			b, err := opened(t, data)
			if err != nil {
				t.Fatal(err)
			}
			if err := b.close(); err != nil {
				t.Fatal(err)
			}
		},
		"accounts that come later": func(t *testing.T, data string) {
			b, err := opened(t, data)
			if err != nil {
				t.Fatal(err)
			}
			ok(t, data, "account", "add", "root", "--admin")
			for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
				if closed, err := b.store.Closed(t.Context()); err != nil {
					t.Fatal(err)
				} else if closed {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("storage does not know that there are accounts")
				}
			}
			if err := b.close(); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			data, restored := t.TempDir(), t.TempDir()
			prepare(t, data)
			if err := os.CopyFS(filepath.Join(restored, "storage"), os.DirFS(filepath.Join(data, "storage"))); err != nil {
				t.Fatal(err)
			}
			b, err := opened(t, restored)
			if err == nil || !strings.Contains(err.Error(), "belong to accounts") || !strings.Contains(err.Error(), "BERTH_HTTP_OPEN=true") {
				if err == nil {
					_ = b.close()
				}
				t.Fatalf("a backup came up: %v", err)
			}
			if b, err = opened(t, restored, "BERTH_HTTP_OPEN=true"); err != nil {
				t.Fatalf("and is not to be opened: %v", err)
			}
			if err := b.close(); err != nil {
				t.Fatal(err)
			}
			ok(t, restored, "account", "add", "root", "--admin")
			if b, err = opened(t, restored); err != nil || !b.accounts.Closed() {
				t.Fatalf("with accounts: %v", err)
			}
			if err := b.close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestOpenStaysEasy wants a berth without any setting to start, twice.
func TestOpenStaysEasy(t *testing.T) {
	data := t.TempDir()
	for range 2 {
		b, err := opened(t, data)
		if err != nil || b.accounts.Closed() {
			t.Fatal(err)
		}
		if err := b.close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestKeptSecret refuses a secret that somebody else put into the data folder,
// and makes a good one where there is none.
func TestKeptSecret(t *testing.T) {
	data := t.TempDir()
	path := filepath.Join(data, "upload.secret")
	if err := os.WriteFile(path, []byte("changeme\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := opened(t, data); err == nil || !strings.Contains(err.Error(), "can be guessed") || strings.Contains(err.Error(), "changeme") {
		t.Fatalf("got %v, %v", b, err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := opened(t, data)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	if made, err := os.ReadFile(path); err != nil || config.WeakSecret(strings.TrimSpace(string(made))) != "" {
		t.Errorf("made %q, %v", made, err)
	}
}
