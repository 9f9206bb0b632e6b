package catalog_test

import (
	"context"
	"errors"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index/indextest"
	"github.com/berth-oci/berth/storage"
)

// newLocalWorld is one on local files below a folder, where changes are made at once.
func newLocalWorld(t *testing.T, root string) *world {
	store, err := storage.Open(t.Context(), "filesystem", map[string]any{"rootdirectory": root})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() }) // after the catalog of the world
	w := newWorld(t)
	w.Store = store
	w.must(w.Restart())
	return w
}

// wantNoNotes wants storage to have no notes of an earlier process.
func (w *world) wantNoNotes() {
	w.t.Helper()
	left, err := w.Store.LeftNotes(context.Background())
	w.must(err)
	if len(left) != 0 {
		w.t.Errorf("%d notes are left", len(left))
	}
}

// push puts a manifest as a request does: all that it changes is made at once.
func (w *world) push(d digest.Digest, tags ...string) error {
	tx, err := w.Begin(context.Background(), repository)
	if err != nil {
		return err
	}
	defer tx.Close()
	ctx := storage.AskedBy(context.Background(), "alice")
	return tx.Put(ctx, storage.Intent{Put: d, Tags: tags}, image.Manifest{}, "", func(ctx context.Context) error {
		return w.Store.Driver().PutContent(ctx, "/docker/registry/v2/repositories/"+repository+"/_manifests/revisions/sha256/"+d.Encoded()+"/link", []byte(d))
	})
}

// TestPutIsNotedInStorage: a push costs the index one transaction. One that was not
// published is, after a crash and before the next change, once and with the account
// that asked for it.
func TestPutIsNotedInStorage(t *testing.T) {
	for _, crash := range []bool{false, true} {
		w := newLocalWorld(t, t.TempDir())
		first, second := w.unikernel("first"), w.unikernel("second")
		w.Index.Fail(nil)
		w.must(w.push(first, "v1"))
		if calls := w.Index.Calls(); calls["Prepare"] != 0 || calls["Publish"] != 1 {
			t.Errorf("a push calls the index so: %v", calls)
		}
		w.Index.FailAll("Publish")
		if err := w.push(second, "v1", "v2"); !errors.Is(err, indextest.ErrInjected) {
			t.Fatalf("the failure is not reported: %v", err)
		}
		if crash {
			w.must(w.Crash())
		}
		before := len(w.changes())
		w.Index.Fail(nil)
		w.settled()
		for _, tag := range []string{"v1", "v2"} {
			if d, err := w.Resolve(t.Context(), repository, tag); err != nil || d != second {
				t.Errorf("%s is %s, %v", tag, d, err)
			}
		}
		news := w.changes()[before:]
		if len(news) != 1 || news[0].By != "alice" || news[0].Digest != second || len(news[0].Tags) != 2 {
			t.Errorf("recorded is %+v", news)
		}
		w.must(w.Restart())
		w.wantNoNotes()
	}
}

// TestOldNotes: what a note is about that was not used again may have been undone
// since; it is not done again.
func TestOldNotes(t *testing.T) {
	w := newLocalWorld(t, t.TempDir())
	moved, gone, last, unpublished := w.unikernel("moved"), w.unikernel("gone"), w.unikernel("last"), w.unikernel("unpublished")
	old := []storage.Intent{
		{Repository: repository, Put: moved, Tags: []string{"v1"}},
		{Repository: repository, Put: gone, Tags: []string{"v2"}},
		{Repository: repository, Put: last, As: digest.SHA512.FromString("none"), Tags: []string{"v3"}},
		{Repository: repository, Put: digest.FromString("never came"), Tags: []string{"v3"}},
	}
	for _, i := range old {
		w.must(w.Store.WriteNote(t.Context(), w.Store.ChangeNote(i)))
	}
	w.must(w.push(moved, "v1"))
	w.must(w.push(gone, "v2"))
	w.must(w.push(last, "v1"))
	w.must(w.Delete(t.Context(), repository, gone))
	before := w.changes()
	w.Index.FailAll("Publish") // but for the last
	if err := w.push(unpublished, "v1"); !errors.Is(err, indextest.ErrInjected) {
		t.Fatal(err)
	}
	w.must(w.Crash())
	w.Index.Fail(nil)
	w.settled()
	if d, err := w.Resolve(t.Context(), repository, "v1"); err != nil || d != unpublished {
		t.Errorf("v1 is %s, %v", d, err)
	}
	for _, tag := range []string{"v2", "v3"} {
		if d, err := w.Resolve(t.Context(), repository, tag); !notThere(err) {
			t.Errorf("%s is %s, %v", tag, d, err)
		}
	}
	if news := w.changes()[len(before):]; len(news) != 1 || news[0].Digest != unpublished {
		t.Errorf("recorded is also %+v", news)
	}
}

// TestRefusedPutLeavesNothing: of a push that storage refuses there is no note, and
// nothing to be settled.
func TestRefusedPutLeavesNothing(t *testing.T) {
	w := newLocalWorld(t, t.TempDir())
	d := w.unikernel("refused")
	tx, err := w.Begin(t.Context(), repository)
	w.must(err)
	refused := errors.New("refused")
	if err := tx.Put(t.Context(), storage.Intent{Put: d, Tags: []string{"v1"}}, image.Manifest{}, "", func(context.Context) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("the error is %v", err)
	}
	tx.Close()
	w.must(w.Settled(t.Context()))
	w.must(w.Crash())
	w.wantNoNotes()
}

// TestManyTagsArePrepared: an intent that is too long for a note is durable before
// storage is touched.
func TestManyTagsArePrepared(t *testing.T) {
	w := newLocalWorld(t, t.TempDir())
	var tags []string
	for i := range 100 {
		tags = append(tags, "a-tag-with-a-long-name-"+string(rune('a'+i/10))+string(rune('a'+i%10)))
	}
	w.Index.Fail(nil)
	w.must(w.push(w.unikernel("much tagged"), tags...))
	if calls := w.Index.Calls(); calls["Prepare"] != 1 || calls["Publish"] != 1 {
		t.Errorf("a push calls the index so: %v", calls)
	}
}
