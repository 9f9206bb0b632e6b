package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/term"

	"github.com/berth-oci/berth/catalog"
	"github.com/berth-oci/berth/catalog/bolt"
	"github.com/berth-oci/berth/cmd/berth/server"
	"github.com/berth-oci/berth/config"
	"github.com/berth-oci/berth/registry"
	"github.com/berth-oci/berth/registry/access"
	"github.com/berth-oci/berth/registry/budget"
	"github.com/berth-oci/berth/storage"
	"github.com/berth-oci/berth/storage/collect"
	"github.com/berth-oci/berth/storage/fsync"
	files "github.com/berth-oci/berth/storage/local"
)

// berth is everything below the listener, opened and wired together.
type berth struct {
	where     string // for people: where the bytes are
	home      *home
	store     *storage.Store
	accounts  *access.Accounts
	audit     *access.Audit
	gate      *access.Gate
	index     *bolt.Index
	catalog   *catalog.Catalog
	registry  *registry.Registry
	collector *collect.Collector
	memory    *budget.Memory
	shed      *server.Shed
	// cursorKey seals the cursors of the images API's pages.
	cursorKey []byte
	working   sync.WaitGroup // what commands have it do
	closers   []func() error // run last to first
}

// open opens what the configuration names. When it returns, the index is what
// storage is, also after a crash.
func open(ctx context.Context, c *config.Config, metrics *prometheus.Registry, log *slog.Logger, stderr io.Writer) (*berth, error) {
	b := &berth{}
	if err := b.open(ctx, c, metrics, log, stderr); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

func (b *berth) open(ctx context.Context, c *config.Config, metrics *prometheus.Registry, log *slog.Logger, stderr io.Writer) error {
	if err := b.lock(ctx, c); err != nil {
		return err
	}
	secret, err := baseSecret(c)
	if err != nil {
		return err
	}
	if err := b.openAccess(c, secret, log); err != nil {
		return err
	}
	section, err := c.DistributionStorage()
	if err != nil {
		return err
	}
	if root := storageRoot(c); root != "" {
		if err := files.CheckLinks(root); err != nil {
			return fmt.Errorf("storage: %w", err)
		}
	}
	if b.store, err = storage.Open(ctx, section.Type(), section.Parameters()); err != nil {
		return err
	}
	b.closers = append(b.closers, b.store.Close)
	b.store.KeepFree(int64(c.Storage.FreeFloor))
	watchDamage(b.store, metrics, log)
	countRoom(b.store, metrics)
	if b.home, err = enter(c); err != nil {
		return err
	}
	b.closers = append(b.closers, b.home.leave)
	b.where = c.Data + " (" + section.Type() + ")"
	if err := b.stayClosed(ctx, c, log); err != nil {
		return err
	}
	if err := b.openCatalog(ctx, c, metrics, log, stderr); err != nil {
		return err
	}
	b.measure(c, metrics)
	if err := b.home.add(c.Catalog.Path); err != nil {
		return err
	}
	b.shed = server.NewShed(metrics)
	b.memory = newMemory(c, metrics, b.shed)
	b.cursorKey = access.DeriveKey([]byte(secret), "cursors of the images API")
	err = b.openRegistry(ctx, c, metrics, log, registry.Options{
		Section: section, Secret: hex.EncodeToString(access.DeriveKey([]byte(secret), "state of uploads")),
	})
	if err == nil {
		b.collector = b.newCollector(c, log)
	}
	return err
}

// openAccess opens the accounts and what is written down of them.
func (b *berth) openAccess(c *config.Config, secret string, log *slog.Logger) (err error) {
	if b.accounts, err = access.Open(c.Accounts.File, log); err != nil {
		return err
	}
	b.closers = append(b.closers, func() error { b.accounts.Close(); return nil })
	b.gate = access.NewGate(b.accounts, access.GateOptions{
		Secret: []byte(secret), PublicURL: c.HTTP.PublicURL, AnonymousOfficial: c.Accounts.AnonymousOfficial, Log: log,
	})
	if b.audit, err = access.OpenAudit(c.Audit.File); err != nil {
		return err
	}
	b.closers = append(b.closers, b.audit.Close)
	return nil
}

func (b *berth) openCatalog(ctx context.Context, c *config.Config, metrics *prometheus.Registry, log *slog.Logger, stderr io.Writer) error {
	index, err := openIndex(ctx, c, b.store, log, stderr)
	if err != nil {
		return err
	}
	b.index = index
	b.closers = append(b.closers, index.Close)
	index.Observe(server.IndexMetrics(metrics))
	index.SetIdle(c.Collect.Lease/renewals, nil)
	b.catalog = catalog.New(index, b.store, log)
	b.catalog.KeepChanges(int64(c.Events.Keep), c.Events.Age)
	b.catalog.SetImmutable(policyOf(c).Immutable)
	b.closers = append(b.closers, b.catalog.Close)
	if err := b.catalog.Recover(ctx); err != nil {
		return fmt.Errorf("repair the index after an unclean stop: %w", err)
	}
	server.CountImages(metrics, b.catalog.Stats)
	return nil
}

// openRegistry starts the registry; o has its section and its secret.
func (b *berth) openRegistry(ctx context.Context, c *config.Config, metrics *prometheus.Registry, log *slog.Logger, o registry.Options) (err error) {
	o.Store, o.Catalog, o.Accounts, o.Audit, o.Memory = b.store, b.catalog, b.accounts, b.audit, b.memory
	o.PublicURL, o.ReadOnly, o.MissingLayers = c.HTTP.PublicURL, c.ReadOnly(), c.Registry.MissingLayers
	o.Begin = func(ctx context.Context, repository string) (registry.Tx, error) {
		return b.catalog.Begin(ctx, repository)
	}
	o.Referrers, o.RequestID, o.Log = b.catalog.Referrers, server.RequestID, log
	o.OpenUploads, o.Uncollected = c.Limits.OpenUploads, int64(c.Limits.Uncollected)
	o.Refused = countRefusals(metrics)
	if b.registry, err = registry.New(context.WithoutCancel(ctx), o); err != nil {
		return err
	}
	b.closers = append(b.closers, b.registry.Close)
	server.CountUploads(metrics, b.registry.OpenUploads)
	return nil
}

func (b *berth) ready(ctx context.Context) error {
	return errors.Join(b.home.there(), b.store.Ready(ctx), b.catalog.Ready(ctx))
}

func (b *berth) close() error {
	var errs []error
	for i := len(b.closers) - 1; i >= 0; i-- {
		errs = append(errs, b.closers[i]())
	}
	return errors.Join(errs...)
}

// lockPatience is how long a berth waits for the data folder: commands look for a
// moment whether one runs.
const lockPatience = time.Second

// lock takes the data folder, which only one berth may use.
func (b *berth) lock(ctx context.Context, c *config.Config) error {
	data := c.Data
	if err := os.MkdirAll(data, 0o700); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	l := flock.New(lockFile(data))
	wait, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	free, err := l.TryLockContext(wait, 5*time.Millisecond)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("another berth is using %s: stop it first, or choose another folder with --data", data)
	}
	if err != nil || !free {
		return fmt.Errorf("data folder %s: %w", data, err)
	}
	b.closers = append(b.closers, l.Close)
	if err := writeRunning(c); err != nil {
		return fmt.Errorf("data folder %s: %w", data, err)
	}
	return nil
}

// openIndex opens the index, or makes it from storage if there is none, or one that
// is damaged or of an older form.
func openIndex(ctx context.Context, c *config.Config, store *storage.Store, log *slog.Logger, stderr io.Writer) (*bolt.Index, error) {
	index, err := bolt.Open(c.Catalog.Path, store.Identity())
	if err == nil {
		if err = claim(ctx, c, index, store, false, log); err == nil {
			return index, nil
		}
		if closed := index.Close(); !errors.Is(err, catalog.ErrOtherIndex) || closed != nil {
			return nil, errors.Join(err, closed)
		}
	}
	switch {
	case errors.Is(err, bolt.ErrDamaged):
		log.Error("the index is built anew from storage", "cause", err)
	case errors.Is(err, catalog.ErrOtherIndex):
		log.Warn("the index is built anew from storage", "cause", err)
	case !errors.Is(err, bolt.ErrNoIndex):
		return nil, err
	case err != bolt.ErrNoIndex: //nolint:errorlint // it says more than that
		log.Info("the index is built anew from storage", "cause", err)
	}
	return buildIndex(ctx, c, store, log, stderr)
}

// claim makes an index that of its storage. A berth that changes nothing has none to
// itself: another one may write to the same storage.
func claim(ctx context.Context, c *config.Config, x *bolt.Index, store *storage.Store, made bool, log *slog.Logger) error {
	if c.ReadOnly() {
		return nil
	}
	return catalog.Claim(ctx, x, store, made, log)
}

// buildIndex makes the index from storage, beside the one that is there, which it
// replaces.
func buildIndex(ctx context.Context, c *config.Config, store *storage.Store, log *slog.Logger, stderr io.Writer) (*bolt.Index, error) {
	begin := time.Now()
	p := newBuildProgress(log, stderr)
	index, err := bolt.Build(c.Catalog.Path, store.Identity(), func(x *bolt.Index) error {
		all := catalog.New(x, store, log)
		return errors.Join(all.Rebuild(ctx, p.tell), all.Close())
	})
	if err != nil {
		return nil, fmt.Errorf("build the index from storage: %w", err)
	}
	if err := claim(ctx, c, index, store, true, log); err != nil {
		return nil, errors.Join(err, index.Close())
	}
	if done := p.end(); done.Found > 0 {
		log.Info("index built from storage", "repositories", done.Found, "manifests", done.Manifests, "took", time.Since(begin).Round(time.Millisecond))
	}
	return index, nil
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// baseSecret is what keys are derived from: the configured one, else one that is
// made once and kept, so that uploads and tokens survive a restart.
func baseSecret(c *config.Config) (string, error) {
	if secret, err := keptSecret(c); secret != "" || err != nil {
		return secret, err
	}
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails
	secret := hex.EncodeToString(random[:])
	if err := fsync.Replace(secretFile(c), []byte(secret+"\n"), nil); err != nil {
		return "", fmt.Errorf("secret in the data folder: %w", err)
	}
	return secret, nil
}

// keptSecret is the configured secret, else the one that was made before, "" if
// none was.
func keptSecret(c *config.Config) (string, error) {
	if c.HTTP.Secret != "" {
		return c.HTTP.Secret, nil
	}
	kept, err := os.ReadFile(secretFile(c))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("secret in the data folder: %w", err)
	}
	secret := strings.TrimSpace(string(kept))
	if secret == "" {
		return "", nil
	}
	if weak := config.WeakSecret(secret); weak != "" {
		return "", fmt.Errorf("%s %s, once this file is gone", secretFile(c), weak)
	}
	return secret, nil
}

func secretFile(c *config.Config) string { return filepath.Join(c.Data, "upload.secret") }
