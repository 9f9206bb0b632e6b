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
	openFolder(name string) (folderReader, error)
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

// folderReader reads the names in a folder, as an *os.File does.
type folderReader interface {
	// Readdirnames returns n names at most, and io.EOF once there are no more.
	Readdirnames(n int) ([]string, error)
	io.Closer
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

func (g *gate) openFolder(name string) (folderReader, error) {
	defer g.enter()()
	f, err := g.files.openFolder(name)
	if err != nil {
		return nil, err
	}
	return gatedFolder{f, g}, nil
}

// gatedFolder is in the file system while it reads, and not in between.
type gatedFolder struct {
	folderReader
	gate *gate
}

// Readdirnames implements folderReader.
func (g gatedFolder) Readdirnames(n int) ([]string, error) {
	defer g.gate.enter()()
	return g.folderReader.Readdirnames(n)
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

// eachNames is how many names of a folder are held at once: it may have more than fit
// into memory.
const eachNames = 1024

// eachName calls fn with the name of everything in a folder, in any order, and returns
// its error.
func eachName(f files, folder string, fn func(name string) error) error {
	opened, err := f.openFolder(folder)
	if err != nil {
		return err
	}
	defer opened.Close()
	for {
		names, err := opened.Readdirnames(eachNames)
		for _, name := range names {
			if err := fn(name); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// namesIn are all names in a folder.
func namesIn(f files, folder string) (all []string, err error) {
	err = eachName(f, folder, func(name string) error {
		all = append(all, name)
		return nil
	})
	return all, err
}

// removeAll removes a file, or a folder with all that is in it.
func removeAll(f files, name string) error {
	err := f.remove(name)
	if !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, syscall.EEXIST) {
		return err
	}
	// Something may be put into it meanwhile; not for ever.
	for range 10 {
		err = eachName(f, name, func(below string) error {
			if err := removeAll(f, name+"/"+below); !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err = f.remove(name); err == nil || !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, syscall.EEXIST) {
			return err
		}
	}
	return err
}
