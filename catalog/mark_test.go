package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog"
	"github.com/berth-oci/berth/catalog/bolt"
	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/storage"
)

// berths is one berth after the other on the same storage and index.
type berths struct {
	t     *testing.T
	store *storage.Store
	path  string
	index *bolt.Index
	*catalog.Catalog
	pushed int
}

var quiet = slog.New(slog.DiscardHandler)

// newBerths starts the first one, which makes the index.
func newBerths(t *testing.T) *berths {
	t.Helper()
	store, err := storage.Open(t.Context(), "inmemory", nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &berths{t: t, store: store, path: filepath.Join(t.TempDir(), "catalog.db")}
	if b.index, err = bolt.Build(b.path, store.Identity(), func(*bolt.Index) error { return nil }); err != nil {
		t.Fatal(err)
	}
	b.must(catalog.Claim(t.Context(), b.index, store, true, quiet))
	b.Catalog = catalog.New(b.index, store, quiet)
	return b
}

func (b *berths) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// stop stops it in order.
func (b *berths) stop() {
	b.t.Helper()
	b.must(errors.Join(b.Catalog.Close(), b.index.Close()))
}

// start starts the next one, and returns what it thinks of the index.
func (b *berths) start() error {
	b.t.Helper()
	var err error
	b.index, err = bolt.Open(b.path, b.store.Identity())
	b.must(err)
	err = catalog.Claim(b.t.Context(), b.index, b.store, false, quiet)
	b.Catalog = catalog.New(b.index, b.store, quiet)
	return err
}

// restart is both.
func (b *berths) restart() error {
	b.t.Helper()
	b.stop()
	return b.start()
}

// push makes n changes.
func (b *berths) push(n int) {
	b.t.Helper()
	ctx := context.Background()
	for range n {
		b.pushed++
		content := fmt.Appendf(nil, `{"schemaVersion":2,"annotations":{"n":"%d"}}`, b.pushed)
		d := digest.FromBytes(content)
		before := b.Last()
		tx, err := b.Begin(ctx, repository)
		b.must(err)
		b.must(tx.Put(ctx, storage.Intent{Put: d, Tags: []string{"v1"}}, image.Manifest{}, "", func(ctx context.Context) error {
			driver := b.store.Driver()
			return errors.Join(
				driver.PutContent(ctx, "/docker/registry/v2/blobs/sha256/"+d.Encoded()[:2]+"/"+d.Encoded()+"/data", content),
				driver.PutContent(ctx, "/docker/registry/v2/repositories/"+repository+"/_manifests/revisions/sha256/"+d.Encoded()+"/link", []byte(d)))
		}))
		tx.Close()
		if now := b.Last(); now.N != before.N+1 {
			b.t.Fatalf("a push has made %v of %v", now, before)
		}
	}
}

// state is what lies on the disk: the index, and what storage says of it.
type state struct {
	index []byte
	mark  storage.Mark
}

func (b *berths) state() state {
	b.t.Helper()
	content, err := os.ReadFile(b.path)
	b.must(err)
	mark, err := b.store.Mark(b.t.Context())
	b.must(err)
	return state{content, mark}
}

func (b *berths) putBackIndex(s state) { b.must(os.WriteFile(b.path, s.index, 0o600)) }
func (b *berths) putBackMark(s state)  { b.must(b.store.SetMark(b.t.Context(), s.mark)) }

// TestRestoredIndex: an index that is older than its storage is noticed, and so is
// one that is newer.
func TestRestoredIndex(t *testing.T) {
	for name, c := range map[string]struct {
		do    func(b *berths)
		known bool
	}{
		"stopped": {func(b *berths) { b.push(3); b.stop() }, true},
		"killed": {func(b *berths) {
			b.push(3)
			left := b.state()
			b.stop()
			b.putBackIndex(left)
			b.putBackMark(left)
		}, true},
		"a copy of before the last start": {func(b *berths) {
			b.push(3)
			b.stop()
			old := b.state()
			b.must(b.start())
			b.stop()
			b.putBackIndex(old)
		}, false},
		"a copy of before the last start, put back after a kill": {func(b *berths) {
			b.push(3)
			b.stop()
			old := b.state()
			b.must(b.start())
			b.push(1)
			left := b.state()
			b.stop()
			b.putBackIndex(old)
			b.putBackMark(left)
		}, false},
		"a copy of the same run": {func(b *berths) {
			b.push(3)
			old := b.state()
			b.push(1)
			b.stop()
			b.putBackIndex(old)
		}, false},
		"another index": {func(b *berths) {
			b.push(3)
			b.stop()
			x, err := bolt.Build(b.path, b.store.Identity(), func(*bolt.Index) error { return nil })
			b.must(err)
			b.must(x.Close())
		}, false},
		"older storage": {func(b *berths) {
			b.push(3)
			old := b.state()
			b.must(b.restart())
			b.stop()
			b.putBackMark(old)
		}, false},
		"storage that knows no index": {func(b *berths) {
			b.push(3)
			b.stop()
			b.must(b.store.Driver().Delete(context.Background(), "/berth/index"))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBerths(t)
			c.do(b)
			err := b.start()
			defer b.stop()
			if got := err == nil; got != c.known || err != nil && !errors.Is(err, catalog.ErrOtherIndex) {
				t.Errorf("known %v, want %v: %v", got, c.known, err)
			}
		})
	}
}

// cutOff is an index that dies with one of the steps of a claim.
type cutOff struct {
	*bolt.Index
	err error
}

func (c cutOff) SetMark(context.Context, string) error { return c.err }

// TestClaimCutOff: whatever a start that was cut off has written, the next one
// knows the index.
func TestClaimCutOff(t *testing.T) {
	b := newBerths(t)
	b.push(2)
	b.stop()
	for range 3 {
		b.must(b.start())
		dying := errors.New("dying")
		before := b.state().mark
		b.must(catalog.Claim(t.Context(), cutOff{b.index, dying}, b.store, false, quiet))
		if now := b.state().mark; now.Current != before.Current || now.Next == "" || now.Next == before.Next {
			t.Fatalf("it was not cut off: %+v, %+v", before, now)
		}
		b.stop()
		b.must(b.start())
		// The next step was the last that happened.
		m := b.state().mark
		m.Current, m.Next = "the one before", m.Current
		b.must(b.store.SetMark(t.Context(), m))
		b.stop()
	}
	b.must(b.start())
	b.stop()
}
