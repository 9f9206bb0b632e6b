package local

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/factory"
)

// Factory is the name under which distribution's factory opens the driver. That
// of its kind is another, which distribution's own driver registers.
const Factory = "berth-local"

// kind is what the driver is called in the configuration, errors and metrics.
const kind = "filesystem"

func init() { factory.Register(Factory, opener{}) }

type opener struct{}

func (opener) Create(_ context.Context, parameters map[string]any) (storagedriver.StorageDriver, error) {
	o := Options{Root: "/var/lib/registry"}
	if root, ok := parameters["rootdirectory"]; ok {
		o.Root = fmt.Sprint(root)
	}
	if given, ok := parameters["maxthreads"]; ok && given != nil {
		n, err := strconv.ParseInt(fmt.Sprint(given), 0, 32)
		if err != nil {
			return nil, fmt.Errorf("maxthreads: %v is not a number", given)
		}
		o.MaxThreads = int(n)
	}
	return Open(o)
}

// Options are the parameters of a driver.
type Options struct {
	// Root is the folder below which everything is: the parameter
	// "rootdirectory". It is created if it is missing.
	Root string
	// MaxThreads bounds how many calls of the file system run at once: the
	// parameter "maxthreads", 100 if it is 0, and never less than 25.
	MaxThreads int

	segment, small int // for tests: not 0 in place of what they are else, in bytes
}

// layout are the folders that every store has, to where one folder per
// repository or digest begins.
var layout = []string{
	"docker", "docker/registry", "docker/registry/v2", "docker/registry/v2/blobs", "docker/registry/v2/repositories",
}

// small is up to how many bytes content is written to the journal.
const small = 128 << 10

// Driver stores files below a folder. It is safe for concurrent use, of one
// process at a time.
type Driver struct {
	files   *gate
	raw     files // the same, for the journal: it waits for nobody
	trusted bool  // all that was there at the start is durable
	changes *changes
	folders *folders
	journal *journal
	uploads *uploads
	drafts  *drafts
	small   int
	// owed is set if part of what the journal holds is not done in the file tree,
	// or may be lost there.
	owed atomic.Bool
	// redoing is held to do again what the journal holds, and to read it to do
	// something the first time.
	redoing sync.RWMutex
	// failures counts the syncs of more than one file that failed.
	failures atomic.Uint64

	run        string // in the names of this run's temporary files
	number     atomic.Uint64
	cleaning   *cleaning
	background *background // nil as long as there is no journal
	closed     atomic.Bool
	unlock     func() error // nil in tests that have no folder
}

// Open opens a driver; the error says so if another has the folder open, of this
// process or any other. When it returns, all that an earlier process left is
// durable where the system can do that, and what it left unfinished is being
// removed.
func Open(o Options) (*Driver, error) {
	root, err := filepath.Abs(o.Root)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, err
	}
	unlock, err := lock(root)
	if err != nil {
		return nil, err
	}
	f, err := openFiles(root)
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	d, err := open(f, o)
	if err != nil {
		return nil, errors.Join(err, f.close(), unlock())
	}
	d.unlock = unlock
	return d, nil
}

func open(f files, o Options) (*Driver, error) {
	most := 100
	if o.MaxThreads != 0 {
		most = max(o.MaxThreads, 25)
	}
	d := &Driver{files: newGate(f, most), raw: f, changes: newChanges(), uploads: newUploads(), run: rand.Text()}
	d.folders = newFolders(d.files)
	d.journal = newJournal(f, d.folders, d.run, d.prepareJournal, d.lost)
	d.journal.size = cmp.Or(o.segment, d.journal.size)
	d.small = min(cmp.Or(o.small, small), d.journal.size/8)
	unclean, writable, err := d.mark()
	if err != nil {
		return nil, err
	}
	d.drafts = newDrafts(writable)
	if err := d.replay(); err != nil {
		return nil, err
	}
	if d.trusted, err = f.settled(); err != nil {
		return nil, fmt.Errorf("write out what an earlier process left: %w", err)
	}
	d.cleaning = d.clean(unclean)
	return d, nil
}

// Close ends the use of the driver: nobody may be in a call of it. What the
// journal holds is durable in the file tree then, and the journal is gone, so
// that any registry can serve the files. Closing again does nothing.
func (d *Driver) Close() error {
	if d.closed.Swap(true) {
		return nil
	}
	d.cleaning.stop()
	err := errors.Join(d.endDrafts(), d.endJournal())
	if err == nil {
		err = d.unmark()
	}
	err = errors.Join(err, d.files.close())
	if d.unlock != nil {
		err = errors.Join(err, d.unlock())
	}
	return err
}

// Name implements storagedriver.StorageDriver.
func (d *Driver) Name() string { return kind }

// RedirectURL implements storagedriver.StorageDriver: there is nowhere to go.
func (d *Driver) RedirectURL(*http.Request, string) (string, error) { return "", nil }

// name is a path as the files have it.
func name(p string) (string, error) {
	if !isPath(p) {
		return "", storagedriver.InvalidPathError{Path: p, DriverName: kind}
	}
	name := path.Clean(p[1:])
	if name == "." || name == ".." || strings.HasPrefix(name, "../") {
		return "", storagedriver.InvalidPathError{Path: p, DriverName: kind}
	}
	return name, nil
}

// isPath says what storagedriver.PathRegexp does, in a small part of the time.
func isPath(p string) bool {
	if p == "" || p[0] != '/' || p[len(p)-1] == '/' {
		return false
	}
	for i := range len(p) {
		switch c := p[i]; {
		case c == '/':
			if p[i+1] == '/' {
				return false
			}
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// folder is name, for what may be the root as well.
func folder(p string) (string, error) {
	if p == "/" {
		return ".", nil
	}
	return name(p)
}

// wrap gives an error the type that the interface wants. What is below a file
// does not exist.
func wrap(p string, err error) error {
	var known storagedriver.InvalidOffsetError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return known
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return storagedriver.PathNotFoundError{Path: p, DriverName: kind}
	}
	return storagedriver.Error{DriverName: kind, Detail: err}
}

// GetContent implements storagedriver.StorageDriver.
func (d *Driver) GetContent(ctx context.Context, p string) ([]byte, error) {
	if w := d.pending(ctx, p); w != nil && w.kind == written {
		return bytes.Clone(w.content), nil
	}
	f, err := d.Reader(ctx, p, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var content bytes.Buffer
	if _, err := content.ReadFrom(f); err != nil {
		return nil, wrap(p, err)
	}
	return content.Bytes(), nil
}

// LocalFiles says that Reader returns files of the system.
func (d *Driver) LocalFiles() {}

// Reader implements storagedriver.StorageDriver. What it returns is an
// *os.File, so that the system can send it by itself, but for what is being
// uploaded.
func (d *Driver) Reader(_ context.Context, p string, offset int64) (io.ReadCloser, error) {
	name, err := name(p)
	if err != nil {
		return nil, err
	}
	if offset < 0 {
		return nil, storagedriver.InvalidOffsetError{Path: p, Offset: offset, DriverName: kind}
	}
	if f := d.drafts.file(name); f != nil {
		return io.NopCloser(bytes.NewReader(f.content[min(offset, int64(len(f.content))):])), nil
	}
	f, err := d.files.open(name, os.O_RDONLY)
	if err == nil && offset > 0 {
		_, err = f.Seek(offset, io.SeekStart)
	}
	if err != nil {
		if f != nil {
			_ = f.Close()
		}
		return nil, wrap(p, err)
	}
	return f, nil
}

// Stat implements storagedriver.StorageDriver.
func (d *Driver) Stat(ctx context.Context, p string) (storagedriver.FileInfo, error) {
	name, err := folder(p)
	if err != nil {
		return nil, err
	}
	if w := d.pending(ctx, p); w != nil {
		return d.statPending(p, w)
	}
	found, err := d.statFile(name)
	if err != nil {
		return nil, wrap(p, err)
	}
	found.path = p
	return found, nil
}

// List implements storagedriver.StorageDriver. It leaves out the driver's own
// temporary files.
func (d *Driver) List(_ context.Context, p string) ([]string, error) {
	name, err := folder(p)
	if err != nil {
		return nil, err
	}
	found, err := namesIn(d.files, name)
	found, is := d.drafts.list(name, found)
	if is {
		err = nil
	}
	if err != nil {
		return nil, wrap(p, err)
	}
	paths := make([]string, 0, len(found))
	for _, name := range found {
		if !ours(name) {
			paths = append(paths, path.Join(p, name))
		}
	}
	return paths, nil
}

// Each calls fn with the name of everything in a folder, in any order, as it reads
// it, and returns its error. It leaves out the driver's own temporary files.
func (d *Driver) Each(ctx context.Context, p string, fn func(name string) error) error {
	name, err := folder(p)
	if err != nil {
		return err
	}
	var stopped error
	err = eachName(d.files, name, func(found string) error {
		if stopped = ctx.Err(); stopped == nil && !ours(found) {
			stopped = fn(found)
		}
		return stopped
	})
	if stopped != nil {
		return stopped
	}
	return wrap(p, err)
}

// Walk implements storagedriver.StorageDriver.
func (d *Driver) Walk(ctx context.Context, p string, f storagedriver.WalkFn, options ...func(*storagedriver.WalkOptions)) error {
	if _, err := folder(p); err != nil {
		return err
	}
	return storagedriver.WalkFallback(ctx, d, p, f, options...)
}
