package indextest

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
)

var later = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)

const kib = 1 << 10

// stores is a manifest of no more than counts at least, that makes its namespace
// store a blob of so many bytes.
func stores(repository, name string, bytes int64) change {
	return change{repository, index.Update{Put: []image.Description{{
		Digest: dgst(name), Blobs: []image.Blob{{Digest: dgst("blob of " + name), Size: bytes}},
	}}}}
}

func testReservations(t *testing.T, o Options) {
	x := o.open(t)
	reserve := func(namespace, key string, bytes, limit, others int64, refused bool) {
		t.Helper()
		got, err := x.Reserve(t.Context(), namespace, storage.Reservation{Key: key, Bytes: bytes, Limit: limit, Until: later})
		if is := err != nil && storage.CodeOf(err) == storage.Quota; got.Used() != others || is != refused || err != nil && !is {
			t.Fatalf("%s of %s: %d bytes within %d: others %+v, %v; want %d, refused: %v", key, namespace, bytes, limit, got, err, others, refused)
		}
	}
	publish(t, x, stores("a/b", "m", 36*kib))
	reserve("a", "up1", 30*kib, 100*kib, 40*kib, false)
	reserve("a", "up2", 30*kib, 100*kib, 70*kib, false)
	reserve("a", "up2", 30*kib+1, 100*kib, 70*kib, true) // and the 30 stay
	reserve("a", "up3", 1, 100*kib, 100*kib, true)       // full
	reserve("b", "up1", 100*kib, 100*kib, 0, false)      // another namespace
	reserve("a", "up1", 20*kib, 100*kib, 70*kib, false)  // in place of the 30
	reserve("a", "up3", 10*kib, 100*kib, 90*kib, false)
	reserve("a", "up1", 0, 100*kib, 80*kib, false) // ended
	reserve("a", "up1", 0, 5, 80*kib, false)       // ending is never refused
	reserve("a", "up4", 500*kib, -1, 80*kib, false)
	if u, err := x.Usage(t.Context(), "a"); err != nil || u.Bytes != 40*kib || u.Reserved != 540*kib || u.Reservations != 3 {
		t.Fatalf("usage: %+v, %v", u, err)
	}
	over := storage.Reservation{Key: "up4", Bytes: 500, Limit: -1, Until: time.Now().Add(-time.Second)}
	if _, err := x.Reserve(t.Context(), "a", over); err != nil {
		t.Fatal(err)
	}
	reserve("a", "up5", 20*kib, 100*kib, 80*kib, false) // what is over does not count
	reserve("a", "up6", 1<<62+1<<61, 100*kib, 100*kib, true)
	reserve("a", "up6", math.MaxInt64, math.MaxInt64, 100*kib, true)
}

// testReservationsAtATime: there are no more than there may be, and one that is
// there can be changed.
func testReservationsAtATime(t *testing.T, o Options) {
	x := o.open(t)
	reserve := func(key string, bytes, most int64) error {
		_, err := x.Reserve(t.Context(), "a", storage.Reservation{Key: key, Bytes: bytes, Limit: -1, Most: most, Until: later})
		return err
	}
	var wg sync.WaitGroup
	var let, refused atomic.Int64
	for i := range 16 {
		wg.Go(func() {
			switch err := reserve(fmt.Sprint(i), 1, 5); {
			case err == nil:
				let.Add(1)
			case storage.CodeOf(err) == storage.TooMany:
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if let.Load() != 5 || refused.Load() != 11 {
		t.Fatalf("%d of 5 were let in, %d refused", let.Load(), refused.Load())
	}
	for i := range 16 { // those that are there may grow, and end
		if err := reserve(fmt.Sprint(i), 2, 5); err != nil && storage.CodeOf(err) != storage.TooMany {
			t.Fatal(err)
		}
		if err := reserve(fmt.Sprint(i), 0, 5); err != nil {
			t.Fatal(err)
		}
	}
	if err := reserve("next", 1, 5); err != nil {
		t.Fatal(err)
	}
}

// testReservationsWhilePublishing fills a namespace with exactly what it has
// room for, by pushes and uploads each with a reservation that ends with it. Were
// both ever counted, one would be refused; were neither, one too many would be
// let in.
func testReservationsWhilePublishing(t *testing.T, o Options) {
	x, ctx := o.open(t), context.Background()
	const pushes, bytes = 24, 2 * storage.MinCounted
	key := func(i int) string { return fmt.Sprint("push", i) }
	for i := range pushes {
		r := storage.Reservation{Key: key(i), Bytes: bytes, Limit: pushes * bytes, Until: later}
		if _, err := x.Reserve(ctx, "a", r); err != nil {
			t.Fatalf("push %d: %v", i, err)
		}
	}
	stop := make(chan struct{})
	var pushing, watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if u, err := x.Usage(ctx, "a"); err != nil || u.Used() != pushes*bytes {
				t.Errorf("used: %+v, %v", u, err)
				return
			}
		}
	})
	for i := range pushes {
		pushing.Go(func() {
			repository := fmt.Sprintf("a/%d", i)
			var err error
			if i%2 == 0 {
				c := stores(repository, repository, 1)
				c.Reservation = key(i)
				_, err = tryPublish(x, c)
			} else {
				err = x.Link(ctx, repository, map[digest.Digest]int64{dgst(repository): bytes}, key(i), nil)
			}
			if err != nil {
				t.Error(err)
			}
			others, err := x.Reserve(ctx, "a", storage.Reservation{Key: "one too many", Bytes: 1, Limit: pushes * bytes, Until: later})
			if err == nil || others.Used() != pushes*bytes {
				t.Errorf("beside %+v, one too many: %v", others, err)
			}
		})
	}
	pushing.Wait()
	close(stop)
	watching.Wait()
	if u, err := x.Usage(ctx, "a"); err != nil || u.Bytes != pushes*bytes || u.Reserved != 0 || u.Reservations != 0 {
		t.Fatalf("usage: %+v, %v", u, err)
	}
}
