package local

import (
	"errors"
	"io/fs"
	"path"
	"strings"
	"sync"
)

// folders creates folders, and knows those whose entries may not be durable.
type folders struct {
	files    files
	enter    func() (leave func()) // before mu is taken: who is alone takes it then
	sequence func() uint64         // of the next record of the journal
	*fresh
}

// fresh are the folders that were created since the last checkpoint, with the
// sequence of what the journal was about to get then: all that was promised below
// one has that sequence or a later one.
type fresh struct {
	mu sync.Mutex
	of map[string]uint64
}

func newFolders(g *gate) *folders {
	return &folders{files: g.files, enter: g.enter, fresh: &fresh{of: make(map[string]uint64)}}
}

// alone is for who is alone in the file system. What he creates is for what the
// journal has already.
func (f *folders) alone(raw files) *folders {
	nobody := func() func() { return func() {} }
	return &folders{files: raw, enter: nobody, sequence: func() uint64 { return 0 }, fresh: f.fresh}
}

// mkdir creates a folder and notes that its entry is not durable. It is one
// step for all: who finds the folder must find the note too.
func (f *folders) mkdir(name string) error {
	defer f.enter()()
	if transient(name) {
		return f.files.mkdir(name)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.files.mkdir(name)
	if err == nil {
		f.of[name] = f.sequence()
	}
	return err
}

// rmdir removes a folder if it is empty.
func (f *folders) rmdir(name string) {
	defer f.enter()()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.files.remove(name) == nil {
		delete(f.of, name)
	}
}

// forget drops what is known of a path, with all below it, that is gone.
func (f *folders) forget(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for folder := range f.of {
		if within(folder, name) {
			delete(f.of, folder)
		}
	}
}

// durable notes that all folders are that were there when the journal was about
// to get a sequence.
func (f *folders) durable(before uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for folder, created := range f.of {
		if created < before {
			delete(f.of, folder)
		}
	}
}

// depth is how many components of a path lead to the topmost folder above it
// that was created since a sequence, 0 if there is none.
func (f *folders) depth(name string, since uint64) (depth int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.of) == 0 {
		return 0
	}
	for at := path.Dir(name); at != "."; at = path.Dir(at) {
		if created, is := f.of[at]; is && created >= since {
			depth = strings.Count(at, "/") + 1
		}
	}
	return depth
}

// parents are the folders that hold the entries of a path, and of those above it
// that are not known to be durable; all of them, unless what was there at the
// start is trusted.
func (f *folders) parents(name string, trusted bool, into map[string]struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	into[path.Dir(name)] = struct{}{}
	for at := path.Dir(name); at != "."; at = path.Dir(at) {
		if _, fresh := f.of[at]; fresh || !trusted {
			into[path.Dir(at)] = struct{}{}
		}
	}
}

// all are the fresh folders.
func (f *folders) all() (names []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name := range f.of {
		names = append(names, name)
	}
	return names
}

// within does something that needs the folder of a name, and creates it if it is
// missing. Another request may remove it again, as it does with an upload's.
func (f *folders) within(name string, made *[]string, do func() error) error {
	for range 10 {
		if err := do(); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := f.mkdirs(path.Dir(name), made); err != nil {
			return err
		}
	}
	return do()
}

// mkdirs creates a folder, and those above it only if it must.
func (f *folders) mkdirs(name string, made *[]string) error {
	err := f.mkdir(name)
	if errors.Is(err, fs.ErrNotExist) && name != "." {
		if err := f.mkdirs(path.Dir(name), made); err != nil {
			return err
		}
		err = f.mkdir(name)
	}
	switch {
	case err == nil:
		*made = append(*made, name)
	case errors.Is(err, fs.ErrExist):
		return nil
	}
	return err
}

// unmake removes the folders that an operation created and that nobody uses.
func (f *folders) unmake(made []string) {
	for i := len(made) - 1; i >= 0; i-- {
		f.rmdir(made[i])
	}
}
