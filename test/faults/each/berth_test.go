package each

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"

	"github.com/berth-oci/berth/catalog"
	"github.com/berth-oci/berth/catalog/bolt"
	"github.com/berth-oci/berth/catalog/images"
	"github.com/berth-oci/berth/catalog/index/indextest"
	"github.com/berth-oci/berth/registry"
	"github.com/berth-oci/berth/registry/access"
	"github.com/berth-oci/berth/storage"
	"github.com/berth-oci/berth/test/harness"
)

// place is where a registry is: all that outlives it.
type place struct {
	disk  *disk
	index []byte // the index's file, empty before the first start
}

// berth is a registry that runs, from storage to HTTP.
type berth struct {
	http.Handler
	t      testing.TB
	disk   *disk
	file   string // of the index
	faults *faults
	down   bool // since a restart has failed

	store    *storage.Store
	kept     *bolt.Index
	index    *indextest.Faulty
	catalog  *catalog.Catalog
	registry *registry.Registry
}

const secret = "berth_each"

// doors are the accounts, which no operation of a day concerns: alice may have
// little, and root may do everything.
var doors = sync.OnceValues(func() (*access.Accounts, *access.Gate) {
	dir, err := os.MkdirTemp("", "each")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	hash := sha256.Sum256([]byte(secret))
	text := fmt.Sprintf("accounts:\n  - {name: root, admin: true, tokens: [{label: a, sha256: %s}]}\n  - {name: alice, quota: %d}\n  - {name: bob}\n",
		hex.EncodeToString(hash[:]), quota)
	file := filepath.Join(dir, "accounts.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		panic(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	registry.LogTo(quiet)
	accounts, err := access.Open(file, quiet)
	if err != nil {
		panic(err)
	}
	return accounts, access.NewGate(accounts, access.GateOptions{Secret: []byte("secret")})
})

// scratch is where indexes are: what they sync has to survive the end of a process
// that is only played.
func scratch(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "each")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// start starts a registry at a place, which stays as it is, in a folder.
func start(t testing.TB, p place, dir string) *berth {
	t.Helper()
	b := &berth{t: t, disk: p.disk.clone(), faults: &faults{}}
	f, err := os.CreateTemp(dir, "catalog")
	if err != nil {
		t.Fatal(err)
	}
	b.file = f.Name()
	if _, err := f.Write(p.index); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if len(p.index) == 0 {
		if err := os.Remove(b.file); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.open(); err != nil {
		t.Fatal(err)
	}
	return b
}

// open opens what is there, as a start does.
func (b *berth) open() (err error) {
	ctx, quiet := context.Background(), slog.New(slog.DiscardHandler)
	accounts, gate := doors()
	begun := b.faults.count("index.Abandoned")
	section := configuration.Storage{
		driverName: configuration.Parameters{"disk": b.disk, "faults": b.faults},
		"delete":   configuration.Parameters{"enabled": true},
		"maintenance": configuration.Parameters{"uploadpurging": map[any]any{
			"enabled": false, "age": "168h", "interval": "24h", "dryrun": false,
		}},
	}
	if b.store, err = storage.Open(ctx, section.Type(), section.Parameters()); err != nil {
		return err
	}
	if b.kept, err = bolt.Open(b.file, "a place"); errors.Is(err, bolt.ErrNoIndex) {
		b.kept, err = bolt.Build(b.file, "a place", func(*bolt.Index) error { return nil })
	}
	if err != nil {
		return err
	}
	b.index = indextest.NewFaulty(b.kept)
	b.index.Fail(func(method string, _ int) (indextest.When, error) {
		return b.faults.next("index."+method, !readsOnly[method])
	})
	b.catalog = catalog.New(b.index, b.store, quiet)
	b.catalog.SetImmutable(policy.Immutable)
	if err := b.catalog.Recover(ctx); err != nil {
		return errors.Join(err, b.catalog.Close(), b.kept.Close())
	}
	b.registry, err = registry.New(ctx, registry.Options{
		Store: b.store, Section: section, Secret: "secret", Catalog: b.catalog, Accounts: accounts,
		Begin: func(ctx context.Context, repository string) (registry.Tx, error) {
			return b.catalog.Begin(ctx, repository)
		},
		Referrers: b.catalog.Referrers, RequestID: func(context.Context) string { return "" }, Log: quiet,
	})
	if err != nil {
		return errors.Join(err, b.catalog.Close(), b.kept.Close())
	}
	mux := http.NewServeMux()
	mux.Handle("/v1/", images.New(b.catalog, images.Options{Accounts: accounts, Used: b.registry.Used, Log: quiet}))
	mux.Handle("/api/v2.0/", b.registry.Harbor())
	mux.Handle("/v2/", b.registry)
	b.Handler = gate.Wrap(mux)
	b.takenUp(begun)
	return nil
}

// close ends the registry; one that is dead leaves everything as it is.
func (b *berth) close() error {
	return errors.Join(b.registry.Close(), b.catalog.Close(), b.kept.Close())
}

// restart is a stop and a start.
func (b *berth) restart() error {
	err := b.close()
	if err == nil {
		err = b.open()
	}
	b.down = err != nil
	return err
}

// end ends it for good, and returns what is left.
func (b *berth) end() place {
	b.t.Helper()
	if !b.down {
		if err := b.close(); err != nil && !b.faults.dead {
			b.t.Errorf("close: %v", err)
		}
	}
	content, err := os.ReadFile(b.file)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.Remove(b.file); err != nil {
		b.t.Fatal(err)
	}
	_ = os.Remove(b.file + ".collect")
	return place{b.disk, content}
}

// takenUp waits until the background has looked once for what is left: it does so
// after every start, and nobody says when.
func (b *berth) takenUp(before int) {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Microsecond) {
		if b.faults.count("index.Abandoned") >= before+2 { // Recover has as well
			break
		}
	}
	b.idle(3)
}

// idle waits until nothing is done in the background for some milliseconds: it takes
// up, after a start, what is left, and what damage changes.
func (b *berth) idle(still int) {
	same, before := 0, -1
	for deadline := time.Now().Add(10 * time.Second); same < still && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if n := b.faults.counted(); n == before {
			same++
		} else {
			same, before = 0, n
		}
	}
}

// answer is one of the registry.
type answer struct {
	*httptest.ResponseRecorder
	what string
}

func (b *berth) ask(method, target, body string, header ...string) answer {
	r := harness.NewRequest(method, target, strings.NewReader(body), header...)
	r.SetBasicAuth("root", secret)
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return answer{w, method + " " + target}
}
