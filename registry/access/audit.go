package access

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Event is one line of the audit log: who did what, to what, from where, and
// what came of it. It holds no secrets.
type Event struct {
	Time time.Time `json:"time"`
	// Account is empty for anonymous callers and in an open registry; Token is
	// the label of the token that was used.
	Account string `json:"account,omitempty"`
	Token   string `json:"token,omitempty"`
	Client  string `json:"client,omitempty"` // address and port
	Request string `json:"request,omitempty"`
	// Action is push, delete or refused, or what was done to an account.
	Action     string `json:"action"`
	Repository string `json:"repository,omitempty"`
	Tag        string `json:"tag,omitempty"`
	Digest     string `json:"digest,omitempty"`
	Status     int    `json:"status,omitempty"`
	// Detail says what was refused, or the name of the account that changed.
	Detail string `json:"detail,omitempty"`
}

// Audit appends events to a file of JSON lines. A nil one drops them.
type Audit struct {
	path, data string

	mu   sync.Mutex
	file *os.File // guarded by mu
}

// OpenAudit opens the audit log for appending, and makes it readable by its
// owner only if it is new. It is a file: links, pipes and devices are refused.
// No path means no audit log: it returns nil.
func OpenAudit(path string) (*Audit, error) { return OpenAuditFor(path, "") }

// OpenAuditFor is [OpenAudit] for a berth with that data folder: what root
// makes, that folder's owner can open.
func OpenAuditFor(path, data string) (*Audit, error) {
	if path == "" {
		return nil, nil
	}
	a := &Audit{path: path, data: data}
	var err error
	if a.file, err = a.open(); err != nil {
		return nil, err
	}
	return a, nil
}

func (a *Audit) open() (*os.File, error) {
	f, err := openOwn(a.path, os.O_APPEND|os.O_WRONLY, filepath.Dir(a.path), a.data)
	if err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	return f, nil
}

// Reopen opens the file at the path again, after it was moved away. If that
// fails, the one that is open stays in use.
func (a *Audit) Reopen() error {
	if a == nil {
		return nil
	}
	f, err := a.open()
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.file
	a.file = f
	return errors.Join(old.Sync(), old.Close())
}

// Write appends an event, with the time if it has none. Each line is written
// at once, so that several processes may share the file.
func (a *Audit) Write(e Event) error {
	if a == nil {
		return nil
	}
	if e.Time.IsZero() {
		e.Time = time.Now().UTC()
	}
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	_, err = a.file.Write(append(line, '\n'))
	return err
}

// Close syncs and closes the file.
func (a *Audit) Close() error {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return errors.Join(a.file.Sync(), a.file.Close())
}
