package image_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/storage"
)

const (
	ociManifest    = "application/vnd.oci.image.manifest.v1+json"
	ociIndex       = "application/vnd.oci.image.index.v1+json"
	ociConfig      = "application/vnd.oci.image.config.v1+json"
	ociTar         = "application/vnd.oci.image.layer.v1.tar"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerTar      = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	romType        = "application/vnd.unikraft.rom.v1"
)

// modified is when every manifest of a memContent was stored.
var modified = time.Date(2025, 5, 4, 3, 2, 1, 0, time.FixedZone("elsewhere", 2*60*60))

// memContent is a repository in memory, which counts what is asked of it.
type memContent struct {
	blobs     map[digest.Digest][]byte
	manifests map[digest.Digest][]byte
	// fail is called before each answer; its error is the answer.
	fail func(op string, dgst digest.Digest) error

	sizes map[digest.Digest]int
	opens map[digest.Digest]int
	read  int64
}

func newContent() *memContent {
	return &memContent{
		blobs:     map[digest.Digest][]byte{},
		manifests: map[digest.Digest][]byte{},
		sizes:     map[digest.Digest]int{},
		opens:     map[digest.Digest]int{},
	}
}

func (m *memContent) check(op string, dgst digest.Digest) error {
	if err := dgst.Validate(); err != nil {
		panic(fmt.Sprintf("%s of an invalid digest %q", op, dgst))
	}
	if m.fail != nil {
		return m.fail(op, dgst)
	}
	return nil
}

func (m *memContent) Manifest(_ context.Context, dgst digest.Digest) (image.Manifest, error) {
	if err := m.check("manifest", dgst); err != nil {
		return image.Manifest{}, err
	}
	b, ok := m.manifests[dgst]
	if !ok {
		return image.Manifest{}, fmt.Errorf("manifest %s: %w", dgst, storage.ErrNotFound)
	}
	return image.Manifest{Digest: dgst, Bytes: b, Modified: modified}, nil
}

func (m *memContent) Size(_ context.Context, dgst digest.Digest) (int64, error) {
	if err := m.check("size", dgst); err != nil {
		return 0, err
	}
	m.sizes[dgst]++
	b, ok := m.blobs[dgst]
	if !ok {
		return 0, fmt.Errorf("blob %s: %w", dgst, storage.ErrNotFound)
	}
	return int64(len(b)), nil
}

func (m *memContent) Open(_ context.Context, dgst digest.Digest) (io.ReadSeekCloser, error) {
	if err := m.check("open", dgst); err != nil {
		return nil, err
	}
	m.opens[dgst]++
	b, ok := m.blobs[dgst]
	if !ok {
		return nil, fmt.Errorf("blob %s: %w", dgst, storage.ErrNotFound)
	}
	return &memBlob{Reader: bytes.NewReader(b), content: m, dgst: dgst}, nil
}

type memBlob struct {
	*bytes.Reader
	content *memContent
	dgst    digest.Digest
}

func (m *memBlob) Read(p []byte) (int, error) {
	if err := m.content.check("read", m.dgst); err != nil {
		return 0, err
	}
	n, err := m.Reader.Read(p)
	m.content.read += int64(n)
	return n, err
}

func (m *memBlob) Seek(offset int64, whence int) (int64, error) {
	if err := m.content.check("seek", m.dgst); err != nil {
		return 0, err
	}
	pos, err := m.Reader.Seek(offset, whence)
	if err == nil && pos > m.Size() {
		err = errors.New("seek beyond the end of a blob")
	}
	return pos, err
}

func (m *memBlob) Close() error { return nil }

// blob stores b.
func (m *memContent) blob(b []byte) digest.Digest {
	dgst := digest.FromBytes(b)
	m.blobs[dgst] = b
	return dgst
}

// manifest stores v as JSON, or as it is if it is a string or bytes.
func (m *memContent) manifest(v any) image.Manifest {
	var b []byte
	switch v := v.(type) {
	case string:
		b = []byte(v)
	case []byte:
		b = v
	default:
		b = mustJSON(v)
	}
	dgst := digest.FromBytes(b)
	m.manifests[dgst] = b
	return image.Manifest{Digest: dgst, Bytes: b, Modified: modified}
}

// object is JSON in the making.
type object map[string]any

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// desc is a descriptor, with a size that lies.
func desc(mediaType string, dgst digest.Digest, more ...object) object {
	o := object{"mediaType": mediaType, "digest": dgst, "size": 32}
	for _, m := range more {
		for k, v := range m {
			o[k] = v
		}
	}
	return o
}

func annotated(kv ...string) object {
	annotations := object{}
	for i := 0; i < len(kv); i += 2 {
		annotations[kv[i]] = kv[i+1]
	}
	return object{"annotations": annotations}
}

func on(os, architecture string) object {
	return object{"platform": object{"os": os, "architecture": architecture}}
}

var (
	kernelMark = annotated("org.unikraft.kernel.image", "/unikraft/bin/kernel")
	initrdMark = annotated("org.unikraft.kernel.initrd", "/unikraft/bin/initrd")
	debugMark  = annotated("org.unikraft.kernel.imagedbg", "/unikraft/bin/kernel.dbg")
)

// image is an OCI manifest of a config, given as JSON, and layers.
func (m *memContent) image(config any, layers ...object) image.Manifest {
	return m.manifest(object{
		"schemaVersion": 2,
		"mediaType":     ociManifest,
		"config":        desc(ociConfig, m.blob(mustJSON(config))),
		"layers":        layers,
	})
}

func (m *memContent) index(manifests ...object) image.Manifest {
	return m.manifest(object{"schemaVersion": 2, "mediaType": ociIndex, "manifests": manifests})
}

// memMemory is a LayerCache.
type memMemory struct {
	mu    sync.Mutex
	parts map[digest.Digest]image.Parts
}

func newMemory() *memMemory { return &memMemory{parts: map[digest.Digest]image.Parts{}} }

func (m *memMemory) Recall(dgst digest.Digest) (image.Parts, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.parts[dgst]
	return p, ok
}

func (m *memMemory) Remember(dgst digest.Digest, parts image.Parts) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.parts[dgst] = parts
}

// describe fails the test on an error.
func describe(t testing.TB, c *memContent, m image.Manifest) image.Description {
	t.Helper()
	d, err := whole(t.Context(), m, c, nil)
	if err != nil {
		t.Fatalf("Describe: %v", err)
	}
	return d
}

// whole describes a manifest, and all below it, and composes what it is, as an
// index does it that was told of each of them.
func whole(ctx context.Context, m image.Manifest, c *memContent, memory image.LayerCache) (image.Description, error) {
	told := make(map[digest.Digest]*image.Description)
	top, err := image.Describe(ctx, m, c, memory)
	if err != nil || top.Image != nil {
		return top, err
	}
	top.Image, err = image.Compose(&top, func(dgst digest.Digest) (*image.Description, error) {
		if d, ok := told[dgst]; ok {
			return d, nil
		}
		m, err := c.Manifest(ctx, dgst)
		if errors.Is(err, storage.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		d, err := image.Describe(ctx, m, c, memory)
		told[dgst] = &d
		return &d, err
	})
	return top, err
}

// mustImage fails the test if m is not a unikernel.
func mustImage(t testing.TB, c *memContent, m image.Manifest) *image.Image {
	t.Helper()
	d := describe(t, c, m)
	if d.Image == nil {
		t.Fatal("Describe: no image, want one")
	}
	return d.Image
}

// layout reads a fixture: its content, and the index that its tag points to.
func layout(t testing.TB, name string) (*memContent, image.Manifest) {
	t.Helper()
	root := filepath.Join("..", "..", "test", "testdata", name)
	c := newContent()
	err := fs.WalkDir(os.DirFS(root), "blobs/sha256", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(root, path))
		dgst := digest.NewDigestFromEncoded(digest.SHA256, e.Name())
		c.blobs[dgst] = b
		if json.Valid(b) {
			c.manifests[dgst] = b
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var index struct {
		Manifests []struct{ Digest digest.Digest }
	}
	b, err := os.ReadFile(filepath.Join(root, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &index); err != nil {
		t.Fatal(err)
	}
	m, err := c.Manifest(t.Context(), index.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return c, m
}

// same compares by what is stored: the JSON form.
func same(t *testing.T, got, want any) {
	t.Helper()
	g, err := json.MarshalIndent(got, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	w, err := json.MarshalIndent(want, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(g, w) {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
}
