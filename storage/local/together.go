package local

import (
	"context"
	"slices"
	"time"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
)

// scope holds what is done to be durable together.
type scope struct {
	driver *Driver
	wanted []wanted
	after  []string // files of uploads that go once the rest is durable
}

// wanted is a change that a caller asked for.
type wanted struct {
	kind     recordKind // placed is a move
	path     string
	from     string // of what is moved
	content  []byte // of what is written
	modified time.Time
	fresh    bool // what is written is, also if it is there
	// at is the time that what is written or moved gets, zero for now or its own.
	at time.Time
}

type scopeKey struct{}

// scopeOf returns the scope in which a call of this driver is made, nil if there
// is none.
func (d *Driver) scopeOf(ctx context.Context) *scope {
	if s, ok := ctx.Value(scopeKey{}).(*scope); ok && s.driver == d {
		return s
	}
	return nil
}

// Together runs do, and has everything that it changes with the context that it
// gets be durable and seen at once when Together returns without an error, for
// one sync. If do returns an error, none of it happens, and that is the error.
// Within do, its changes are seen by Stat and GetContent of their paths alone,
// and by one goroutine. One Together within another is part of it.
func (d *Driver) Together(ctx context.Context, do func(context.Context) error) error {
	if d.scopeOf(ctx) != nil {
		return do(ctx)
	}
	s := &scope{driver: d}
	if err := do(context.WithValue(ctx, scopeKey{}, s)); err != nil {
		return err
	}
	if err := d.change(context.WithoutCancel(ctx), s.wanted...); err != nil {
		return wrapWrite(err)
	}
	for _, name := range s.after {
		_ = d.deleteUpload(name) // else the purger does
	}
	return nil
}

// add takes up a change. What was to be written to the same path before is of no
// account.
func (s *scope) add(w wanted) {
	if w.kind == written {
		s.wanted = slices.DeleteFunc(s.wanted, func(before wanted) bool { return before.kind == written && before.path == w.path })
	}
	w.modified, w.content = time.Now(), slices.Clone(w.content)
	s.wanted = append(s.wanted, w)
}

// pending is what the scope of a call does with a path last, nil if there is no
// scope or it does nothing.
func (d *Driver) pending(ctx context.Context, p string) *wanted {
	s := d.scopeOf(ctx)
	if s == nil {
		return nil
	}
	name, err := name(p)
	if err != nil {
		return nil
	}
	return s.find(name)
}

func (d *Driver) statPending(p string, w *wanted) (storagedriver.FileInfo, error) {
	found := info{path: p, size: int64(len(w.content)), modified: w.modified}
	switch w.kind {
	case deleted:
		return nil, storagedriver.PathNotFoundError{Path: p, DriverName: kind}
	case placed:
		there, err := d.statFile(w.from)
		if err != nil {
			return nil, wrap(p, err)
		}
		there.path, found = p, there
	}
	return found, nil
}

// find returns what the scope does with a path last, or nil.
func (s *scope) find(name string) *wanted {
	for i := len(s.wanted) - 1; i >= 0; i-- {
		w := &s.wanted[i]
		switch {
		case w.path == name:
			return w
		case w.kind == deleted && within(name, w.path), w.kind == placed && w.from == name:
			return &wanted{kind: deleted, path: name}
		}
	}
	return nil
}
