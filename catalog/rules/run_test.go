package rules

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/bolt"
	"github.com/berth-oci/berth/catalog/index/indextest"
	"github.com/berth-oci/berth/storage"
)

func newWorld(t *testing.T) *indextest.World {
	t.Helper()
	x, err := bolt.Build(filepath.Join(t.TempDir(), "catalog.db"), "a place", func(*bolt.Index) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.Close() })
	return indextest.NewWorld(t, x)
}

// put pushes an image, which it returns.
func put(t *testing.T, w *indextest.World, repository, name string, tags ...string) digest.Digest {
	t.Helper()
	d := w.Unikernel(name)
	if err := w.Put(repository, storage.Intent{Put: d, Tags: tags}); err != nil {
		t.Fatal(err)
	}
	return d
}

// run runs rules, and returns what went.
func run(t *testing.T, o Options) (removed []string, s Summary) {
	t.Helper()
	o.Removed = func(r Removal) { removed = append(removed, r.Repository+":"+r.Tag+"@"+r.Digest.String()) }
	if o.Failed == nil {
		o.Failed = func(repository string, err error) { t.Errorf("%s: %v", repository, err) }
	}
	s, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return removed, s
}

var lastOnly = Policy{Default: Set{Name: "r", Tags: []TagRule{{KeepLast: 1}}}, Namespaces: map[string]Set{"bob": {}}}

// TestRun: a dry run says what a run does, and changes nothing.
func TestRun(t *testing.T) {
	w := newWorld(t)
	for _, repository := range []string{"alice/app", "bob/app", "carol/app", "alice/deep/app"} {
		put(t, w, repository, "a", "v1")
		put(t, w, repository, "b", "v2")
	}
	before := indextest.Listed(t, w)
	dry, _ := run(t, Options{Catalog: w.Catalog, Policy: lastOnly, Namespace: "alice", DryRun: true})
	if after := indextest.Listed(t, w); !slices.Equal(after, before) {
		t.Errorf("a dry run leaves %v", after)
	}
	removed, s := run(t, Options{Catalog: w.Catalog, Policy: lastOnly, Namespace: "alice"})
	if !slices.Equal(dry, removed) || len(removed) != 4 || s != (Summary{Repositories: 2, Tags: 2, Manifests: 2}) {
		t.Errorf("a dry run says %v, and a run %v, %+v", dry, removed, s)
	}
	if removed, _ = run(t, Options{Catalog: w.Catalog, Policy: lastOnly}); len(removed) != 2 || removed[0][:10] != "carol/app:" {
		t.Errorf("of all namespaces there go %v", removed)
	}
	if after := indextest.Listed(t, w); len(after) != 5 {
		t.Errorf("there are left %v", after)
	}
}

// TestPushedMeanwhile: what is pushed between the look at a repository and the
// change stays.
func TestPushedMeanwhile(t *testing.T) {
	w := newWorld(t)
	old := put(t, w, "alice/app", "old", "v1")
	put(t, w, "alice/app", "new", "v2")
	calls := 0
	removed, _ := run(t, Options{Catalog: w.Catalog, Policy: lastOnly, Now: func() time.Time {
		if calls++; calls == 1 {
			time.Sleep(time.Millisecond) // the clock of the storage is as fine
			put(t, w, "alice/app", "old", "v1")
		}
		return time.Now()
	}})
	if d, err := w.Resolve(t.Context(), "alice/app", "v1"); err != nil || d != old || calls != 2 {
		t.Errorf("after %d looks there went %v: %s, %v", calls, removed, d, err)
	}
}

// TestOneRepositoryFails: the others are done all the same.
func TestOneRepositoryFails(t *testing.T) {
	w := newWorld(t)
	for _, repository := range []string{"alice/one", "alice/two"} {
		put(t, w, repository, "a", "v1")
		put(t, w, repository, "b", "v2")
	}
	w.Index.Fail(func(method string, n int) (indextest.When, error) {
		if method == "State" && n == 1 {
			return indextest.Before, indextest.ErrInjected
		}
		return indextest.Before, nil
	})
	var failed []string
	removed, s := run(t, Options{Catalog: w.Catalog, Policy: lastOnly, Failed: func(repository string, err error) { failed = append(failed, repository) }})
	if fmt.Sprint(failed) != "[alice/one]" || len(removed) != 2 || s.Failed != 1 {
		t.Errorf("%v failed, %v went: %+v", failed, removed, s)
	}
}
