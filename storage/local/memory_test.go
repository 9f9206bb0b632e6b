package local

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
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
	mu        sync.Mutex
	root      *node
	noSyncfs  bool
	noLinks   bool
	calls     int // that changed or synced something
	syncs     int // of all kinds
	failSync  func(n int) bool
	failWrite func(name string) bool
	after     func(what string) // called after each of calls, with the lock held
	lie       map[string]bool   // kinds of syncs that do nothing
}

// node is a file or folder, as it is seen and as it is on disk.
type node struct {
	dir      bool
	modified time.Time

	data, disk []byte
	dirty      [][2]int // pieces of data that were not synced; a failed sync drops them
	cut        bool     // the file was made empty, and that was not synced

	entries, durable map[string]*node
	changed          map[string]bool // entries that were not synced

	// failed says that a sync of everything could not write it: the next that is
	// asked for it alone is told so as well, and it is not written by either.
	failed bool
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
		n.data, n.dirty, n.cut = nil, nil, true
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
		if there == moved && replace {
			return nil // two names of the same file
		}
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

// memoryFolder is what is left to be read of a folder.
type memoryFolder struct{ names []string }

func (f *memoryFolder) Close() error { return nil }

func (f *memoryFolder) Readdirnames(n int) ([]string, error) {
	if n <= 0 {
		return nil, errors.New("all names at once may not fit into memory")
	}
	if len(f.names) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(f.names))
	some := f.names[:n]
	f.names = f.names[n:]
	return some, nil
}

func (m *memory) openFolder(name string) (folderReader, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(name)
	if err == nil && !n.dir {
		err = &fs.PathError{Op: "list", Path: name, Err: syscall.ENOTDIR}
	}
	if err != nil {
		return nil, err
	}
	return &memoryFolder{slices.Sorted(maps.Keys(n.entries))}, nil
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

// counted is how often something was changed or synced, and how often synced: a
// driver goes on in the background.
func (m *memory) counted() (calls, syncs int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls, m.syncs
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
	if ok {
		n.disk = n.written(func() bool { return true })
	}
	n.dirty, n.cut = nil, false
}

// sector is what a disk writes whole or not at all, in bytes.
const sector = 512

// written is what is on disk once those pieces are that are lucky.
func (n *node) written(luck func() bool) []byte {
	if len(n.dirty) == 0 && !n.cut {
		return n.disk
	}
	disk := slices.Clone(n.disk)
	if n.cut && luck() {
		disk = nil
	}
	for _, piece := range n.dirty {
		for at := piece[0]; at < piece[1]; at = at/sector*sector + sector {
			if end := min(at/sector*sector+sector, piece[1]); luck() {
				if more := end - len(disk); more > 0 {
					disk = append(disk, make([]byte, more)...)
				}
				copy(disk[at:end], n.data[at:end])
			}
		}
	}
	return disk
}

func (n *node) syncAll(ok bool) {
	n.failed = n.failed || !ok && len(n.dirty)+len(n.changed) > 0
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
	failed := m.fails() || n.failed
	n.failed = false
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

func (m *memory) hasBarrier() bool { return !m.noSyncfs }
func (m *memory) space() int64     { return 0 }

func (m *memory) datasync(f file) error { return f.(*memoryFile).sync("datasync") }

func (m *memory) link(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.noLinks {
		return &fs.PathError{Op: "link", Path: to, Err: syscall.EPERM}
	}
	n, err := m.find(from)
	if err != nil {
		return err
	}
	dir, base, err := m.parent(to)
	if err == nil && dir.entries[base] != nil {
		err = &fs.PathError{Op: "link", Path: to, Err: syscall.EEXIST}
	}
	if err != nil {
		return err
	}
	dir.set(base, n)
	m.did("link %s to %s", from, to)
	return nil
}

func (m *memory) exists(name string) error {
	_, err := m.stat(name)
	return err
}

func (m *memory) setTime(name string, modified time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(name)
	if err == nil {
		n.modified = modified
	}
	return err
}

func (m *memory) settled() (bool, error) { return !m.noSyncfs, nil }
func (m *memory) close() error           { return nil }

// thorough gives all where TEST_REQUIRE asks for what takes long, else some.
func thorough(all, some int) int {
	if slices.Contains(strings.Split(os.Getenv("TEST_REQUIRE"), ","), "crash") {
		return all
	}
	return some
}
