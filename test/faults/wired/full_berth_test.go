// Package wired tests registry, catalog and index in one process, over storage that
// has no room or does not answer.
package wired

import (
	"context"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/factory"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"

	"github.com/berth-oci/berth/catalog"
	"github.com/berth-oci/berth/catalog/bolt"
	"github.com/berth-oci/berth/catalog/images"
	"github.com/berth-oci/berth/catalog/index/indextest"
	"github.com/berth-oci/berth/registry"
	"github.com/berth-oci/berth/registry/access"
	"github.com/berth-oci/berth/storage"
	"github.com/berth-oci/berth/test/harness"
)

// fullDriver keeps files, until it is told that there is no room for some kinds
// of writing: put, write, close, commit and move.
type fullDriver struct {
	storagedriver.StorageDriver
	full *atomic.Pointer[[]string]
	// hold, if it is set, is called before a folder is listed.
	hold *atomic.Pointer[func(path string)]
}

func init() { factory.Register("full", fullFactory{}) }

type fullFactory struct{}

func (fullFactory) Create(ctx context.Context, parameters map[string]any) (storagedriver.StorageDriver, error) {
	inner, err := factory.Create(ctx, "filesystem", map[string]any{"rootdirectory": parameters["rootdirectory"]})
	return fullDriver{
		inner, parameters["full"].(*atomic.Pointer[[]string]), parameters["hold"].(*atomic.Pointer[func(string)]),
	}, err
}

// failingDisk, among the kinds, has them fail as on a disk that is broken, not
// full.
const failingDisk = "EIO"

// noRoom is what the system says, with a path that no client may see.
func noRoom(full *atomic.Pointer[[]string], operation string) error {
	if kinds := full.Load(); kinds != nil && slices.Contains(*kinds, operation) {
		err := syscall.ENOSPC
		if slices.Contains(*kinds, failingDisk) {
			err = syscall.EIO
		}
		return &fs.PathError{Op: operation, Path: "/private/path", Err: err}
	}
	return nil
}

func (d fullDriver) List(ctx context.Context, path string) ([]string, error) {
	if hold := d.hold.Load(); hold != nil {
		(*hold)(path)
	}
	return d.StorageDriver.List(ctx, path)
}

func (d fullDriver) PutContent(ctx context.Context, path string, content []byte) error {
	if err := noRoom(d.full, "put"); err != nil {
		return storagedriver.Error{DriverName: "full", Detail: err}
	}
	return d.StorageDriver.PutContent(ctx, path, content)
}

func (d fullDriver) Move(ctx context.Context, from, to string) error {
	if err := noRoom(d.full, "move"); err != nil {
		return storagedriver.Error{DriverName: "full", Detail: err}
	}
	return d.StorageDriver.Move(ctx, from, to)
}

func (d fullDriver) Writer(ctx context.Context, path string, more bool) (storagedriver.FileWriter, error) {
	w, err := d.StorageDriver.Writer(ctx, path, more)
	return &fullWriter{w, d.full, false}, err
}

type fullWriter struct {
	storagedriver.FileWriter
	full      *atomic.Pointer[[]string]
	committed bool
}

func (w *fullWriter) Write(p []byte) (int, error) {
	if err := noRoom(w.full, "write"); err != nil {
		return 0, err
	}
	return w.FileWriter.Write(p)
}

// Close loses what was written if there is no room for what is still in memory.
func (w *fullWriter) Close() error {
	err := noRoom(w.full, "close")
	if err == nil || w.committed {
		return w.FileWriter.Close()
	}
	if lost := w.FileWriter.Cancel(context.Background()); lost != nil {
		return lost
	}
	return err
}

func (w *fullWriter) Commit(ctx context.Context) error {
	if err := noRoom(w.full, "commit"); err != nil {
		return err
	}
	err := w.FileWriter.Commit(ctx)
	w.committed = err == nil
	return err
}

// fullBerth is a registry over real files and a real index, whose disk can be
// full.
type fullBerth struct {
	http.Handler
	t     *testing.T
	dir   string
	full  atomic.Pointer[[]string]
	hold  atomic.Pointer[func(string)]
	store *storage.Store
	index *indextest.Faulty
}

// newFullBerth opens what is in dir with an index of its own, as a start does.
func newFullBerth(t *testing.T, dir, file string, hold func(path string)) *fullBerth {
	t.Helper()
	ctx, quiet := context.Background(), slog.New(slog.DiscardHandler)
	registry.LogTo(quiet)
	accounts, err := access.Open(filepath.Join(dir, "accounts.yaml"), quiet)
	if err != nil {
		t.Fatal(err)
	}
	b := &fullBerth{t: t, dir: dir}
	if hold != nil {
		b.hold.Store(&hold)
	}
	section := configuration.Storage{
		"full":   configuration.Parameters{"rootdirectory": filepath.Join(dir, "storage"), "full": &b.full, "hold": &b.hold},
		"delete": configuration.Parameters{"enabled": true},
	}
	if b.store, err = storage.Open(ctx, section.Type(), section.Parameters()); err != nil {
		t.Fatal(err)
	}
	kept, err := bolt.Open(filepath.Join(dir, file), b.store.Identity())
	if err == bolt.ErrNoIndex {
		kept, err = bolt.Build(filepath.Join(dir, file), b.store.Identity(), func(*bolt.Index) error { return nil })
	}
	if err != nil {
		t.Fatal(err)
	}
	b.index = indextest.NewFaulty(kept)
	all := catalog.New(b.index, b.store, quiet)
	if err := all.Recover(ctx); err != nil {
		t.Fatal(err)
	}
	gate := access.NewGate(accounts, access.GateOptions{})
	g, err := registry.New(ctx, registry.Options{
		Store: b.store, Section: section, Secret: "secret", Catalog: all, Accounts: accounts,
		Begin: func(ctx context.Context, repository string) (registry.Tx, error) {
			return all.Begin(ctx, repository)
		},
		Referrers: all.Referrers,
		RequestID: func(context.Context) string { return "" }, Log: quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, closed := range []error{g.Close(), all.Close(), kept.Close()} {
			if closed != nil {
				t.Error(closed)
			}
		}
		accounts.Close()
	})
	mux := http.NewServeMux()
	mux.Handle("/v1/", images.New(all, images.Options{Accounts: accounts, Used: g.Used, Log: quiet}))
	mux.Handle("/api/v2.0/", g.Harbor())
	mux.Handle("/v2/", g)
	b.Handler = gate.Wrap(mux)
	return b
}

func (b *fullBerth) ask(method, target, body string, header ...string) *httptest.ResponseRecorder {
	return harness.Serve(b, method, target, body, header...)
}

func (b *fullBerth) must(status int, method, target, body string, header ...string) *httptest.ResponseRecorder {
	b.t.Helper()
	return harness.MustServe(b.t, b, status, method, target, body, header...)
}
