package bolt

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// TestForeignUUID: whether an image is somebody else's or not there, as many
// keys are looked up, so that time does not tell one from the other.
func TestForeignUUID(t *testing.T) {
	x := build(t, empty)
	d := dgst("image")
	l, err := x.Acquire(t.Context(), "bob/app")
	if err != nil {
		t.Fatal(err)
	}
	_, err = x.Publish(t.Context(), l, index.Update{Put: []image.Description{{Digest: d, Image: &image.Image{Kernel: true, Created: time.Unix(1, 0)}}}})
	if err != nil {
		t.Fatal(err)
	}
	lookups := func(id uuid.UUID, within []string, found bool) int64 {
		t.Helper()
		before := x.db.Stats()
		if _, err := x.ByUUID(t.Context(), id, within); errors.Is(err, index.ErrNotFound) == found {
			t.Fatalf("%s within %q: %v", id, within, err)
		}
		after := x.db.Stats()
		return after.TxStats.GetCursorCount() - before.TxStats.GetCursorCount()
	}
	there := index.ImageUUID("bob/app", d)
	absent, foreign := lookups(uuid.New(), []string{"alice"}, false), lookups(there, []string{"alice"}, false)
	if absent == 0 || absent != foreign {
		t.Errorf("%d lookups of what is not there, %d of what is somebody else's", absent, foreign)
	}
	if own := lookups(there, []string{"bob"}, true); own <= foreign {
		t.Errorf("%d lookups of one's own, %d of somebody else's: they are not counted", own, foreign)
	}
}
