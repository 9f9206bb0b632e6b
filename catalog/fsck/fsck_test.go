package fsck

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/bolt"
	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/catalog/index/indextest"
	"github.com/berth-oci/berth/storage"
)

func init() { recess = time.Millisecond }

// registry is a storage and an index with something in them.
type registry struct {
	*indextest.World
	t *testing.T

	kept, child, parent, referrer, long digest.Digest
	blob                                digest.Digest
}

const repository = "alice/app"

func newIndex(t *testing.T) index.Index {
	t.Helper()
	x, err := bolt.Build(filepath.Join(t.TempDir(), "catalog.db"), "test", func(*bolt.Index) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	})
	return x
}

func newRegistry(t *testing.T) *registry {
	t.Helper()
	r := &registry{World: indextest.NewWorld(t, newIndex(t)), t: t}
	r.must(r.Recover(context.Background()))
	push := func(repository, name string) digest.Digest {
		for _, blob := range [][]byte{indextest.Config(name), indextest.ROM(name)} {
			r.must(r.Upload(repository, blob))
		}
		d := r.Unikernel(name)
		r.must(r.Put(repository, storage.Intent{Put: d, Tags: []string{name}}))
		return d
	}
	r.kept, r.child = push(repository, "kept"), push(repository, "child")
	push("bob/app", "other")
	r.parent = r.IndexOf(r.child)
	r.must(r.Put(repository, storage.Intent{Put: r.parent, Tags: []string{"latest"}}))
	r.referrer = r.Manifest(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "artifactType": "application/x",
		"config": map[string]any{"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest.FromString("{}"), "size": 2},
		"layers": []any{}, "subject": map[string]any{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": r.kept, "size": 1},
	})
	r.must(r.Upload(repository, []byte("{}")))
	r.must(r.Put(repository, storage.Intent{Put: r.referrer}))
	r.long = digest.SHA512.FromString("any")
	r.must(r.Put(repository, storage.Intent{Put: r.kept, As: r.long, Tags: []string{"long"}}))
	r.blob = digest.FromBytes(indextest.ROM("kept"))
	return r
}

func (r *registry) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// check runs fsck with an index that may lie.
func (r *registry) check(x index.Index, repair, deep bool) ([]Finding, Summary) {
	r.t.Helper()
	var found []Finding
	summary, err := Run(context.Background(), Options{
		Store: r.Store, Index: x, Catalog: r.Catalog, Deep: deep, Repair: repair,
		Another: func(fn func(index.Index) error) error { return fn(newIndex(r.t)) },
		Found:   func(f Finding) { found = append(found, f) }, Progress: func(Summary) {}, Log: slog.New(slog.DiscardHandler),
	})
	r.must(err)
	return found, summary
}

// publish tells the index what is not so.
func (r *registry) publish(u index.Update) {
	r.t.Helper()
	ctx := context.Background()
	l, err := r.Index.Acquire(ctx, repository)
	r.must(err)
	_, err = r.Index.Publish(ctx, l, u)
	r.must(errors.Join(err, r.Index.Release(ctx, l)))
}

func (r *registry) path(d digest.Digest) string {
	return "blobs/sha256/" + d.Encoded()[:2] + "/" + d.Encoded() + "/data"
}

func (r *registry) remove(path string) {
	r.t.Helper()
	r.must(r.Store.Driver().Delete(context.Background(), "/docker/registry/v2/"+path))
}

// files are all paths that are stored.
func (r *registry) files() map[string]string {
	r.t.Helper()
	all := map[string]string{}
	var walk func(string)
	walk = func(folder string) {
		entries, err := r.Store.Driver().List(context.Background(), folder)
		r.must(err)
		for _, entry := range entries {
			entry = path.Join(folder, path.Base(entry))
			info, err := r.Store.Driver().Stat(context.Background(), entry)
			r.must(err)
			if info.IsDir() {
				walk(entry)
				continue
			}
			content, err := r.Store.Driver().GetContent(context.Background(), entry)
			r.must(err)
			all[entry] = string(content)
		}
	}
	walk("/")
	return all
}

func revision(d digest.Digest) string {
	return "repositories/" + repository + "/_manifests/revisions/" + string(d.Algorithm()) + "/" + d.Encoded() + "/link"
}

func tagLink(tag string) string {
	return "repositories/" + repository + "/_manifests/tags/" + tag + "/current/link"
}

// description is what the index has of a manifest, near enough.
func (r *registry) description(d digest.Digest) image.Description {
	r.t.Helper()
	x := newIndex(r.t)
	content, modified, err := r.Store.Repository(repository).Manifest(context.Background(), d)
	r.must(err)
	m, err := image.Describe(context.Background(), image.Manifest{Digest: d, Bytes: content, Modified: modified}, stored{r.Store.Repository(repository)}, x)
	r.must(err)
	return m
}

// damages are the kinds of damage, each with what must be found of it and what
// is left after a repair.
var damages = []struct {
	name string
	do   func(r *registry)
	want []Kind // at least
	left []Kind // after the repair, exactly
	deep bool
}{
	{name: "nothing", do: func(*registry) {}},
	{name: "a blob that nothing refers to yet", do: func(r *registry) { r.must(r.Upload(repository, []byte("fresh"))) }},
	{name: "a tag is not in the index", do: func(r *registry) { r.publish(index.Update{Untag: []string{"latest"}}) }, want: []Kind{IndexTag, IndexList}},
	{name: "a tag points elsewhere in the index", do: func(r *registry) {
		r.publish(index.Update{Tag: map[string]digest.Digest{"latest": r.kept}})
	}, want: []Kind{IndexTag}},
	{name: "a tag was set at another time in the index", do: func(r *registry) {
		r.publish(index.Update{Tag: map[string]digest.Digest{"latest": r.parent}, Moved: map[string]time.Time{"latest": time.Unix(1, 0)}})
	}, want: []Kind{IndexTag}},
	{name: "a tag is not stored", do: func(r *registry) {
		r.publish(index.Update{Tag: map[string]digest.Digest{"never": r.kept}})
	}, want: []Kind{IndexTag}},
	{name: "a manifest is not in the index", do: func(r *registry) { r.publish(index.Update{Delete: []digest.Digest{r.parent}}) }, want: []Kind{IndexManifest, IndexTag, IndexChildren}},
	{name: "a manifest is not stored", do: func(r *registry) { r.remove(revision(r.referrer)) }, want: []Kind{IndexManifest, IndexReferrer}, left: []Kind{Unlinked}},
	{name: "another digest is not in the index", do: func(r *registry) { r.publish(index.Update{Unalias: []digest.Digest{r.long}}) }, want: []Kind{IndexAlias}},
	{name: "another digest is not stored", do: func(r *registry) {
		r.publish(index.Update{Alias: map[digest.Digest]digest.Digest{digest.SHA512.FromString("never"): r.kept}})
	}, want: []Kind{IndexAlias}},
	{name: "a blob is not in the index", do: func(r *registry) { r.publish(index.Update{Unlink: []digest.Digest{r.blob}}) }, want: []Kind{IndexLink}},
	{name: "a blob is not linked in storage", do: func(r *registry) { r.remove(indextest.LinkPath(repository, r.blob)) }, want: []Kind{IndexLink, IndexImage, Unlinked}, left: []Kind{Unlinked}},
	{name: "a blob has another size in the index", do: func(r *registry) {
		r.publish(index.Update{Link: map[digest.Digest]int64{r.blob: 1}})
	}, want: []Kind{IndexLink}},
	{name: "an index has other children", do: func(r *registry) {
		m := r.description(r.parent)
		m.Children = []digest.Digest{r.kept}
		r.publish(index.Update{Put: []image.Description{m}})
	}, want: []Kind{IndexChildren}},
	{name: "a manifest refers to other blobs", do: func(r *registry) {
		m := r.description(r.kept)
		m.Blobs = m.Blobs[:1]
		r.publish(index.Update{Put: []image.Description{m}})
	}, want: []Kind{IndexReference}},
	{name: "a manifest has another subject", do: func(r *registry) {
		m := r.description(r.referrer)
		m.Subject = r.parent
		r.publish(index.Update{Delete: []digest.Digest{r.referrer}})
		r.publish(index.Update{Put: []image.Description{m}})
	}, want: []Kind{IndexReferrer}},
	{name: "an image has another time", do: func(r *registry) {
		m := r.description(r.kept)
		m.Image.Created = m.Image.Created.Add(time.Hour)
		r.publish(index.Update{Put: []image.Description{m}})
	}, want: []Kind{IndexImage}},
	{name: "an image is none", do: func(r *registry) {
		m := r.description(r.kept)
		m.Image = nil
		r.publish(index.Update{Put: []image.Description{m}})
	}, want: []Kind{IndexImage, IndexList, IndexCount, IndexQuota}},
	{name: "the index has a repository that is not stored", do: func(r *registry) { r.remove("repositories/" + repository) }, want: []Kind{IndexManifest, IndexTag, IndexLink, Unlinked}, left: []Kind{Unlinked}},
	{name: "the index lacks a repository", do: func(r *registry) {
		r.LinkUntold("carol/app", indextest.Config("carol"))
		r.LinkUntold("carol/app", indextest.ROM("carol"))
		d := r.Unikernel("carol")
		r.Arrive("carol/app", d)
	}, want: []Kind{IndexManifest, IndexLink}},

	{name: "a tag that is no digest", do: func(r *registry) { r.Write(tagLink("latest"), []byte("nonsense")) }, want: []Kind{LinkDamaged}},
	{name: "a tag without a link", do: func(r *registry) { r.remove(tagLink("latest")) }, want: []Kind{LinkDamaged}},
	{name: "a tag of a manifest that is not there", do: func(r *registry) {
		r.Write(tagLink("latest"), []byte(digest.FromString("never")))
	}, want: []Kind{TagDangling}},
	{name: "a link of a manifest that is no digest", do: func(r *registry) { r.Write(revision(r.kept), []byte("nonsense")) }, want: []Kind{LinkDamaged}},
	{name: "a link of a manifest to another", do: func(r *registry) { r.Write(revision(r.kept), []byte(r.child)) }, want: []Kind{LinkDamaged}},
	{name: "a link of a blob that is no digest", do: func(r *registry) {
		r.Write(indextest.LinkPath(repository, r.blob), []byte(""))
	}, want: []Kind{LinkDamaged}},
	{name: "another digest's link that is no digest", do: func(r *registry) { r.Write(revision(r.long), []byte("nonsense")) }, want: []Kind{LinkDamaged}},
	{name: "the bytes of a blob are gone", do: func(r *registry) { r.remove(r.path(r.blob)) }, want: []Kind{BytesMissing, IndexLink}, left: []Kind{BytesMissing}},
	{name: "the bytes of a manifest are gone", do: func(r *registry) { r.remove(r.path(r.kept)) }, want: []Kind{BytesMissing, IndexManifest}, left: []Kind{BytesMissing}},
	{name: "other bytes of a manifest", do: func(r *registry) { r.Write(r.path(r.kept), []byte("other")) }, want: []Kind{BytesDamaged}, left: []Kind{Quarantined}},
	{name: "other bytes of a blob, of another size", do: func(r *registry) { r.Write(r.path(r.blob), []byte("other")) }, want: []Kind{IndexLink}, left: []Kind{Quarantined}, deep: true},
	{name: "other bytes of a blob", do: func(r *registry) {
		wrong := indextest.ROM("kept")
		wrong[0] ^= 1
		r.Write(r.path(r.blob), wrong)
	}, want: []Kind{BytesDamaged}, left: []Kind{Quarantined}, deep: true},
	{name: "bytes that nobody links", do: func(r *registry) { r.Blob([]byte("nobody's")) }, want: []Kind{Unlinked}, left: []Kind{Unlinked}},
	{name: "right bytes in quarantine", do: func(r *registry) {
		r.must(r.Store.Driver().PutContent(context.Background(), "/berth/quarantine/sha256/"+r.blob.Encoded()+"/x/data", indextest.ROM("kept")))
		r.remove(r.path(r.blob))
	}, want: []Kind{BytesMissing}},
}

func kindsOf(found []Finding) (kinds []Kind) {
	for _, f := range found {
		kinds = append(kinds, f.Kind)
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

// TestDamages does every kind of damage. It must be found and named, looking must
// change nothing, and a repair must mend it and delete nothing.
func TestDamages(t *testing.T) {
	for _, test := range damages {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRegistry(t)
			if found, _ := r.check(r.Index, false, true); len(found) != 0 {
				t.Fatalf("found on a registry that is well: %+v", found)
			}
			test.do(r)
			before := r.files()
			found, summary := r.check(r.Index, false, test.deep)
			for _, kind := range test.want {
				if summary.Kinds[kind] == 0 {
					t.Errorf("%s is not found, but %+v", kind, found)
				}
			}
			if len(test.want) == 0 && len(found) != 0 {
				t.Errorf("found %+v", found)
			}
			for _, f := range found {
				if f.Done != "" || f.Kind != Unlinked && f.Kind != IndexCount && f.Repository == "" {
					t.Errorf("found %+v", f)
				}
			}
			if after := r.files(); !maps.Equal(before, after) {
				t.Error("a check has changed what is stored")
			}

			repaired, _ := r.check(r.Index, true, true)
			after := r.files()
			for file, content := range before {
				kept := slices.ContainsFunc(slices.Collect(maps.Values(after)), func(c string) bool { return c == content })
				if !kept && !strings.HasSuffix(file, "/link") {
					t.Errorf("the repair has deleted %s", file)
				}
			}
			left, _ := r.check(r.Index, false, true)
			if got := kindsOf(left); !slices.Equal(got, test.left) {
				t.Errorf("after a repair that said %+v\nis left %+v\nwant %q", repaired, left, test.left)
			}
		})
	}
}
