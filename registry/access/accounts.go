package access

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// pollEvery is how often the file is looked at, beside every request.
	pollEvery = 250 * time.Millisecond
	// racy is how old a file must be so that a further change would show in
	// its time of modification, whatever the file system's resolution.
	racy = 2 * time.Second
)

// Accounts is the live content of the accounts file. It is safe for concurrent
// use.
//
// The file is looked at several times a second, and before each request is
// identified, through symbolic links. It counts whole: one that cannot be read
// or has anything wrong in it changes nothing, the log says what is wrong, once
// for each change. Once there was a file the registry is closed, and nothing
// that happens to the file opens it again while the process lives.
type Accounts struct {
	path string
	log  *slog.Logger
	stop func()
	done chan struct{}

	// closed is closed with the registry.
	closed chan struct{}

	current atomic.Pointer[Snapshot]
	// seen is what the file looked like when it was last read.
	seen atomic.Pointer[stamp]

	// next is closed when something else is in force.
	next atomic.Pointer[chan struct{}]

	// mu lets one read the file at a time. It guards what follows.
	mu      sync.Mutex
	text    []byte // that was read last, good or not
	problem string // that was logged last
}

// stamp is what tells one state of a file from another without reading it.
type stamp struct {
	// info is nil if there was no file, or none that could be looked at.
	info fs.FileInfo
	err  string
	// unsure asks for the file to be read again at the next poll: it was so
	// young, or in such a state, that a change may not show.
	unsure bool
}

func look(path string) *stamp {
	info, err := os.Stat(path)
	return stampOf(info, err)
}

// stampOf makes a stamp of what one call has said: that there is no file is the
// same from whichever call.
func stampOf(info fs.FileInfo, err error) *stamp {
	if errors.Is(err, fs.ErrNotExist) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return &stamp{err: err.Error()}
	}
	return &stamp{info: info}
}

func (s *stamp) same(other *stamp) bool {
	if s.info == nil || other.info == nil {
		return s.info == nil && other.info == nil && s.err == other.err
	}
	return s.info.ModTime().Equal(other.info.ModTime()) && s.info.Size() == other.info.Size() &&
		s.info.Mode() == other.info.Mode() && os.SameFile(s.info, other.info)
}

// Open reads the accounts file and watches it until Close. Without a file the
// registry is open until there is one. A file that cannot be read or is wrong
// is an error that names line and key, and never shows a value.
func Open(path string, log *slog.Logger) (*Accounts, error) {
	stop := make(chan struct{})
	a := &Accounts{path: path, log: log, stop: sync.OnceFunc(func() { close(stop) }), done: make(chan struct{}), closed: make(chan struct{})}
	a.current.Store(&Snapshot{open: true})
	a.next.Store(new(make(chan struct{})))
	if err := a.read(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	go a.watch(stop)
	return a, nil
}

// Close ends the watching. What is in force stays so.
func (a *Accounts) Close() {
	a.stop()
	<-a.done
}

// Closed reports whether the registry has accounts: a file was there at least
// once since the start.
func (a *Accounts) Closed() bool { return !a.Current().open }

// Open reports whether the registry has no accounts yet, as its next request
// finds it.
func (a *Accounts) Open() bool { return !a.Closed() && a.fresh().open }

// WhenClosed ends, and stays so, as soon as the registry has accounts.
func (a *Accounts) WhenClosed() <-chan struct{} { return a.closed }

// Next returns a channel that is closed when something else is in force than now.
func (a *Accounts) Next() <-chan struct{} { return *a.next.Load() }

// Current is what is in force now. In an open registry it holds no accounts.
func (a *Accounts) Current() *Snapshot { return a.current.Load() }

// Reload reads the file again, whether it has changed or not. The error is what
// is wrong with it; then what was in force stays so. Without a file an open
// registry stays open.
func (a *Accounts) Reload() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	err := a.read()
	if !a.Closed() && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	a.problem = ""
	if err != nil {
		a.problem = err.Error()
	}
	return err
}

// Problem is what is wrong with the file while what was in force before it
// still is, nil while the file itself is.
func (a *Accounts) Problem() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.problem == "" {
		return nil
	}
	return errors.New(a.problem)
}

// fresh is what the file says now, as far as a look at it tells. A revoked
// token shall be refused from the next request on, and a look costs about a
// microsecond.
func (a *Accounts) fresh() *Snapshot {
	if !look(a.path).same(a.seen.Load()) {
		a.reload(false)
	}
	return a.Current()
}

func (a *Accounts) watch(stop <-chan struct{}) {
	defer close(a.done)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			a.reload(true)
		}
	}
}

// reload reads the file if it changed; if again is set, also if it may have
// changed without a trace.
func (a *Accounts) reload(again bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if seen := a.seen.Load(); look(a.path).same(seen) && (!again || !seen.unsure) {
		return
	}
	before := a.text
	err := a.read()
	if err == nil {
		if a.problem != "" {
			a.log.Info("the accounts file is good again", "file", a.path)
			a.problem = ""
		}
		return
	}
	if !a.Closed() && errors.Is(err, fs.ErrNotExist) {
		return
	}
	if a.problem == err.Error() && bytes.Equal(before, a.text) {
		return
	}
	a.problem = err.Error()
	if !a.Closed() {
		a.log.Error("THE ACCOUNTS FILE CANNOT BE USED: the registry stays open until it is right", "problem", a.problem)
		return
	}
	a.log.Error("THE ACCOUNTS FILE CANNOT BE USED: the accounts of before stay in force, and what was changed since does not hold", "problem", a.problem)
}

// read reads the file and puts it in force if it is good.
func (a *Accounts) read() error {
	text, info, err := readFile(a.path)
	seen := stampOf(info, err)
	seen.unsure = err != nil && !errors.Is(err, fs.ErrNotExist) ||
		info != nil && time.Since(info.ModTime()) < racy
	// Last of all: whoever finds the file as it was seen relies on what is in
	// force by then.
	defer a.seen.Store(seen)
	if err != nil {
		a.text = nil
		return fmt.Errorf("accounts file: %w", err)
	}
	if a.text != nil && bytes.Equal(text, a.text) && a.problem == "" {
		return nil
	}
	a.text = text
	file, err := parse(a.path, text)
	if err != nil {
		return err
	}
	was := a.current.Swap(newSnapshot(file))
	close(*a.next.Swap(new(make(chan struct{}))))
	if was.open {
		close(a.closed)
		a.log.Info("accounts are in force: the registry is closed to everyone else", "file", a.path, "accounts", len(file.Accounts))
	} else {
		a.log.Info("accounts read again", "file", a.path, "accounts", len(file.Accounts))
	}
	return nil
}
