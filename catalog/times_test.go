package catalog_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berth-oci/berth/catalog"
	"github.com/berth-oci/berth/storage"
	_ "github.com/berth-oci/berth/storage/local" // the driver
)

// TestTimes: an image that does not say when it was made has the time at which
// storage got it, which neither a push of what is there, nor the healing of its
// manifest, nor a rebuild changes; and its tag the time that its link has.
func TestTimes(t *testing.T) {
	root := t.TempDir()
	w := newLocalWorld(t, root)
	config, rom := w.LinkUntold(repository, []byte("{}")), w.LinkUntold(repository, []byte("a rom"))
	rom.MediaType = "application/vnd.unikraft.rom.v1"
	d := w.Manifest(map[string]any{"schemaVersion": 2, "mediaType": v1.MediaTypeImageManifest, "config": config, "layers": []v1.Descriptor{rom}})
	data := filepath.Join(root, "docker/registry/v2/blobs/sha256", d.Encoded()[:2], d.Encoded(), "data")
	right, err := os.ReadFile(data)
	w.must(err)
	before := time.Now().Add(-time.Hour).Truncate(time.Microsecond)
	w.must(os.Chtimes(data, before, before))
	w.put(d, "v1")

	want := func(what string, x *catalog.Catalog) {
		t.Helper()
		e, err := x.Tagged(context.Background(), repository, "v1")
		w.must(err)
		if !e.Image.Created.Equal(before) {
			t.Errorf("%s it was made at %v, want %v", what, e.Image.Created, before)
		}
		tagged, err := x.TagTime(context.Background(), repository, "v1")
		w.must(err)
		stored, err := w.Store.Repository(repository).TagTime(context.Background(), "v1")
		w.must(err)
		if !tagged.Equal(stored) {
			t.Errorf("%s its tag was set at %v, and in storage at %v", what, tagged, stored)
		}
	}
	want("at first", w.Catalog)
	w.put(d, "v1")
	want("pushed again", w.Catalog)

	w.must(os.WriteFile(data, append([]byte("x"), right[1:]...), 0o600))
	w.must(os.Chtimes(data, before, before))
	if _, err := w.Store.Examine(t.Context(), d, storage.ByRead); storage.CodeOf(err) != storage.Damaged {
		t.Fatalf("what is damaged: %v", err)
	}
	w.must(w.SettleDamage(t.Context(), d))
	if _, err := w.Tagged(t.Context(), repository, "v1"); !notThere(err) {
		t.Fatalf("damaged, it is still there: %v", err)
	}
	w.must(w.heal(d, right))
	w.must(w.SettleDamage(t.Context(), d))
	want("healed", w.Catalog)

	rebuilt := newWorld(t)
	rebuilt.Store = w.Store
	w.must(rebuilt.Restart())
	w.must(rebuilt.Rebuild(t.Context(), func(catalog.Progress) {}))
	want("rebuilt", rebuilt.Catalog)
}

func notThere(err error) bool { return storage.CodeOf(err) == storage.NotFound }

// heal stores bytes as distribution does that push a manifest.
func (w *world) heal(d digest.Digest, content []byte) error {
	driver := w.Store.OpenedParameters()["driver"].(interface {
		PutContent(ctx context.Context, path string, content []byte) error
	})
	return driver.PutContent(context.Background(), "/docker/registry/v2/blobs/sha256/"+d.Encoded()[:2]+"/"+d.Encoded()+"/data", content)
}
