package local

import (
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"syscall"
	"time"
)

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
	n, err := f.write(p, f.at)
	f.at += int64(n)
	return n, err
}

func (f *memoryFile) WriteAt(p []byte, at int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return f.write(p, at)
}

func (f *memoryFile) write(p []byte, at int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if f.m.failWrite != nil && f.m.failWrite(f.name) {
		return 0, &fs.PathError{Op: "write", Path: f.name, Err: syscall.ENOSPC}
	}
	end := int(at) + len(p)
	if more := end - len(f.n.data); more > 0 {
		f.n.data = append(f.n.data, make([]byte, more)...)
	}
	copy(f.n.data[at:], p)
	f.n.dirty, f.n.modified = append(f.n.dirty, [2]int{int(at), end}), time.Now()
	f.m.did("write %s", f.name)
	return len(p), nil
}

func (f *memoryFile) ReadAt(p []byte, at int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	n := copy(p, f.n.data[min(int(at), len(f.n.data)):])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
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

func (f *memoryFile) Sync() error { return f.sync("Sync") }

func (f *memoryFile) sync(kind string) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.m.lie[kind] {
		return nil
	}
	failed := f.m.fails() || f.n.failed
	f.n.failed = false
	f.n.syncData(!failed)
	f.m.did("sync file %s: failed %t", f.name, failed)
	if failed {
		return errIO
	}
	return nil
}

func (f *memoryFile) Stat() (fs.FileInfo, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return memoryInfo{f.name, int64(len(f.n.data)), f.n.modified}, nil
}

func (f *memoryFile) Close() error { return nil }

type memoryInfo struct {
	name     string
	size     int64
	modified time.Time
}

func (i memoryInfo) Name() string       { return path.Base(i.name) }
func (i memoryInfo) Size() int64        { return i.size }
func (i memoryInfo) Mode() fs.FileMode  { return 0o600 }
func (i memoryInfo) ModTime() time.Time { return i.modified }
func (i memoryInfo) IsDir() bool        { return false }
func (i memoryInfo) Sys() any           { return nil }

// crashed is what a crash leaves: what was synced, and of the rest whatever
// chance, which may be nil, lets have been written already. The lock is held.
func (m *memory) crashed(chance *rand.Rand) *memory {
	root := m.root.crashed(chance, make(map[*node]*node))
	return &memory{root: root, noSyncfs: m.noSyncfs, noLinks: m.noLinks}
}

// crashed has one copy of a file that has several names.
func (n *node) crashed(chance *rand.Rand, copies map[*node]*node) *node {
	if there := copies[n]; there != nil {
		return there
	}
	luck := func() bool { return chance != nil && chance.IntN(2) == 0 }
	left := newNode(n.dir)
	left.modified = n.modified
	if !n.dir {
		copies[n] = left
		left.disk = slices.Clone(n.written(luck))
		left.data = slices.Clone(left.disk)
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
		left.entries[name] = keep[name].crashed(chance, copies)
		left.durable[name] = left.entries[name]
	}
	return left
}
