package matrix

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/factory"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog"
	"github.com/berth-oci/berth/catalog/bolt"
	"github.com/berth-oci/berth/catalog/images"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/registry"
	"github.com/berth-oci/berth/registry/access"
	"github.com/berth-oci/berth/storage"
)

// callLog are the calls to storage and index.
type callLog struct {
	mu   sync.Mutex
	made []string // guarded by mu
}

func (c *callLog) note(call string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.made = append(c.made, call)
}

// take returns the calls since the last time. Notes of changes that have come
// to rest are removed in the background: those belong to no request.
func (c *callLog) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	made := slices.DeleteFunc(c.made, func(call string) bool { return call == "index clear_dirty" })
	c.made = nil
	return made
}

// wait waits until a call has been made.
func (c *callLog) wait(t *testing.T, call string) {
	t.Helper()
	made := func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return slices.Contains(c.made, call)
	}
	for begin := time.Now(); !made(); time.Sleep(time.Millisecond) {
		if time.Since(begin) > time.Minute {
			t.Fatalf("%s was never called: %q", call, c.take())
		}
	}
}

// countingDriver is a storage driver that counts.
type countingDriver struct {
	storagedriver.StorageDriver
	calls *callLog
}

func init() { factory.Register("matrix", countingFactory{}) }

type countingFactory struct{}

func (countingFactory) Create(ctx context.Context, parameters map[string]any) (storagedriver.StorageDriver, error) {
	inner, err := factory.Create(ctx, "inmemory", nil)
	return countingDriver{inner, parameters["calls"].(*callLog)}, err
}

func (d countingDriver) GetContent(ctx context.Context, path string) ([]byte, error) {
	d.calls.note("storage get " + path)
	return d.StorageDriver.GetContent(ctx, path)
}

func (d countingDriver) PutContent(ctx context.Context, path string, content []byte) error {
	d.calls.note("storage put " + path)
	return d.StorageDriver.PutContent(ctx, path, content)
}

func (d countingDriver) Reader(ctx context.Context, path string, offset int64) (io.ReadCloser, error) {
	d.calls.note("storage read " + path)
	return d.StorageDriver.Reader(ctx, path, offset)
}

func (d countingDriver) Writer(ctx context.Context, path string, more bool) (storagedriver.FileWriter, error) {
	d.calls.note("storage write " + path)
	return d.StorageDriver.Writer(ctx, path, more)
}

func (d countingDriver) Stat(ctx context.Context, path string) (storagedriver.FileInfo, error) {
	d.calls.note("storage stat " + path)
	return d.StorageDriver.Stat(ctx, path)
}

func (d countingDriver) List(ctx context.Context, path string) ([]string, error) {
	names, err := d.StorageDriver.List(ctx, path)
	d.calls.note("storage list " + path) // once nothing is seen that comes later
	return names, err
}

func (d countingDriver) Move(ctx context.Context, from, to string) error {
	d.calls.note("storage move " + from)
	return d.StorageDriver.Move(ctx, from, to)
}

func (d countingDriver) Delete(ctx context.Context, path string) error {
	d.calls.note("storage delete " + path)
	return d.StorageDriver.Delete(ctx, path)
}

func (d countingDriver) RedirectURL(r *http.Request, path string) (string, error) {
	d.calls.note("storage redirect " + path)
	return d.StorageDriver.RedirectURL(r, path)
}

func (d countingDriver) Walk(ctx context.Context, path string, f storagedriver.WalkFn, options ...func(*storagedriver.WalkOptions)) error {
	d.calls.note("storage walk " + path)
	return d.StorageDriver.Walk(ctx, path, f, options...)
}

// countingIndex notes which repository is asked for, where lookups by name may
// ask at all. That anything is asked is counted by the index itself.
type countingIndex struct {
	index.Index
	calls *callLog
}

func (x countingIndex) Entry(ctx context.Context, repository string, d digest.Digest) (index.Entry, error) {
	x.calls.note("about " + repository)
	return x.Index.Entry(ctx, repository, d)
}

func (x countingIndex) Tagged(ctx context.Context, repository, tag string) (index.Entry, error) {
	x.calls.note("about " + repository)
	return x.Index.Tagged(ctx, repository, tag)
}

// counted is a registry over a real driver and a real index, both counted.
type counted struct {
	http.Handler
	t     *testing.T
	calls *callLog
	n     int
}

// secretOf is the secret of a caller: its name, for nothing here leaves
// the process.
func secretOf(caller string) string { return "secret-of-" + caller }

var countedAccounts = map[string]string{
	"owner": "alice", "readonly": "alice", "expired": "alice", "bob": "bob", "reader": "carol", "writer": "dave", "stranger": "mallory", "admin": "root",
}

func newCounted(t *testing.T, anonymousOfficial bool) *counted {
	t.Helper()
	ctx, dir, quiet := t.Context(), t.TempDir(), slog.New(slog.DiscardHandler)
	text := `accounts:
  - {name: alice, tokens: [{label: a, sha256: owner}, {label: b, sha256: readonly, read_only: true}, {label: c, sha256: expired, expires: 2020-01-01}]}
  - {name: bob, tokens: [{label: a, sha256: bob}]}
  - {name: carol, tokens: [{label: a, sha256: reader}], read: [alice]}
  - {name: dave, tokens: [{label: a, sha256: writer}], write: [alice/app]}
  - {name: mallory, tokens: [{label: a, sha256: stranger}]}
  - {name: root, admin: true, tokens: [{label: a, sha256: admin}]}
`
	for caller := range countedAccounts {
		hash := sha256.Sum256([]byte(secretOf(caller)))
		for _, after := range []string{"}", ","} {
			text = strings.ReplaceAll(text, "sha256: "+caller+after, "sha256: "+hex.EncodeToString(hash[:])+after)
		}
	}
	registry.LogTo(quiet)
	path := filepath.Join(dir, "accounts.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	accounts, err := access.Open(path, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(accounts.Close)
	gate := access.NewGate(accounts, access.GateOptions{AnonymousOfficial: anonymousOfficial})

	b := &counted{t: t, calls: &callLog{}}
	section := configuration.Storage{"matrix": configuration.Parameters{"calls": b.calls}, "delete": configuration.Parameters{"enabled": true}}
	store, err := storage.Open(ctx, section.Type(), section.Parameters())
	if err != nil {
		t.Fatal(err)
	}
	index, err := bolt.Build(filepath.Join(dir, "catalog.db"), store.Identity(), func(*bolt.Index) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	index.Observe(func(operation string, _ time.Duration, _ error) { b.calls.note("index " + operation) })
	all := catalog.New(countingIndex{index, b.calls}, store, quiet)
	g, err := registry.New(context.WithoutCancel(ctx), registry.Options{
		Store: store, Section: section, Secret: "secret", Catalog: all, Accounts: accounts,
		Begin: func(ctx context.Context, repository string) (registry.Tx, error) {
			return all.Begin(ctx, repository)
		},
		Referrers: all.Referrers,
		RequestID: func(context.Context) string { return "same" }, Log: quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(g.Close(), all.Close(), index.Close()); err != nil {
			t.Error(err)
		}
	})
	// A start looks in the background for uploads that are open: that is not to be
	// taken for the calls of a request.
	b.calls.wait(t, "storage list /docker/registry/v2/repositories")
	mux := http.NewServeMux()
	mux.Handle("/v1/", images.New(all, images.Options{Accounts: accounts, Used: g.Used, Log: quiet}))
	mux.Handle("/api/v2.0/", g.Harbor())
	mux.Handle("/token", gate.TokenHandler())
	mux.Handle("/v2/", g)
	b.Handler = gate.Wrap(mux)
	return b
}

// ask sends a request and returns the answer and the calls that it made. Each
// comes from an address of its own: those who fail are slowed down by it.
func (b *counted) ask(caller, method, target, body string, header ...string) (*httptest.ResponseRecorder, []string) {
	b.t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		b.t.Fatal(err)
	}
	r := httptest.NewRequest(method, "http://berth.test/", strings.NewReader(body))
	b.n++
	r.URL, r.RemoteAddr = u, fmt.Sprintf("10.%d.%d.%d:1", b.n>>16, b.n>>8&255, b.n&255)
	switch caller {
	case "anonymous":
	case "wrong":
		r.SetBasicAuth("alice", "nothing")
	default:
		r.SetBasicAuth(countedAccounts[caller], secretOf(caller))
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	b.calls.take()
	b.ServeHTTP(w, r)
	return w, b.calls.take()
}

// push stores an image as an administrator: an index, for it needs no blobs,
// and a blob beside it.
func (b *counted) push(repository, index, blob string) {
	b.t.Helper()
	w, _ := b.ask("admin", "POST", "/v2/"+repository+"/blobs/uploads/?digest="+digest.FromString(blob).String(), blob)
	if w.Code != http.StatusCreated {
		b.t.Fatalf("a blob: %d %s", w.Code, w.Body)
	}
	w, _ = b.ask("admin", "PUT", "/v2/"+repository+"/manifests/latest", index, "Content-Type", "application/vnd.oci.image.index.v1+json")
	if w.Code != http.StatusCreated {
		b.t.Fatalf("an index: %d %s", w.Code, w.Body)
	}
}
