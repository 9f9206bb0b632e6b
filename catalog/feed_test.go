package catalog_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/catalog/index/indextest"
	"github.com/berth-oci/berth/storage"
)

// changes are all changes of a world.
func (w *world) changes() []index.Change {
	w.t.Helper()
	all, err := w.Changes(context.Background(), index.Revision{Start: w.Last().Start}, 1000)
	w.must(err)
	return all
}

// TestAskedBy: who asks for a change is in its record and kept with its tags, also
// of a change that a later one has to complete.
func TestAskedBy(t *testing.T) {
	w := newWorld(t)
	as := func(account string) context.Context { return storage.AskedBy(t.Context(), account) }
	put := func(account, tag, name string) error {
		tx, err := w.Begin(as(account), repository)
		w.must(err)
		defer tx.Close()
		d := w.unikernel(name)
		return tx.Put(as(account), storage.Intent{Put: d, Tags: []string{tag}}, image.Manifest{}, "", func(context.Context) error {
			w.Arrive(repository, d)
			return nil
		})
	}
	begin := time.Now().Add(-time.Millisecond)
	w.must(put("alice", "v1", "one"))
	w.Index.Fail(func(method string, _ int) (indextest.When, error) {
		if method == "Publish" {
			return indextest.Before, indextest.ErrInjected
		}
		return indextest.Before, nil
	})
	if err := put("bob", "v2", "two"); !errors.Is(err, indextest.ErrInjected) {
		t.Fatal(err)
	}
	w.Index.Fail(nil)
	w.settled()
	w.must(w.Untag(as("carol"), repository, "v1"))
	w.must(w.Delete(as("dave"), repository, w.Unikernel("two")))
	want := []string{"alice push", "bob push", "carol untag", "dave delete"}
	for i, c := range w.changes() {
		if got := c.By + " " + string(c.Type); i >= len(want) || got != want[i] || c.Time.Before(begin) {
			t.Errorf("change %d: %s at %s, want %v", i, got, c.Time, want)
		}
	}
	w.must(put("erin", "v3", "one"))
	if p, err := w.Pushed(t.Context(), repository, "v3"); err != nil || p.By != "erin" || p.Time.Before(begin) {
		t.Errorf("pushed by %+v, %v", p, err)
	}
}

// TestUpkeep: of the feed as much is kept as is to be, and what is older than it
// may be goes too.
func TestUpkeep(t *testing.T) {
	w := newWorld(t)
	begin := w.Last()
	for range 5 {
		w.put(w.unikernel("one"), "v1")
	}
	w.KeepChanges(3, time.Hour)
	w.Upkeep(t.Context())
	if _, err := w.Changes(t.Context(), begin, 9); !errors.Is(err, index.ErrRevision) {
		t.Errorf("nothing is trimmed: %v", err)
	}
	kept := index.Revision{Start: begin.Start, N: w.Last().N - 3}
	if all, err := w.Changes(t.Context(), kept, 9); err != nil || len(all) != 3 {
		t.Errorf("%d are kept, %v", len(all), err)
	}
	w.KeepChanges(3, -time.Hour)
	w.Upkeep(t.Context())
	if _, err := w.Changes(t.Context(), kept, 9); !errors.Is(err, index.ErrRevision) {
		t.Errorf("what is old is kept: %v", err)
	}
}

// TestPulls: who pulls writes nothing; what was counted is written together.
func TestPulls(t *testing.T) {
	w := newWorld(t)
	d := w.unikernel("one")
	w.put(d, "v1")
	w.Index.Fail(nil)
	for range 1000 {
		w.NotePull(repository, d)
	}
	w.NotePull(repository, w.Unikernel("never pushed"))
	if n := w.Index.Calls(); len(n) != 0 {
		t.Errorf("pulls have called %v", n)
	}
	if err := w.Restart(); err != nil {
		t.Fatal(err)
	}
	if n := w.Index.Calls()["AddPulls"]; n != 1 {
		t.Errorf("they were written in %d steps", n)
	}
	if p, err := w.Pulls(t.Context(), repository, d); err != nil || p.Count != 1000 || time.Since(p.Last) > 48*time.Hour {
		t.Errorf("%+v, %v", p, err)
	}
}
