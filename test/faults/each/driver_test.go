package each

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/factory"
)

// disk is what is stored: what an operation has done is there after a crash.
type disk struct {
	mu    sync.Mutex
	files map[string]file // contents are never changed in place
}

type file struct {
	content  []byte
	modified time.Time
}

func newDisk() *disk { return &disk{files: map[string]file{}} }

func (d *disk) clone() *disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &disk{files: maps.Clone(d.files)}
}

func (d *disk) get(p string) (file, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, ok := d.files[p]
	return f, ok
}

func (d *disk) set(p string, content []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.files[p] = file{content, time.Now()}
}

// below are the paths in a folder, at any depth.
func (d *disk) below(folder string) (paths []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for p := range d.files {
		if strings.HasPrefix(p, strings.TrimSuffix(folder, "/")+"/") {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	return paths
}

const driverName = "each"

func init() { factory.Register(driverName, diskFactory{}) }

type diskFactory struct{}

func (diskFactory) Create(_ context.Context, parameters map[string]any) (storagedriver.StorageDriver, error) {
	return driver{parameters["disk"].(*disk), parameters["faults"].(*faults)}, nil
}

// driver reads and writes a disk, with faults.
type driver struct {
	disk   *disk
	faults *faults
}

func (d driver) Name() string { return driverName }

func missing(p string) error {
	return storagedriver.PathNotFoundError{Path: p, DriverName: driverName}
}

func (d driver) GetContent(_ context.Context, p string) (content []byte, err error) {
	err = d.faults.do("GetContent", false, func() error {
		f, ok := d.disk.get(p)
		if !ok {
			return missing(p)
		}
		content = slices.Clone(f.content)
		return nil
	})
	return content, err
}

func (d driver) PutContent(_ context.Context, p string, content []byte) error {
	return d.faults.do("PutContent", true, func() error {
		d.disk.set(p, slices.Clone(content))
		return nil
	})
}

func (d driver) Reader(_ context.Context, p string, offset int64) (r io.ReadCloser, err error) {
	err = d.faults.do("Reader", false, func() error {
		f, ok := d.disk.get(p)
		if !ok {
			return missing(p)
		}
		if offset < 0 || offset > int64(len(f.content)) {
			return storagedriver.InvalidOffsetError{Path: p, Offset: offset, DriverName: driverName}
		}
		r = io.NopCloser(bytes.NewReader(f.content[offset:]))
		return nil
	})
	return r, err
}

func (d driver) Stat(_ context.Context, p string) (info storagedriver.FileInfo, err error) {
	err = d.faults.do("Stat", false, func() error {
		if f, ok := d.disk.get(p); ok {
			info = storagedriver.FileInfoInternal{FileInfoFields: storagedriver.FileInfoFields{Path: p, Size: int64(len(f.content)), ModTime: f.modified}}
			return nil
		}
		if p != "/" && len(d.disk.below(p)) == 0 {
			return missing(p)
		}
		info = storagedriver.FileInfoInternal{FileInfoFields: storagedriver.FileInfoFields{Path: p, IsDir: true}}
		return nil
	})
	return info, err
}

func (d driver) List(_ context.Context, p string) (names []string, err error) {
	err = d.faults.do("List", false, func() error {
		folder := strings.TrimSuffix(p, "/") + "/"
		for _, below := range d.disk.below(folder) {
			name, _, _ := strings.Cut(strings.TrimPrefix(below, folder), "/")
			names = append(names, folder+name)
		}
		if names = slices.Compact(names); len(names) == 0 && p != "/" {
			return missing(p)
		}
		return nil
	})
	return names, err
}

func (d driver) Move(_ context.Context, from, to string) error {
	return d.faults.do("Move", true, func() error {
		d.disk.mu.Lock()
		defer d.disk.mu.Unlock()
		f, ok := d.disk.files[from]
		if !ok {
			return missing(from)
		}
		delete(d.disk.files, from)
		d.disk.files[to] = f
		return nil
	})
}

func (d driver) Delete(_ context.Context, p string) error {
	return d.faults.do("Delete", true, func() error {
		all := d.disk.below(p)
		if _, ok := d.disk.get(p); ok {
			all = append(all, p)
		}
		if len(all) == 0 {
			return missing(p)
		}
		d.disk.mu.Lock()
		defer d.disk.mu.Unlock()
		for _, one := range all {
			delete(d.disk.files, one)
		}
		return nil
	})
}

func (d driver) RedirectURL(*http.Request, string) (string, error) { return "", nil }

func (d driver) Walk(ctx context.Context, p string, fn storagedriver.WalkFn, options ...func(*storagedriver.WalkOptions)) error {
	return storagedriver.WalkFallback(ctx, d, p, fn, options...)
}

func (d driver) Writer(_ context.Context, p string, more bool) (w storagedriver.FileWriter, err error) {
	err = d.faults.do("Writer", true, func() error {
		f, ok := d.disk.get(p)
		if more && !ok {
			return missing(p)
		}
		if !more {
			f.content = nil
			d.disk.set(p, nil)
		}
		w = &writer{d, p, int64(len(f.content))}
		return nil
	})
	return w, err
}

// writer has what is written be there at once.
type writer struct {
	driver driver
	path   string
	size   int64
}

func (w *writer) Write(content []byte) (n int, err error) {
	err = w.driver.faults.do("Write", true, func() error {
		f, ok := w.driver.disk.get(w.path)
		if !ok {
			return missing(w.path)
		}
		w.driver.disk.set(w.path, slices.Concat(f.content[:w.size], content))
		n = len(content)
		w.size += int64(n)
		return nil
	})
	if err != nil {
		n = 0
	}
	return n, err
}

func (w *writer) Size() int64 { return w.size }

func (w *writer) Close() error {
	return w.driver.faults.do("Close", true, func() error { return nil })
}

func (w *writer) Cancel(context.Context) error {
	return w.driver.faults.do("Cancel", true, func() error {
		w.driver.disk.mu.Lock()
		defer w.driver.disk.mu.Unlock()
		delete(w.driver.disk.files, w.path)
		return nil
	})
}

func (w *writer) Commit(context.Context) error {
	return w.driver.faults.do("Commit", true, func() error { return nil })
}
