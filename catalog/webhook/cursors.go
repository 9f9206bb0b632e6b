package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"sync"
	"time"

	"github.com/berth-oci/berth/storage/fsync"
)

// cursor is how far a receiver is.
type cursor struct {
	// Revision is up to where all was taken.
	Revision string `json:"revision"`
	// Of is the identity of the receiver: see [Hook].
	Of string `json:"of"`
}

// cursors are those of all receivers, and their file.
type cursors struct {
	path  string
	check func() error

	writing sync.Mutex // is held while the file is written
	mu      sync.Mutex
	all     map[string]cursor // by the names of the receivers; guarded by mu
	saved   map[string]cursor // what is in the file; guarded by mu
}

// openCursors reads the file. What is there of receivers that there are no more, or
// that are others by now, is forgotten.
func openCursors(o Options) (*cursors, error) {
	c := &cursors{path: o.State, check: o.Check, all: map[string]cursor{}}
	text, err := os.ReadFile(o.State)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cursors of the webhooks: %w", err)
	}
	if err == nil {
		if err := json.Unmarshal(text, &c.saved); err != nil {
			o.Log.Error("the file with the cursors of the webhooks is damaged: receivers are told to list again", "file", o.State, "error", err)
			c.saved = nil
		}
	}
	for _, h := range o.Hooks {
		if kept, ok := c.saved[h.Name]; ok && kept.Of == h.identity() {
			c.all[h.Name] = kept
		}
	}
	return c, nil
}

// of returns the revision of a receiver, "" for none.
func (c *cursors) of(name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all[name].Revision
}

// move sets the revision of a receiver. It is written later.
func (c *cursors) move(h Hook, revision string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all[h.Name] = cursor{revision, h.identity()}
}

// save writes the file if anything has moved.
func (c *cursors) save() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	now := maps.Clone(c.all)
	same := maps.Equal(now, c.saved)
	c.mu.Unlock()
	if same {
		return nil
	}
	text, err := json.MarshalIndent(now, "", "  ")
	if err == nil && c.check != nil {
		err = c.check()
	}
	if err == nil {
		err = fsync.Replace(c.path, append(text, '\n'), nil)
	}
	if err != nil {
		return fmt.Errorf("cursors of the webhooks: %w", err)
	}
	c.mu.Lock()
	c.saved = now
	c.mu.Unlock()
	return nil
}

// keepSaved writes what has moved, at most once in a time, until ctx ends.
func (c *cursors) keepSaved(ctx context.Context, every time.Duration, log *slog.Logger) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := c.save()
		if err != nil && !failing {
			log.Error("the cursors of the webhooks cannot be written: what was sent since is sent again after the next start", "error", err)
		}
		failing = err != nil
	}
}
