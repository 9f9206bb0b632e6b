package indextest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berth-oci/berth/catalog"
	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
)

// World is a catalog over an index that can be made to fail, and real storage
// in memory. It writes storage as a push does.
type World struct {
	*catalog.Catalog
	Store *storage.Store
	Index *Faulty

	t testing.TB
}

// NewWorld returns a catalog over x, which is empty; it is closed at the end of
// the test, and x is not. Whoever runs it compiles in the driver "inmemory".
func NewWorld(t testing.TB, x index.Index) *World {
	t.Helper()
	store, err := storage.Open(t.Context(), "inmemory", nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &World{Store: store, Index: NewFaulty(x), t: t}
	w.start()
	t.Cleanup(func() {
		w.Index.Fail(nil)
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *World) start() {
	w.Catalog = catalog.New(w.Index, w.Store, slog.New(slog.DiscardHandler))
}

// Restart closes the catalog and starts another one on the same index and
// storage. The second is there also where there is an error.
func (w *World) Restart() error {
	closed := w.Close()
	w.start()
	return errors.Join(closed, w.Recover(context.Background()))
}

// Crash starts another catalog on the same index and storage, as another process
// would: of what this one was about it knows what is durable.
func (w *World) Crash() error {
	closed := w.Close()
	var err error
	w.Store, err = storage.Open(context.Background(), storage.OpenedDriver, map[string]any{"driver": w.Store.Driver()})
	if err != nil {
		return errors.Join(closed, err)
	}
	w.start()
	return errors.Join(closed, w.Recover(context.Background()))
}

// Write puts content at a path below the root of the layout.
func (w *World) Write(path string, content []byte) {
	w.t.Helper()
	if err := w.Store.Driver().PutContent(context.Background(), "/docker/registry/v2/"+path, content); err != nil {
		w.t.Fatal(err)
	}
}

// Blob stores bytes that no repository links.
func (w *World) Blob(content []byte) digest.Digest {
	w.t.Helper()
	d := digest.FromBytes(content)
	w.Write("blobs/sha256/"+d.Encoded()[:2]+"/"+d.Encoded()+"/data", content)
	return d
}

// LinkPath is where a repository links a blob.
func LinkPath(repository string, d digest.Digest) string {
	return "repositories/" + repository + "/_layers/" + d.Algorithm().String() + "/" + d.Encoded() + "/link"
}

// LinkUntold stores a blob in a repository without telling the catalog.
func (w *World) LinkUntold(repository string, content []byte) v1.Descriptor {
	w.t.Helper()
	d := w.Blob(content)
	w.Write(LinkPath(repository, d), []byte(d))
	return v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: d, Size: int64(len(content))}
}

// Upload stores a blob in a repository as a push does.
func (w *World) Upload(repository string, content []byte) error {
	w.t.Helper()
	return w.Link(context.Background(), repository, digest.FromBytes(content), "", func(context.Context) (digest.Digest, error) {
		return w.LinkUntold(repository, content).Digest, nil
	})
}

// Manifest stores the bytes of a manifest, without linking it anywhere.
func (w *World) Manifest(m any) digest.Digest {
	w.t.Helper()
	bytes, err := json.Marshal(m)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.Blob(bytes)
}

// Arrive links a manifest into a repository.
func (w *World) Arrive(repository string, d digest.Digest) {
	w.t.Helper()
	w.Write("repositories/"+repository+"/_manifests/revisions/sha256/"+d.Encoded()+"/link", []byte(d))
}

// ROM is the content of the layer of a [World.Unikernel].
func ROM(name string) []byte { return []byte("rom of " + name) }

// Config is the content of its config.
func Config(name string) []byte {
	return fmt.Appendf(nil, `{"created":"2026-01-02T03:04:05Z","config":{"Cmd":["/%s"]}}`, name)
}

// Unikernel stores the manifest of an image with one ROM, distinct by its name.
// Its blobs are for the caller to store.
func (w *World) Unikernel(name string) digest.Digest {
	w.t.Helper()
	descriptor := func(mediaType string, content []byte) v1.Descriptor {
		return v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(content), Size: int64(len(content))}
	}
	return w.Manifest(map[string]any{
		"schemaVersion": 2, "mediaType": v1.MediaTypeImageManifest,
		"config": descriptor(v1.MediaTypeImageConfig, Config(name)),
		"layers": []v1.Descriptor{descriptor("application/vnd.unikraft.rom.v1", ROM(name))},
	})
}

// Referrer stores a manifest that has another as its subject.
func (w *World) Referrer(subject digest.Digest) digest.Digest {
	w.t.Helper()
	return w.Manifest(map[string]any{
		"schemaVersion": 2, "mediaType": v1.MediaTypeImageManifest, "artifactType": "application/x",
		"config": v1.DescriptorEmptyJSON, "layers": []v1.Descriptor{},
		"subject": v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: subject},
	})
}

// bringBack asks for what was collected, as the put of a manifest does.
func (w *World) bringBack(repository string, d digest.Digest) error {
	tx, err := w.Begin(context.Background(), repository)
	if err != nil {
		return err
	}
	defer tx.Close()
	_, err = tx.BringBack(context.Background(), d)
	return err
}

// IndexOf stores an index of manifests.
func (w *World) IndexOf(children ...digest.Digest) digest.Digest {
	w.t.Helper()
	list := []v1.Descriptor{}
	for _, c := range children {
		list = append(list, v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: c})
	}
	return w.Manifest(map[string]any{"schemaVersion": 2, "mediaType": v1.MediaTypeImageIndex, "manifests": list})
}

// Put pushes a manifest whose bytes are stored.
func (w *World) Put(repository string, intent storage.Intent) error {
	w.t.Helper()
	ctx := context.Background()
	tx, err := w.Begin(ctx, repository)
	if err != nil {
		return err
	}
	defer tx.Close()
	return tx.Put(ctx, intent, image.Manifest{}, "", func(context.Context) error {
		w.Arrive(repository, intent.Put)
		return nil
	})
}

// Listed is what is listed, each as repository@digest:tags.
func Listed(t testing.TB, r index.Reader) []string {
	t.Helper()
	var out []string
	for _, e := range readAll(t, r, index.Query{}, 100) {
		out = append(out, e.Repository+"@"+strings.Join(append([]string{e.Digest.String()}, e.Tags...), ":")+fmt.Sprint(" ", e.Image.Size))
	}
	slices.Sort(out)
	return out
}
