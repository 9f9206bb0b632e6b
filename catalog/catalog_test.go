package catalog_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berth-oci/berth/catalog"
	"github.com/berth-oci/berth/catalog/bolt"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
)

const repository = "alice/app"

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// world is a catalog over real storage and a real index that can be made to
// fail.
type world struct {
	*catalog.Catalog
	t     *testing.T
	store *storage.Store
	index *failing
}

// failing fails the calls that write, from the one that is set on.
type failing struct {
	index.Index
	broken string // the name of the method that fails; "" for none
}

var errIndexBroken = errors.New("the index is broken")

func (f *failing) Begin(ctx context.Context, c storage.Intent) error {
	if f.broken == "Begin" {
		return errIndexBroken
	}
	return f.Index.Begin(ctx, c)
}

func (f *failing) Apply(ctx context.Context, u index.Update) error {
	if f.broken == "Apply" {
		return errIndexBroken
	}
	return f.Index.Apply(ctx, u)
}

func (f *failing) Touch(ctx context.Context, repository string) error {
	if f.broken == "Touch" {
		return errIndexBroken
	}
	return f.Index.Touch(ctx, repository)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	store, err := storage.Open(t.Context(), "filesystem", map[string]any{"rootdirectory": filepath.Join(dir, "storage")})
	if err != nil {
		t.Fatal(err)
	}
	x, err := bolt.Build(filepath.Join(dir, "catalog.db"), store.Identity(), func(*bolt.Index) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, store: store, index: &failing{Index: x}}
	w.Catalog = catalog.New(w.index, store, quiet)
	t.Cleanup(func() {
		if err := errors.Join(w.Close(), x.Close()); err != nil {
			t.Error(err)
		}
	})
	return w
}

// write puts content where distribution would.
func (w *world) write(path string, content []byte) {
	w.t.Helper()
	if err := w.store.Driver().PutContent(context.Background(), "/docker/registry/v2/"+path, content); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) blob(content []byte) digest.Digest {
	d := digest.FromBytes(content)
	w.write("blobs/sha256/"+d.Encoded()[:2]+"/"+d.Encoded()+"/data", content)
	return d
}

// link stores a blob in the repository, without telling the catalog.
func (w *world) link(content []byte) v1.Descriptor {
	d := w.blob(content)
	w.write("repositories/"+repository+"/_layers/sha256/"+d.Encoded()+"/link", []byte(d))
	return v1.Descriptor{Digest: d, Size: int64(len(content))}
}

// manifest makes a manifest, without linking it into the repository.
func (w *world) manifest(m any) digest.Digest {
	bytes, err := json.Marshal(m)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.blob(bytes)
}

// arrive links a manifest into the repository, as a push does.
func (w *world) arrive(d digest.Digest) {
	w.write("repositories/"+repository+"/_manifests/revisions/sha256/"+d.Encoded()+"/link", []byte(d))
}

// unikernel makes an image with one ROM, distinct by its name.
func (w *world) unikernel(name string) digest.Digest {
	config := w.link(fmt.Appendf(nil, `{"created":"2026-01-02T03:04:05Z","config":{"Cmd":["/%s"]}}`, name))
	config.MediaType = v1.MediaTypeImageConfig
	rom := w.link([]byte("rom of " + name))
	rom.MediaType = "application/vnd.unikraft.rom.v1"
	return w.manifest(map[string]any{
		"schemaVersion": 2, "mediaType": v1.MediaTypeImageManifest, "config": config, "layers": []v1.Descriptor{rom},
	})
}

func (w *world) indexOf(children ...digest.Digest) digest.Digest {
	var list []v1.Descriptor
	for _, c := range children {
		list = append(list, v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: c})
	}
	return w.manifest(map[string]any{"schemaVersion": 2, "mediaType": v1.MediaTypeImageIndex, "manifests": list})
}

// change does a change as the registry would: noted, done in storage, shown.
func (w *world) change(c storage.Intent) error {
	w.t.Helper()
	ctx := w.t.Context()
	ch, err := w.Begin(ctx, repository)
	if err != nil {
		return err
	}
	defer ch.Close()
	c.Repository = repository
	if err := ch.Intend(ctx, c); err != nil {
		return err
	}
	if c.Put != "" {
		w.arrive(c.Put)
	}
	return errors.Join(w.store.Complete(ctx, c), ch.Commit(ctx))
}

func (w *world) mustChange(c storage.Intent) {
	w.t.Helper()
	if err := w.change(c); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) delete(d digest.Digest) {
	w.t.Helper()
	ch, err := w.Begin(w.t.Context(), repository)
	if err != nil {
		w.t.Fatal(err)
	}
	plan, err := ch.Deletion(w.t.Context(), d)
	ch.Close()
	if err != nil {
		w.t.Fatal(err)
	}
	w.mustChange(plan)
}

// list is what is listed, as digest:tags.
func (w *world) list() []string {
	w.t.Helper()
	entries, cursor, err := w.List(w.t.Context(), index.Query{}, "", 100)
	if err != nil || cursor != "" {
		w.t.Fatal(cursor, err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, strings.Join(append([]string{e.Digest.String()}, e.Tags...), ":"))
	}
	slices.Sort(out)
	return out
}

func (w *world) want(what string, entries ...string) {
	w.t.Helper()
	slices.Sort(entries)
	if got := w.list(); !slices.Equal(got, entries) {
		w.t.Errorf("%s: listed are\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(entries, "\n"))
	}
}

func TestChildrenAndIndexes(t *testing.T) {
	w := newWorld(t)
	a, b := w.unikernel("a"), w.unikernel("b")
	w.mustChange(storage.Intent{Put: a, Tags: []string{"v1"}})
	w.want("child first, on the tag", a.String()+":v1")
	i := w.indexOf(a, b)
	w.mustChange(storage.Intent{Put: i, Tags: []string{"v1"}})
	w.want("index with one child stored", i.String()+":v1")
	e, err := w.Tagged(t.Context(), repository, "v1")
	if err != nil || len(e.Image.Platforms) != 2 || e.Image.Platforms[1].Size != 0 {
		t.Fatalf("%+v, %v", e, err)
	}
	w.mustChange(storage.Intent{Put: b})
	if e, err = w.Tagged(t.Context(), repository, "v1"); err != nil || e.Image.Platforms[1].Size == 0 {
		t.Errorf("the index is not described again when its child comes: %+v, %v", e, err)
	}
	w.want("index with both", i.String()+":v1")
	if _, err := w.Entry(t.Context(), repository, b); err != nil {
		t.Errorf("a child is found by its digest: %v", err)
	}
	w.mustChange(storage.Intent{Put: b, Tags: []string{"mine"}})
	w.want("child with a tag of its own", i.String()+":v1", b.String()+":mine")
	j := w.indexOf(i, a)
	w.mustChange(storage.Intent{Put: j, Tags: []string{"nested"}})
	w.want("index below an index", i.String()+":v1", b.String()+":mine", j.String()+":nested")

	w.delete(i)
	w.want("deleted: the outer index stays, a is held by it", j.String()+":nested", b.String()+":mine")
	w.delete(j)
	w.want("deleted: a goes with it, b has a tag", b.String()+":mine")
	if _, err := w.Entry(t.Context(), repository, a); !errors.Is(err, index.ErrNotFound) {
		t.Errorf("a is still there: %v", err)
	}
	if _, _, err := w.store.Repository(repository).Manifest(t.Context(), a); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("a is still in storage: %v", err)
	}
	w.mustChange(storage.Intent{Untag: []string{"mine"}})
	w.want("untagged", b.String())
}

func TestBlobOfStoredManifest(t *testing.T) {
	w := newWorld(t)
	a := w.unikernel("a")
	w.mustChange(storage.Intent{Put: a, Tags: []string{"v1"}})
	rom := digest.FromString("rom of a")
	size := func() int64 {
		e, err := w.Tagged(t.Context(), repository, "v1")
		if err != nil {
			t.Fatal(err)
		}
		return e.Image.Size
	}
	if size() != 8 {
		t.Fatalf("size is %d", size())
	}
	ch, err := w.Begin(t.Context(), repository)
	if err != nil {
		t.Fatal(err)
	}
	linkPath := "/docker/registry/v2/repositories/" + repository + "/_layers/sha256/" + rom.Encoded() + "/link"
	// The link came without the catalog's knowledge; make it known first.
	if err := ch.Blob(t.Context(), func() (digest.Digest, error) { return rom, nil }); err != nil {
		t.Fatal(err)
	}
	err = ch.Blob(t.Context(), func() (digest.Digest, error) { return rom, w.store.Driver().Delete(t.Context(), linkPath) })
	ch.Close()
	if err != nil || size() != 0 {
		t.Fatalf("after the blob went: size %d, %v", size(), err)
	}
	err = w.Blob(t.Context(), repository, func() (digest.Digest, error) { w.link([]byte("rom of a")); return rom, nil })
	if err != nil || size() != 8 {
		t.Fatalf("after the blob came back: size %d, %v", size(), err)
	}
}

// TestIndexFails checks that a change which cannot be shown is reported, and
// that no answer is wrong after.
func TestIndexFails(t *testing.T) {
	for _, broken := range []string{"Begin", "Apply"} {
		w := newWorld(t)
		a, b := w.unikernel("a"), w.unikernel("b")
		w.mustChange(storage.Intent{Put: a, Tags: []string{"v1"}})
		w.index.broken = broken
		if err := w.change(storage.Intent{Put: b, Tags: []string{"v1"}}); !errors.Is(err, errIndexBroken) {
			t.Fatalf("%s: the failure is not reported: %v", broken, err)
		}
		if broken == "Apply" {
			if _, err := w.Tagged(t.Context(), repository, "v1"); err == nil {
				t.Error("an answer from an index that could not be told")
			}
		}
		w.index.broken = ""
		if broken == "Begin" {
			w.want("nothing was touched", a.String()+":v1")
		} else {
			w.want("read again from storage", a.String(), b.String()+":v1")
		}
	}
	w := newWorld(t)
	w.index.broken = "Touch"
	err := w.Blob(t.Context(), repository, func() (digest.Digest, error) {
		t.Error("storage is touched without a note")
		return "", nil
	})
	if !errors.Is(err, errIndexBroken) {
		t.Errorf("the failure is not reported: %v", err)
	}
	w.index.broken = ""
	if err := w.Blob(t.Context(), repository, func() (digest.Digest, error) { return "", nil }); err != nil {
		t.Error(err)
	}
}

// TestRecover cuts changes in two, as a crash would, at every place.
func TestRecover(t *testing.T) {
	type step func(w *world, a, i, child digest.Digest)
	intend := func(w *world, c storage.Intent) {
		c.Repository = repository
		if err := w.index.Begin(w.t.Context(), c); err != nil {
			w.t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		crash step
		want  func(a, i, child digest.Digest) []string
	}{
		"before the manifest came": {
			func(w *world, a, _, _ digest.Digest) {
				intend(w, storage.Intent{Put: digest.FromString("never came"), Tags: []string{"v1"}})
			},
			func(a, i, _ digest.Digest) []string { return []string{a.String() + ":v1", i.String() + ":v2"} },
		},
		"between manifest and tag": {
			func(w *world, a, _, _ digest.Digest) {
				c := w.unikernel("c")
				intend(w, storage.Intent{Put: c, Tags: []string{"v1"}})
				w.arrive(c)
			},
			func(a, i, _ digest.Digest) []string {
				return []string{a.String(), i.String() + ":v2", "c:v1"}
			},
		},
		"within a tag": {
			func(w *world, a, _, _ digest.Digest) {
				w.write("repositories/"+repository+"/_manifests/tags/v9/index/sha256/"+a.Encoded()+"/link", []byte(a))
				intend(w, storage.Intent{Put: a, Tags: []string{"v9"}})
			},
			func(a, i, _ digest.Digest) []string { return []string{a.String() + ":v1:v9", i.String() + ":v2"} },
		},
		"within a deletion": {
			func(w *world, _, i, child digest.Digest) {
				intend(w, storage.Intent{Untag: []string{"v2"}, Delete: []digest.Digest{i, child}})
				err := w.store.Complete(w.t.Context(), storage.Intent{Repository: repository, Untag: []string{"v2"}, Delete: []digest.Digest{i}})
				if err != nil {
					w.t.Fatal(err)
				}
			},
			func(a, _, _ digest.Digest) []string { return []string{a.String() + ":v1"} },
		},
		"after the last step": {
			func(w *world, a, _, _ digest.Digest) {
				s := storage.Intent{Repository: repository, Untag: []string{"v1"}}
				intend(w, s)
				if err := w.store.Complete(w.t.Context(), s); err != nil {
					w.t.Fatal(err)
				}
			},
			func(a, i, _ digest.Digest) []string { return []string{a.String(), i.String() + ":v2"} },
		},
	} {
		w := newWorld(t)
		a, child := w.unikernel("a"), w.unikernel("child")
		i := w.indexOf(child)
		w.mustChange(storage.Intent{Put: a, Tags: []string{"v1"}})
		w.mustChange(storage.Intent{Put: child})
		w.mustChange(storage.Intent{Put: i, Tags: []string{"v2"}})
		c.crash(w, a, i, child)
		if err := w.Recover(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := c.want(a, i, child)
		for n := range want {
			if tag, ok := strings.CutPrefix(want[n], "c:"); ok {
				want[n] = w.unikernel("c").String() + ":" + tag
			}
		}
		w.want(name, want...)
		if pending, err := w.index.Pending(t.Context()); err != nil || len(pending) != 0 {
			t.Errorf("%s: still pending: %v, %v", name, pending, err)
		}
		w.wantAsRebuilt(name)
	}
}

// wantAsRebuilt compares with an index that is made from storage.
func (w *world) wantAsRebuilt(what string) {
	w.t.Helper()
	x, err := bolt.Build(filepath.Join(w.t.TempDir(), "catalog.db"), w.store.Identity(), func(x *bolt.Index) error {
		c := catalog.New(x, w.store, quiet)
		return errors.Join(c.Rebuild(w.t.Context(), func(int, int) {}), c.Close())
	})
	if err != nil {
		w.t.Fatal(err)
	}
	defer x.Close()
	rebuilt := &world{Catalog: catalog.New(x, w.store, quiet), t: w.t}
	defer rebuilt.Close()
	if got, want := w.list(), rebuilt.list(); !slices.Equal(got, want) {
		w.t.Errorf("%s: listed are\n%s\nand from storage\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestOneOrder(t *testing.T) {
	w := newWorld(t)
	first, err := w.Begin(t.Context(), repository)
	if err != nil {
		t.Fatal(err)
	}
	if other, err := w.Begin(t.Context(), "bob/x"); err != nil {
		t.Fatal("another repository waits", err)
	} else {
		other.Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := w.Begin(ctx, repository); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("two changes at once: %v", err)
	}
	done := make(chan error)
	go func() {
		second, err := w.Begin(t.Context(), repository)
		if err == nil {
			second.Close()
		}
		done <- err
	}()
	first.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
