package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/berth-oci/berth/config"
)

// lockFile is what a berth holds locked in its data folder while it runs.
func lockFile(data string) string { return filepath.Join(data, "berth.lock") }

// running is what a berth writes into its lock: the commands read what it uses.
type running struct {
	PID      int    `json:"pid"`
	Accounts string `json:"accounts_file"` // absolute
}

func writeRunning(c *config.Config) error {
	path, err := filepath.Abs(c.Accounts.File)
	if err != nil {
		return err
	}
	text, err := json.Marshal(running{os.Getpid(), path})
	if err != nil {
		return err
	}
	return os.WriteFile(lockFile(c.Data), append(text, '\n'), 0o600)
}

// The registries that a change of the accounts may concern.
const (
	registryNone    = "none"    // no berth has ever run with the data folder
	registryStopped = "stopped" // the next one takes the change over
	registryRunning = "running" // one does at once
	registryOther   = "other"   // one runs, and uses another accounts file
)

// concerned says which registry a change of the accounts concerns, and which
// accounts file the one that runs uses if that is known.
func concerned(c *config.Config) (registry, file string) {
	path := lockFile(c.Data)
	if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
		return registryNone, ""
	}
	l := flock.New(path, flock.SetFlag(os.O_RDONLY))
	free, err := l.TryRLock()
	if err == nil && free {
		_ = l.Close()
		return registryStopped, ""
	}
	text, err := os.ReadFile(path)
	var r running
	if err != nil || json.Unmarshal(text, &r) != nil || r.Accounts == "" {
		return registryRunning, ""
	}
	if sameFile(r.Accounts, c.Accounts.File) {
		return registryRunning, r.Accounts
	}
	return registryOther, r.Accounts
}

func sameFile(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	if errA == nil && errB == nil {
		return os.SameFile(infoA, infoB)
	}
	absolute, err := filepath.Abs(b)
	return err == nil && absolute == a && errors.Is(errA, fs.ErrNotExist) == errors.Is(errB, fs.ErrNotExist)
}

// warnWhere warns of a change that does not concern the registry that is likely
// meant.
func warnWhere(ctx context.Context, w io.Writer, c *config.Config) {
	registry, file := concerned(c)
	folder := c.Data
	if absolute, err := filepath.Abs(folder); err == nil {
		folder = absolute
	}
	switch registry {
	case registryNone:
		fmt.Fprintf(w, "Warning: no berth has run with the data folder %s: this changes nothing for one that runs with another; --data or --config name that one.\n", folder)
	case registryOther:
		fmt.Fprintf(w, "Warning: the berth that runs with the data folder %s uses another accounts file, %q: this changes nothing for it; give the configuration that it was started with.\n", folder, file)
	}
	if (registry == registryNone || registry == registryStopped) && answers(ctx, c) {
		fmt.Fprintf(w, "Warning: the berth that answers at %s does not run with the data folder %s: this changes nothing for it.\n", c.HTTP.Listen, folder)
	}
}

// answers reports whether something is ready at the configured address.
func answers(ctx context.Context, c *config.Config) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return checkReady(ctx, readyURL(c)) == nil
}

// closes says what the first account of a file does to which registry.
func closes(c *config.Config) string {
	registry, file := concerned(c)
	switch registry {
	case registryNone, registryStopped:
		return fmt.Sprintf("No berth runs with %s now: one that is started with it is closed, and refuses whoever has no account.\n", c.Data)
	case registryOther:
		return fmt.Sprintf("The berth that runs with %s is not closed by it: it uses the accounts in %q.\n", c.Data, file)
	default:
		return "The registry is closed from now on: whoever has no account is refused.\n"
	}
}
