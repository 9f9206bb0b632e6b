// Package indextest is the suite that every index passes.
package indextest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// Options say what is tested.
type Options struct {
	// Open returns a new, empty index, which the suite closes.
	Open func(t testing.TB) index.Index
	// Dump prints everything in an index that does not tell of the past, so that
	// two that were told the same in another order print the same. Nil if the
	// index has no such form.
	Dump func(t testing.TB, x index.Index) string
	// SetIdle sets, before an index is used, for how long it does not renew what it
	// just has, and what the time is.
	SetIdle func(x index.Index, coalesce time.Duration, now func() index.Uptime)
}

// Run runs the whole suite.
func Run(t *testing.T, o Options) {
	t.Run("Model", func(t *testing.T) { testModel(t, o) })
	t.Run("Composed", func(t *testing.T) { testComposed(t, o) })
	t.Run("Aliases", func(t *testing.T) { testAliases(t, o) })
	t.Run("Referrers", func(t *testing.T) { testReferrers(t, o) })
	t.Run("Batches", func(t *testing.T) { testBatches(t, o) })
	t.Run("Whole", func(t *testing.T) { testWhole(t, o) })
	t.Run("From", func(t *testing.T) { testFrom(t, o) })
	t.Run("ListWhileReordered", func(t *testing.T) { testListWhileReordered(t, o) })
	t.Run("LayerCache", func(t *testing.T) { testLayerCache(t, o) })
	t.Run("Leases", func(t *testing.T) { testLeases(t, o) })
	t.Run("Prepared", func(t *testing.T) { testPrepared(t, o) })
	t.Run("NothingAbandoned", func(t *testing.T) { testNothingAbandoned(t, o) })
	t.Run("Dirty", func(t *testing.T) { testDirty(t, o) })
	t.Run("TagTimes", func(t *testing.T) { testTagTimes(t, o) })
	t.Run("Revisions", func(t *testing.T) { testRevisions(t, o) })
	t.Run("Feed", func(t *testing.T) { testFeed(t, o) })
	t.Run("FeedOfADay", func(t *testing.T) { testFeedOfADay(t, o) })
	t.Run("FeedPages", func(t *testing.T) { testFeedPages(t, o) })
	t.Run("FeedGrows", func(t *testing.T) { testFeedGrows(t, o) })
	t.Run("Pushers", func(t *testing.T) { testPushers(t, o) })
	t.Run("Pulls", func(t *testing.T) { testPulls(t, o) })
	t.Run("History", func(t *testing.T) { testHistory(t, o) })
	t.Run("Links", func(t *testing.T) { testLinks(t, o) })
	t.Run("Reservations", func(t *testing.T) { testReservations(t, o) })
	t.Run("ReservationsAtATime", func(t *testing.T) { testReservationsAtATime(t, o) })
	t.Run("ReservationsWhilePublishing", func(t *testing.T) { testReservationsWhilePublishing(t, o) })
	t.Run("BlobStates", func(t *testing.T) { testBlobStates(t, o) })
	t.Run("Recount", func(t *testing.T) { testRecount(t, o) })
	t.Run("IdleLinks", func(t *testing.T) { testIdleLinks(t, o) })
	t.Run("IdleBytes", func(t *testing.T) { testIdleBytes(t, o) })
	t.Run("Strays", func(t *testing.T) { testStrays(t, o) })
	t.Run("Orphans", func(t *testing.T) { testOrphans(t, o) })
	t.Run("EveryCallFails", func(t *testing.T) { testEveryCallFails(t, o) })
}

// open opens an index that is closed at the end of the test.
func (o Options) open(t testing.TB) index.Index {
	t.Helper()
	x := o.Open(t)
	t.Cleanup(func() {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	})
	return x
}

// change is an update of a repository.
type change struct {
	repository string
	index.Update
}

// publish takes the repository, publishes, and frees it.
func publish(t testing.TB, x index.Index, c change) index.Revision {
	t.Helper()
	revision, err := tryPublish(x, c)
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

func tryPublish(x index.Index, c change) (revision index.Revision, err error) {
	ctx := context.Background()
	l, err := x.Acquire(ctx, c.repository)
	if err != nil {
		return revision, err
	}
	revision, err = x.Publish(ctx, l, c.Update)
	if released := x.Release(ctx, l); err == nil {
		err = released
	}
	return revision, err
}

func dgst(s string) digest.Digest { return digest.FromString(s) }

func imageAt(created time.Time) *image.Image {
	return &image.Image{Created: created, Size: 1, Initrd: true, Platforms: []image.Platform{}}
}

func at(second int) time.Time { return time.Unix(int64(second), 0).UTC() }

// readAll reads a list in batches of n.
func readAll(t testing.TB, x index.Reader, q index.Query, n int) (all []index.Entry) {
	t.Helper()
	for cursor, first := index.Cursor(""), true; first || cursor != ""; first = false {
		var batch []index.Entry
		var err error
		if batch, cursor, err = x.List(context.Background(), q, cursor, n); err != nil {
			t.Fatal(err)
		}
		all = append(all, batch...)
	}
	return all
}

func compare(t testing.TB, what string, got, want []index.Entry) {
	t.Helper()
	brief := func(entries []index.Entry) string {
		var b strings.Builder
		for _, e := range entries {
			fmt.Fprintf(&b, "%s@%s %v %d\n", e.Repository, e.Digest[:14], e.Tags, e.Image.Created.Unix())
		}
		return b.String()
	}
	if g, w := brief(got), brief(want); g != w {
		t.Fatalf("%s: got\n%swant\n%s", what, g, w)
	}
}
