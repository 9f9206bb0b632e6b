package indextest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
)

var later = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)

// stores is a manifest that makes its namespace store so many bytes.
func stores(repository, name string, bytes int64) change {
	return change{repository, index.Update{Put: []image.Description{{
		Digest: dgst(name), Blobs: []image.Blob{{Digest: dgst("blob of " + name), Size: bytes}},
	}}}}
}

func testReservations(t *testing.T, o Options) {
	x := o.open(t)
	reserve := func(namespace, key string, bytes, limit, others int64, refused bool) {
		t.Helper()
		got, err := x.Reserve(t.Context(), namespace, key, bytes, limit, later)
		if is := err != nil && storage.CodeOf(err) == storage.Quota; got != others || is != refused || err != nil && !is {
			t.Fatalf("%s of %s: %d bytes within %d: others %d, %v; want %d, refused: %v", key, namespace, bytes, limit, got, err, others, refused)
		}
	}
	publish(t, x, stores("a/b", "m", 40))
	reserve("a", "up1", 30, 100, 40, false)
	reserve("a", "up2", 30, 100, 70, false)
	reserve("a", "up2", 31, 100, 70, true)  // and the 30 stay
	reserve("a", "up3", 1, 100, 100, true)  // full
	reserve("b", "up1", 100, 100, 0, false) // another namespace
	reserve("a", "up1", 20, 100, 70, false) // in place of the 30
	reserve("a", "up3", 10, 100, 90, false)
	reserve("a", "up1", 0, 100, 80, false) // ended
	reserve("a", "up1", 0, 5, 80, false)   // ending is never refused
	reserve("a", "up4", 500, -1, 80, false)
	if u, err := x.Usage(t.Context(), "a"); err != nil || u.Bytes != 40 || u.Reserved != 540 {
		t.Fatalf("usage: %+v, %v", u, err)
	}
	if _, err := x.Reserve(t.Context(), "a", "up4", 500, -1, time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	reserve("a", "up5", 20, 100, 80, false) // what is over does not count
	huge := int64(1)<<62 + 1<<61
	reserve("a", "up6", huge, 100, 100, true)
}

// testReservationsWhilePublishing pushes into a namespace exactly what it has
// room for, each push with a reservation that its update ends. Were both ever
// counted, one would be refused; were neither, one too many would be let in.
func testReservationsWhilePublishing(t *testing.T, o Options) {
	x, ctx := o.open(t), context.Background()
	const pushes, bytes = 24, 10
	key := func(i int) string { return fmt.Sprint("push", i) }
	for i := range pushes {
		if _, err := x.Reserve(ctx, "a", key(i), bytes, pushes*bytes, later); err != nil {
			t.Fatalf("push %d: %v", i, err)
		}
	}
	var wg sync.WaitGroup
	for i := range pushes {
		wg.Go(func() {
			repository := fmt.Sprintf("a/%d", i)
			c := stores(repository, repository, bytes)
			c.Reservation = key(i)
			if _, err := tryPublish(x, c); err != nil {
				t.Error(err)
			}
			others, err := x.Reserve(ctx, "a", "one too many", 1, pushes*bytes, later)
			if err == nil || others != pushes*bytes {
				t.Errorf("beside %d bytes, one too many: %v", others, err)
			}
		})
	}
	wg.Wait()
	if u, err := x.Usage(ctx, "a"); err != nil || u.Bytes != pushes*bytes || u.Reserved != 0 {
		t.Fatalf("usage: %+v, %v", u, err)
	}
}
