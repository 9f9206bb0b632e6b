package local

import (
	"errors"
	"io"
	"io/fs"
	"sync"
	"syscall"
	"time"
)

// files is the file system below the root, as the driver needs it. Names are
// relative to the root and have slashes; the root itself is ".". No name leads
// out of the root, whatever symbolic links there are: what lies behind such a
// link does not exist, and is not written to.
type files interface {
	// open opens a file with flags of os.OpenFile; a folder can be opened too.
	open(name string, flag int) (file, error)
	// rename moves a file or folder; without replace, the error is fs.ErrExist
	// if there is something at to.
	rename(from, to string, replace bool) error
	// link gives a file a second name, if nothing has that one.
	link(from, to string) error
	// remove removes a file, a symbolic link, or a folder that is empty.
	remove(name string) error
	mkdir(name string) error
	names(name string) ([]string, error)
	stat(name string) (info, error)
	// exists returns an error unless there is something of that name, be it a
	// symbolic link to nowhere.
	exists(name string) error
	// setTime sets when a file was modified.
	setTime(name string, modified time.Time) error
	// syncDir makes the entries of a folder durable.
	syncDir(name string) error
	// datasync makes durable what was written to a file, but not when.
	datasync(f file) error
	// barrier makes durable all that was written before, contents and entries.
	barrier() error
	// hasBarrier reports whether there is a barrier.
	hasBarrier() bool
	// space is the size of the file system in bytes, 0 if it is not known.
	space() int64
	// settled makes what an earlier process left behind durable, and reports
	// whether that can be relied upon.
	settled() (bool, error)
	close() error
}

// file is an open file; that of a real file system is an *os.File.
type file interface {
	io.ReadWriteSeeker
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error
	Stat() (fs.FileInfo, error)
}

// info is what the driver tells of a file or folder.
type info struct {
	path     string
	size     int64 // in bytes
	modified time.Time
	dir      bool
}

func (i info) Path() string       { return i.path }
func (i info) Size() int64        { return i.size }
func (i info) ModTime() time.Time { return i.modified }
func (i info) IsDir() bool        { return i.dir }

// gate bounds how many calls are in the file system at once, and lets one
// change something in several steps without anybody seeing one of them.
type gate struct {
	files
	slots chan struct{}
	tree  sync.RWMutex
}

func newGate(f files, most int) *gate { return &gate{files: f, slots: make(chan struct{}, most)} }

func (g *gate) enter() (leave func()) {
	g.slots <- struct{}{}
	g.tree.RLock()
	return func() {
		g.tree.RUnlock()
		<-g.slots
	}
}

func (g *gate) open(name string, flag int) (file, error) {
	defer g.enter()()
	return g.files.open(name, flag)
}

func (g *gate) rename(from, to string, replace bool) error {
	defer g.enter()()
	return g.files.rename(from, to, replace)
}

func (g *gate) remove(name string) error {
	defer g.enter()()
	return g.files.remove(name)
}

func (g *gate) mkdir(name string) error {
	defer g.enter()()
	return g.files.mkdir(name)
}

func (g *gate) names(name string) ([]string, error) {
	defer g.enter()()
	return g.files.names(name)
}

func (g *gate) stat(name string) (info, error) {
	defer g.enter()()
	return g.files.stat(name)
}

func (g *gate) exists(name string) error {
	defer g.enter()()
	return g.files.exists(name)
}

// alone runs do while nobody else is in the file system.
func (g *gate) alone(do func(f files) error) error {
	g.tree.Lock()
	defer g.tree.Unlock()
	return do(g.files)
}

// removeAll removes a file, or a folder with all that is in it.
func removeAll(f files, name string) error {
	err := f.remove(name)
	if !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, syscall.EEXIST) {
		return err
	}
	// Something may be put into it meanwhile; not for ever.
	for range 10 {
		var names []string
		if names, err = f.names(name); err != nil {
			return err
		}
		for _, below := range names {
			if err := removeAll(f, name+"/"+below); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		if err = f.remove(name); err == nil || !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, syscall.EEXIST) {
			return err
		}
	}
	return err
}
