package storagetest

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage"
)

var damageTests = []test{
	{"links", testDamagedLinks}, {"folders in place of links", testLinkFolders}, {"folders in place of bytes", testDataFolders},
	{"foreign files", testForeign},
}

// healthy is a repository that must read the same whatever lies around.
type healthy struct {
	manifest, manifestAs, layer, layerAs digest.Digest
}

func (s *stored) healthy() healthy {
	s.t.Helper()
	h := healthy{
		s.manifest("a/b", "manifest"), digest.SHA512.FromString("manifest"), s.layer("a/b", "layer"), digest.SHA512.FromString("layer"),
	}
	s.put(manifestLink("a/b", h.manifestAs), h.manifest.String())
	s.put(layerLink("a/b", h.layerAs), h.layer.String())
	s.tag("a/b", "v1", h.manifest)
	return h
}

// wantHealthy reads all that can be listed, and wants the healthy repository and
// not a file changed by that.
func (s *stored) wantHealthy(h healthy) {
	s.t.Helper()
	ctx, r := s.t.Context(), s.Repository("a/b")
	before := s.files("/")
	if got := s.names(); !slices.Equal(got, []string{"a/b"}) {
		s.t.Errorf("repositories: %q", got)
	}
	s.wantTags("a/b", map[string]digest.Digest{"v1": h.manifest})
	s.wantManifests("a/b", h.manifest)
	if _, aliases, err := r.Manifests(ctx); err != nil || !maps.Equal(aliases, map[digest.Digest]digest.Digest{h.manifestAs: h.manifest}) {
		s.t.Errorf("aliases of manifests: %v, %v", aliases, err)
	}
	if blobs, err := r.Blobs(ctx); err != nil || !maps.Equal(blobs, map[digest.Digest]int64{h.layer: 5, h.layerAs: 5}) {
		s.t.Errorf("blobs: %v, %v", blobs, err)
	}
	if aliases, err := r.BlobAliases(ctx, h.layer); err != nil || !slices.Equal(aliases, []digest.Digest{h.layerAs}) {
		s.t.Errorf("aliases of blobs: %v, %v", aliases, err)
	}
	if got := changed(before, s.files("/")); len(got) != 0 {
		s.t.Errorf("reading changed %v", got)
	}
}

// wantDamaged wants an error that says that something is there and cannot be
// what it should, and that stops nobody who can do without it.
func (s *stored) wantDamaged(what string, err error) {
	s.t.Helper()
	if !errors.Is(err, storage.ErrDamaged) || !errors.Is(err, storage.ErrNotFound) || err != nil && storage.CodeOf(err) != storage.Damaged {
		s.t.Errorf("%s: got %v, want damage", what, err)
	}
}

func testDamagedLinks(t *testing.T, s *stored) {
	h := s.healthy()
	for i, content := range []string{"", "no digest", "sha256:", "sha256:abc", "md5:d41d8cd98f00b204e9800998ecf8427e", h.layer.String() + "\n", "../../../data"} {
		short, long := digest.FromString(content), digest.SHA512.FromString(content)
		for _, d := range []digest.Digest{short, long} {
			s.put(manifestLink("a/b", d), content)
			s.put(layerLink("a/b", d), content)
		}
		s.put(tagCurrent("a/b", "bad"+string(rune('0'+i))), content)
		r := s.Repository("a/b")
		_, _, err := r.Manifest(t.Context(), short)
		s.wantDamaged("a manifest", err)
		_, err = r.Size(t.Context(), short)
		s.wantDamaged("a blob's size", err)
		_, err = r.Open(t.Context(), long)
		s.wantDamaged("a blob", err)
		_, err = r.Canonical(t.Context(), long)
		s.wantDamaged("a blob's digest", err)
		// It is stored, so it can be deleted; that is all.
		intent := storage.Intent{Repository: "a/b", Delete: []digest.Digest{short}}
		if manifests, _, err := r.Manifests(t.Context()); err != nil || !slices.Contains(manifests, short) {
			t.Errorf("a damaged manifest is not listed: %v, %v", manifests, err)
		}
		if err := s.Complete(t.Context(), intent); err != nil {
			t.Error(err)
		}
	}
	s.wantHealthy(h)
}

func testLinkFolders(t *testing.T, s *stored) {
	h := s.healthy()
	for _, d := range []digest.Digest{digest.FromString("x"), digest.SHA512.FromString("x")} {
		s.put(manifestLink("a/b", d)+"/x", d.String())
		s.put(layerLink("a/b", d)+"/x", d.String())
	}
	s.put(tagCurrent("a/b", "bad")+"/x", h.manifest.String())
	s.wantHealthy(h)
	_, err := s.Repository("a/b").Size(t.Context(), digest.FromString("x"))
	s.wantError("a folder in a link's place", err, storage.ErrNotFound)
}

func testDataFolders(t *testing.T, s *stored) {
	h := s.healthy()
	d, beside := digest.FromString("x"), digest.FromString("beside")
	for _, link := range []string{layerLink("a/b", d), layerLink("a/b", beside)} {
		s.put(link, d.String())
	}
	s.put(dataPath(d)+"/x", "x")
	_, err := s.Content().Stat(t.Context(), d)
	s.wantDamaged("stat", err)
	_, _, err = s.Content().Open(t.Context(), d)
	s.wantDamaged("open", err)
	_, err = s.Repository("a/b").Size(t.Context(), d)
	s.wantDamaged("size", err)
	// A file whose name only begins the same is no folder.
	s.put(layerLink("a/b", beside), beside.String())
	s.put(dataPath(beside)+".1", "x")
	_, err = s.Content().Stat(t.Context(), beside)
	if !errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrDamaged) {
		t.Errorf("a file beside the bytes: %v", err)
	}
	s.wantHealthy(h)
}

// testForeign has files and folders of others at every place, by names that
// could be ours: file managers, editors and people leave them.
func testForeign(t *testing.T, s *stored) {
	h := s.healthy()
	a := repositories + "a/"
	for _, folder := range []string{
		"/", "/docker/", "/docker/registry/", top + "/", top + "/blobs/", top + "/blobs/sha256/", repositories, a, a + "b/",
		a + "b/_manifests/", a + "b/_manifests/revisions/", a + "b/_manifests/revisions/sha256/", a + "b/_manifests/revisions/sha512/",
		a + "b/_manifests/tags/", tagFolder("a/b", "v1") + "/", tagFolder("a/b", "v1") + "/index/", tagFolder("a/b", "v1") + "/current/",
		a + "b/_layers/", a + "b/_layers/sha256/", a + "b/_layers/sha512/", a + "b/_uploads/",
	} {
		for _, name := range []string{"readme.txt", ".DS_Store", "folder/readme.txt", "folder/sub/file", "_Odd/Name/x"} {
			s.put(folder+name, "foreign")
		}
	}
	// Where an algorithm, a repository's own folders or a link are expected.
	for _, p := range []string{
		a + "b/_manifests/revisions/sha384", a + "b/_layers/sha384", a + "b/_manifests/revisions/sha1/link", a + "b/_layers/sha1/00/link",
		a + "b/_manifests/revisions/sha256/" + digest.FromString("file").Encoded(), a + "b/_layers/sha512/" + digest.SHA512.FromString("file").Encoded(),
		a + "b/_manifests/tags/half/current", a + "b/_manifests/tags/file", a + "b/_manifests/tags/-not.a.tag/current/link",
		repositories + "_manifests/revisions/x", repositories + "_layers/x", a + "c/_uploads", a + "d/_Manifests/x",
	} {
		s.put(p, h.manifest.String())
	}
	s.wantHealthy(h)
}
