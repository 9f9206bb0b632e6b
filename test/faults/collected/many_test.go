package collected

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// TestMany has many dead blobs be collected, through the quarantine: 300, or as
// many as BERTH_TEST_DEAD says. It tells how long that took, and how many
// transactions of the index.
func TestMany(t *testing.T) {
	dead := 300
	if given := os.Getenv("BERTH_TEST_DEAD"); given != "" {
		var err error
		if dead, err = strconv.Atoi(given); err != nil {
			t.Fatal(err)
		}
	}
	w := newWorld(t, options{driver: "filesystem", quarantine: lease})
	ctx := t.Context()
	const atOnce = 500
	for n := 0; n < dead; n += atOnce {
		blobs := map[digest.Digest]int64{}
		w.must(w.store.Together(ctx, func(ctx context.Context) error {
			for i := n; i < min(n+atOnce, dead); i++ {
				content := fmt.Sprint("dead ", i)
				d := digest.FromString(content)
				path := "/docker/registry/v2/blobs/sha256/" + d.Encoded()[:2] + "/" + d.Encoded() + "/data"
				if err := w.store.Driver().PutContent(ctx, path, []byte(content)); err != nil {
					return err
				}
				if err := w.store.LinkBlob(ctx, one, d, d); err != nil {
					return err
				}
				blobs[d] = int64(len(content))
			}
			return nil
		}))
		w.must(w.index.Link(ctx, one, blobs, "", nil))
	}
	w.push(two, layer)
	transactions := 0
	w.index.Observe(func(operation string, _ time.Duration, _ error) {
		switch operation {
		case "unlink_idle", "dispose", "emptied":
			transactions++
		}
	})
	begin := time.Now()
	w.pass(2 * lease)
	if freed := w.sweep(); freed.Links != dead || freed.Swept.Count != dead {
		t.Fatalf("of %d, %+v went", dead, freed)
	}
	w.pass(2 * lease)
	if freed := w.sweep(); freed.Unreferenced.Count != dead {
		t.Fatalf("of %d, %+v went for good", dead, freed)
	}
	t.Logf("%d blobs in %s, with %d transactions of the index", dead, time.Since(begin).Round(time.Millisecond), transactions)
	const together = 200 // at least
	if most := 3*(dead/together+1) + 3; transactions > most {
		t.Errorf("%d transactions, want %d at most: what goes together is to share them", transactions, most)
	}
	w.wantStored(layer, manifest(layer))
}
