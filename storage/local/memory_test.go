package local

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// memory is a file system that forgets in a crash whatever was not synced, and
// of which each sync can fail: what a failed sync was for is then never written
// by a later one, unless it is written anew.
type memory struct {
	mu       sync.Mutex
	root     *node
	noSyncfs bool
	calls    int // that changed or synced something
	syncs    int // of all kinds
	failSync func(n int) bool
	after    func(what string) // called after each of calls, with the lock held
	lie      map[string]bool   // kinds of syncs that do nothing
}

// node is a file or folder, as it is seen and as it is on disk.
type node struct {
	dir      bool
	modified time.Time

	data, disk []byte
	dirty      bool
	lost       int // bytes at the start that a failed sync left unwritten

	entries, durable map[string]*node
	changed          map[string]bool // entries that were not synced
}

func newMemory() *memory { return &memory{root: newNode(true)} }

func newNode(dir bool) *node {
	n := &node{dir: dir, modified: time.Now()}
	if dir {
		n.entries, n.durable, n.changed = map[string]*node{}, map[string]*node{}, map[string]bool{}
	}
	return n
}

var errIO = &fs.PathError{Op: "sync", Path: "disk", Err: syscall.EIO}

func (m *memory) find(name string) (*node, error) {
	at := m.root
	for part := range strings.SplitSeq(name, "/") {
		if part == "." {
			continue
		}
		if !at.dir {
			return nil, &fs.PathError{Op: "find", Path: name, Err: syscall.ENOTDIR}
		}
		below, ok := at.entries[part]
		if !ok {
			return nil, &fs.PathError{Op: "find", Path: name, Err: syscall.ENOENT}
		}
		at = below
	}
	return at, nil
}

// parent is the folder of a name.
func (m *memory) parent(name string) (*node, string, error) {
	dir, err := m.find(path.Dir(name))
	if err == nil && !dir.dir {
		err = &fs.PathError{Op: "find", Path: name, Err: syscall.ENOTDIR}
	}
	return dir, path.Base(name), err
}

func (m *memory) did(what string, arguments ...any) {
	m.calls++
	if m.after != nil {
		m.after(fmt.Sprintf(what, arguments...))
	}
}

func (n *node) set(name string, to *node) {
	if to == nil {
		delete(n.entries, name)
	} else {
		n.entries[name] = to
	}
	n.changed[name] = true
}

func (m *memory) open(name string, flag int) (file, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(name)
	switch {
	case err == nil && flag&os.O_EXCL != 0:
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EEXIST}
	case errors.Is(err, fs.ErrNotExist) && flag&os.O_CREATE != 0:
		dir, base, err := m.parent(name)
		if err != nil {
			return nil, err
		}
		n = newNode(false)
		dir.set(base, n)
		m.did("create %s", name)
	case err != nil:
		return nil, err
	}
	if flag&os.O_TRUNC != 0 && len(n.data) > 0 {
		n.data, n.dirty = nil, true
		m.did("truncate %s", name)
	}
	return &memoryFile{m: m, n: n, name: name}, nil
}

func (m *memory) rename(from, to string, replace bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	source, fromBase, err := m.parent(from)
	if err != nil {
		return err
	}
	moved := source.entries[fromBase]
	target, toBase, err := m.parent(to)
	if err != nil {
		return err
	}
	if moved == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: syscall.ENOENT}
	}
	if there := target.entries[toBase]; there != nil {
		if !replace {
			return &fs.PathError{Op: "rename", Path: to, Err: syscall.EEXIST}
		}
		if there.dir {
			return &fs.PathError{Op: "rename", Path: to, Err: syscall.EISDIR}
		}
	}
	source.set(fromBase, nil)
	target.set(toBase, moved)
	m.did("rename %s to %s", from, to)
	return nil
}

func (m *memory) remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent(name)
	if err != nil {
		return err
	}
	n := dir.entries[base]
	switch {
	case n == nil:
		return &fs.PathError{Op: "remove", Path: name, Err: syscall.ENOENT}
	case n.dir && len(n.entries) > 0:
		return &fs.PathError{Op: "remove", Path: name, Err: syscall.ENOTEMPTY}
	}
	dir.set(base, nil)
	m.did("remove %s", name)
	return nil
}

func (m *memory) mkdir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent(name)
	if err != nil {
		return err
	}
	if dir.entries[base] != nil {
		return &fs.PathError{Op: "mkdir", Path: name, Err: syscall.EEXIST}
	}
	dir.set(base, newNode(true))
	m.did("mkdir %s", name)
	return nil
}

func (m *memory) names(name string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(name)
	if err == nil && !n.dir {
		err = &fs.PathError{Op: "list", Path: name, Err: syscall.ENOTDIR}
	}
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(n.entries)), nil
}

func (m *memory) stat(name string) (info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(name)
	if err != nil {
		return info{}, err
	}
	return info{size: int64(len(n.data)), dir: n.dir, modified: n.modified}, nil
}

// fails says whether the sync that is about to be done does.
func (m *memory) fails() bool {
	m.syncs++
	return m.failSync != nil && m.failSync(m.syncs)
}

func (n *node) syncEntries(ok bool) {
	for name := range n.changed {
		if to := n.entries[name]; ok && to != nil {
			n.durable[name] = to
		} else if ok {
			delete(n.durable, name)
		}
	}
	clear(n.changed)
}

func (n *node) syncData(ok bool) {
	if !n.dirty {
		return
	}
	n.dirty = false
	if !ok {
		n.lost = len(n.data)
		return
	}
	n.disk = slices.Clone(n.data)
	clear(n.disk[:min(n.lost, len(n.disk))])
}

func (n *node) syncAll(ok bool) {
	if !n.dir {
		n.syncData(ok)
		return
	}
	for _, below := range n.entries {
		below.syncAll(ok)
	}
	n.syncEntries(ok)
}

func (m *memory) syncDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(name)
	if err != nil || m.lie["syncDir"] {
		return err
	}
	failed := m.fails()
	n.syncEntries(!failed)
	m.did("sync folder %s: failed %t", name, failed)
	if failed {
		return errIO
	}
	return nil
}

func (m *memory) barrier() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lie["barrier"] {
		return nil
	}
	failed := m.fails()
	m.root.syncAll(!failed)
	m.did("sync all: failed %t", failed)
	if failed {
		return errIO
	}
	return nil
}

func (m *memory) hasBarrier() bool       { return !m.noSyncfs }
func (m *memory) settled() (bool, error) { return !m.noSyncfs, nil }
func (m *memory) close() error           { return nil }

type memoryFile struct {
	m    *memory
	n    *node
	name string
	at   int64
}

func (f *memoryFile) Read(p []byte) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	switch {
	case f.n.dir:
		return 0, &fs.PathError{Op: "read", Path: f.name, Err: syscall.EISDIR}
	case f.at >= int64(len(f.n.data)):
		return 0, io.EOF
	}
	n := copy(p, f.n.data[f.at:])
	f.at += int64(n)
	return n, nil
}

func (f *memoryFile) Write(p []byte) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	f.n.data = append(f.n.data[:f.at:f.at], p...)
	f.n.dirty, f.n.modified = true, time.Now()
	f.at += int64(len(p))
	f.m.did("write %s", f.name)
	return len(p), nil
}

func (f *memoryFile) Seek(offset int64, whence int) (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	switch whence {
	case io.SeekEnd:
		offset += int64(len(f.n.data))
	case io.SeekCurrent:
		offset += f.at
	}
	f.at = offset
	return offset, nil
}

func (f *memoryFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.m.lie["Sync"] {
		return nil
	}
	failed := f.m.fails()
	f.n.syncData(!failed)
	f.m.did("sync file %s: failed %t", f.name, failed)
	if failed {
		return errIO
	}
	return nil
}

func (f *memoryFile) Stat() (fs.FileInfo, error) { return nil, errors.ErrUnsupported }
func (f *memoryFile) Close() error               { return nil }

// crashed is what a crash leaves: what was synced, and of the rest whatever
// chance, which may be nil, lets have been written already. The lock is held.
func (m *memory) crashed(chance *rand.Rand) *memory {
	return &memory{root: m.root.crashed(chance), noSyncfs: m.noSyncfs}
}

func (n *node) crashed(chance *rand.Rand) *node {
	luck := func() bool { return chance != nil && chance.IntN(2) == 0 }
	left := newNode(n.dir)
	if !n.dir {
		left.data = slices.Clone(n.disk)
		if n.dirty && luck() {
			left.data = slices.Clone(n.data[:chance.IntN(len(n.data)+1)])
		}
		left.disk = slices.Clone(left.data)
		return left
	}
	keep := maps.Clone(n.durable)
	for _, name := range slices.Sorted(maps.Keys(n.changed)) {
		if to := n.entries[name]; luck() {
			if delete(keep, name); to != nil {
				keep[name] = to
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(keep)) {
		left.entries[name] = keep[name].crashed(chance)
		left.durable[name] = left.entries[name]
	}
	return left
}
