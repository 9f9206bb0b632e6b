// Package collected forces the orders in which a client and the collector could get
// into each other's way, with registry, catalog, index and collector in one process.
package collected

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/factory"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog"
	"github.com/berth-oci/berth/catalog/bolt"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/registry"
	"github.com/berth-oci/berth/registry/access"
	"github.com/berth-oci/berth/storage"
	"github.com/berth-oci/berth/storage/collect"
	_ "github.com/berth-oci/berth/storage/local"
	"github.com/berth-oci/berth/test/harness"
)

const lease = time.Hour

// steps is called before every operation on storage and index; an error of it is
// that of the operation, which then does not happen.
type steps struct {
	mu   sync.Mutex
	step func(operation, path string) error // guarded by mu
}

func (s *steps) set(step func(operation, path string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.step = step
}

func (s *steps) at(operation, path string) error {
	s.mu.Lock()
	step := s.step
	s.mu.Unlock()
	if step == nil {
		return nil
	}
	return step(operation, path)
}

// steppedDriver makes each change by itself, as a bucket does.
type steppedDriver struct {
	storagedriver.StorageDriver
	steps *steps
}

func init() { factory.Register("stepped", steppedFactory{}) }

type steppedFactory struct{}

func (steppedFactory) Create(ctx context.Context, parameters map[string]any) (storagedriver.StorageDriver, error) {
	inner, err := factory.Create(ctx, "filesystem", map[string]any{"rootdirectory": parameters["rootdirectory"]})
	return steppedDriver{inner, parameters["steps"].(*steps)}, err
}

func (d steppedDriver) Stat(ctx context.Context, path string) (storagedriver.FileInfo, error) {
	info, err := d.StorageDriver.Stat(ctx, path)
	if err == nil {
		err = d.steps.at("looked", path) // after it, so that what was seen is old
	}
	return info, err
}

func (d steppedDriver) PutContent(ctx context.Context, path string, content []byte) error {
	if err := d.steps.at("put", path); err != nil {
		return err
	}
	return d.StorageDriver.PutContent(ctx, path, content)
}

func (d steppedDriver) Move(ctx context.Context, from, to string) error {
	if err := d.steps.at("move", from); err != nil {
		return err
	}
	return d.StorageDriver.Move(ctx, from, to)
}

func (d steppedDriver) Delete(ctx context.Context, path string) error {
	if err := d.steps.at("delete", path); err != nil {
		return err
	}
	return d.StorageDriver.Delete(ctx, path)
}

// steppedIndex is an index of which the collector's operations are steps too.
type steppedIndex struct {
	index.Index
	steps *steps
	// trusting has what was listed be taken for what is so.
	trusting bool
}

func (x steppedIndex) IsIdle(ctx context.Context, repository string, d digest.Digest, before index.Uptime) (bool, error) {
	idle, err := x.Index.IsIdle(ctx, repository, d, before)
	return idle, errors.Join(err, x.steps.at("is idle", repository))
}

func (x steppedIndex) IdleBefore(ctx context.Context, kind index.IdleKind, before index.Uptime, after string, n int) ([]index.Idle, error) {
	if x.trusting && kind != index.IdleLink {
		before = x.Uptime() + 1
	}
	all, err := x.Index.IdleBefore(ctx, kind, before, after, n)
	if err == nil && len(all) > 0 {
		err = x.steps.at("listed", string(kind))
	}
	return all, err
}

func (x steppedIndex) UnlinkIdle(ctx context.Context, l index.Lease, links []digest.Digest, before index.Uptime) ([]digest.Digest, error) {
	if err := x.steps.at("unlink", l.Repository); err != nil {
		return nil, err
	}
	if x.trusting {
		before = x.Uptime() + 1
	}
	return x.Index.UnlinkIdle(ctx, l, links, before)
}

func (x steppedIndex) Loose(ctx context.Context, bytes []digest.Digest, before index.Uptime, kept bool) (loose, held []digest.Digest, err error) {
	if x.trusting {
		before = x.Uptime() + 1
	}
	return x.Index.Loose(ctx, bytes, before, kept)
}

func (x steppedIndex) Dispose(ctx context.Context, bytes []digest.Digest, kept bool) ([]digest.Digest, error) {
	if err := x.steps.at("dispose", ""); err != nil {
		return nil, err
	}
	return x.Index.Dispose(ctx, bytes, kept)
}

func (x steppedIndex) Emptied(ctx context.Context, bytes []digest.Digest, before index.Uptime) error {
	if err := x.steps.at("emptied", ""); err != nil {
		return err
	}
	return x.Index.Emptied(ctx, bytes, before)
}

func (x steppedIndex) Adopt(ctx context.Context, strays map[digest.Digest]int64, kept bool) error {
	if err := x.steps.at("adopt", ""); err != nil {
		return err
	}
	return x.Index.Adopt(ctx, strays, kept)
}

func (x steppedIndex) Prepare(ctx context.Context, l index.Lease, intent storage.Intent) error {
	if err := x.steps.at("prepare", l.Repository); err != nil {
		return err
	}
	return x.Index.Prepare(ctx, l, intent)
}

func (x steppedIndex) Publish(ctx context.Context, l index.Lease, u index.Update) (index.Revision, error) {
	if err := x.steps.at("publish", l.Repository); err != nil {
		return index.Revision{}, err
	}
	return x.Index.Publish(ctx, l, u)
}

// options are what a world is without.
type options struct {
	off        []storage.Guard
	neverRenew bool
	trusting   bool
	quarantine time.Duration
	// driver is berth's own of local files, if it is "filesystem".
	driver string
}

// world is a registry with a collector, whose time a test sets.
type world struct {
	http.Handler
	t         *testing.T
	dir       string
	o         options
	steps     *steps
	uptime    atomic.Int64
	store     *storage.Store
	index     *bolt.Index
	catalog   *catalog.Catalog
	collector *collect.Collector
	close     func()
}

func newWorld(t *testing.T, o options) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), o: o}
	w.uptime.Store(int64(100 * lease))
	w.open()
	t.Cleanup(func() { w.close() })
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// open opens what is in the folder, as a start does.
func (w *world) open() {
	w.t.Helper()
	ctx, quiet := context.Background(), slog.New(slog.DiscardHandler)
	registry.LogTo(quiet)
	accounts, err := access.Open(filepath.Join(w.dir, "accounts.yaml"), quiet)
	w.must(err)
	w.steps = &steps{}
	section := configuration.Storage{
		"stepped": configuration.Parameters{"rootdirectory": filepath.Join(w.dir, "storage"), "steps": w.steps},
		"delete":  configuration.Parameters{"enabled": true},
	}
	if w.o.driver != "" {
		section = configuration.Storage{
			w.o.driver: configuration.Parameters{"rootdirectory": filepath.Join(w.dir, "storage")},
			"delete":   configuration.Parameters{"enabled": true},
		}
	}
	w.store, err = storage.Open(ctx, section.Type(), section.Parameters())
	w.must(err)
	w.store.SwitchOff(w.o.off...)
	path := filepath.Join(w.dir, "catalog.db")
	w.index, err = bolt.Open(path, w.store.Identity())
	if err == bolt.ErrNoIndex {
		w.index, err = bolt.Build(path, w.store.Identity(), func(*bolt.Index) error { return nil })
	}
	w.must(err)
	coalesce := lease / 10
	if w.o.neverRenew {
		coalesce = 1e6 * lease
	}
	w.index.SetIdle(coalesce, func() index.Uptime { return index.Uptime(w.uptime.Load()) })
	w.catalog = catalog.New(steppedIndex{w.index, w.steps, w.o.trusting}, w.store, quiet)
	w.must(w.catalog.Recover(ctx))
	g, err := registry.New(ctx, registry.Options{
		Store: w.store, Section: section, Secret: "secret", Catalog: w.catalog, Accounts: accounts,
		Begin: func(ctx context.Context, repository string) (registry.Tx, error) {
			return w.catalog.Begin(ctx, repository)
		},
		Referrers: w.catalog.Referrers, RequestID: func(context.Context) string { return "" }, Log: quiet,
	})
	w.must(err)
	w.collector = w.newCollector()
	w.Handler = access.NewGate(accounts, access.GateOptions{}).Wrap(g)
	w.close = func() {
		w.steps.set(nil)
		for _, closed := range []error{g.Close(), w.catalog.Close(), w.index.Close(), w.store.Close()} {
			if closed != nil {
				w.t.Error(closed)
			}
		}
		accounts.Close()
	}
}

func (w *world) newCollector() *collect.Collector {
	return collect.New(collect.Options{
		Catalog: w.catalog, Store: w.store, Lease: lease, Quarantine: w.o.quarantine, Search: 1e6 * lease,
		Rate: 1 << 40, Operations: 1 << 30, Log: slog.New(slog.DiscardHandler),
	})
}

// pass lets time go by; what has come before is written before.
func (w *world) pass(d time.Duration) {
	w.t.Helper()
	if err := w.index.Tick(context.Background()); err != nil {
		w.t.Error(err)
	}
	w.uptime.Add(int64(d))
}

// settled waits until nothing is left to be completed.
func (w *world) settled() {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); w.catalog.Settled(w.t.Context()) != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatal(w.catalog.Settled(w.t.Context()))
		}
	}
}

// sweep collects, and returns what went.
func (w *world) sweep() collect.Freed {
	w.t.Helper()
	freed, err := w.collector.Sweep(context.Background(), nil)
	w.must(err)
	return freed
}

// once has something be done at the first step that is asked for.
func (w *world) once(operation, containing string, do func()) (done func() bool) {
	var first atomic.Bool
	w.steps.set(func(op, path string) error {
		if op == operation && strings.Contains(path, containing) && first.CompareAndSwap(false, true) {
			do()
		}
		return nil
	})
	return first.Load
}

func (w *world) ask(method, target, body string, header ...string) *httptest.ResponseRecorder {
	return harness.Serve(w, method, target, body, header...)
}

func (w *world) want(status int, method, target, body string, header ...string) *httptest.ResponseRecorder {
	w.t.Helper()
	return harness.MustServe(w.t, w, status, method, target, body, header...)
}

const (
	imageType = "application/vnd.oci.image.manifest.v1+json"
	indexType = "application/vnd.oci.image.index.v1+json"
)

func digestOf(text string) digest.Digest { return digest.Digest(text) }

func dgst(content string) string { return digest.FromString(content).String() }

// upload pushes a blob.
func (w *world) upload(repository, content string) {
	w.t.Helper()
	w.want(http.StatusCreated, "POST", "/v2/"+repository+"/blobs/uploads/?digest="+dgst(content), content)
}

// manifest is one of an image with a layer; its config is the same content.
func manifest(layer string) string {
	descriptor := func(mediaType string) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, mediaType, dgst(layer), len(layer))
	}
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`,
		imageType, descriptor("application/vnd.oci.image.config.v1+json"), descriptor("application/vnd.oci.image.layer.v1.tar"))
}

func (w *world) put(repository, layer string) *httptest.ResponseRecorder {
	return w.ask("PUT", "/v2/"+repository+"/manifests/v1", manifest(layer), "Content-Type", imageType)
}

// push pushes an image.
func (w *world) push(repository, layer string) {
	w.t.Helper()
	w.upload(repository, layer)
	if answer := w.put(repository, layer); answer.Code != http.StatusCreated {
		w.t.Fatalf("%d %s", answer.Code, answer.Body)
	}
}

func (w *world) remove(repository, content string) {
	w.t.Helper()
	w.want(http.StatusAccepted, "DELETE", "/v2/"+repository+"/manifests/"+dgst(content), "")
}

// isWhole reports whether an image can be pulled with its layer.
func (w *world) isWhole(repository, layer string) bool {
	m := w.ask("GET", "/v2/"+repository+"/manifests/v1", "")
	blob := w.ask("GET", "/v2/"+repository+"/blobs/"+dgst(layer), "")
	return m.Code == http.StatusOK && blob.Code == http.StatusOK && blob.Body.String() == layer
}
