package storagetest

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage"
)

var layoutTests = []test{
	{"empty", testEmpty}, {"repositories", testRepositories}, {"repeated names", testRepeated}, {"tags", testTags},
	{"a tag that begins another", testTagPrefix}, {"manifests", testManifests}, {"a manifest", testManifest},
	{"blobs", testBlobs}, {"aliases of blobs", testBlobAliases}, {"linking", testLinking},
	{"content", testContent}, {"seeking", testSeeking},
}

func (s *stored) wantError(what string, err, want error) {
	s.t.Helper()
	if !errors.Is(err, want) {
		s.t.Errorf("%s: got %v, want %v", what, err, want)
	}
}

func testEmpty(t *testing.T, s *stored) {
	if err := s.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	if got := s.names(); len(got) != 0 {
		t.Errorf("repositories: %v", got)
	}
	s.wantTags("a", nil)
	s.wantManifests("a")
	r := s.Repository("a")
	if blobs, err := r.Blobs(t.Context()); err != nil || len(blobs) != 0 {
		t.Errorf("blobs: %v, %v", blobs, err)
	}
	if aliases, err := r.BlobAliases(t.Context(), digest.FromString("x")); err != nil || len(aliases) != 0 {
		t.Errorf("aliases: %v, %v", aliases, err)
	}
}

func testRepositories(t *testing.T, s *stored) {
	for _, name := range []string{"b/c/d", "a", "b/c", "b.c/x", "b-/x", "a0/b__c-d"} {
		s.layer(name, "layer")
	}
	s.manifest("z", "manifest")
	s.put(repositories+"uploading/_uploads/id/startedat", "now")
	// In the order of their parts: b/c before b.c.
	if got, want := s.names(), []string{"a", "a0/b__c-d", "b/c", "b/c/d", "b.c/x", "z"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	stop := errors.New("enough")
	var seen []string
	err := s.Repositories(t.Context(), func(name string) error {
		seen = append(seen, name)
		return stop
	})
	if !errors.Is(err, stop) || len(seen) != 1 {
		t.Errorf("stopped after %v with %v", seen, err)
	}
}

func testRepeated(t *testing.T, s *stored) {
	if s.driver.Name() == "inmemory" {
		t.Skip("distribution's driver in memory does not find a folder that holds one of the same name")
	}
	for _, name := range []string{"a/a/a", "a/a"} {
		d := s.manifest(name, "manifest of "+name)
		s.tag(name, "tags", d)
		s.tag(name, "current", d)
		s.wantTags(name, map[string]digest.Digest{"tags": d, "current": d})
		s.wantManifests(name, d)
	}
	if got := s.names(); !slices.Equal(got, []string{"a/a", "a/a/a"}) {
		t.Errorf("repositories: %v", got)
	}
}

func testTags(t *testing.T, s *stored) {
	d, other := s.manifest("a/b", "manifest"), s.manifest("a/b", "other")
	want := map[string]digest.Digest{}
	for _, tag := range []string{"v1", "V1", "_x", "1.0-rc.1", "index", "current", "link", strings.Repeat("t", 128)} {
		s.tag("a/b", tag, d)
		want[tag] = d
	}
	s.tag("a/b", "v1", other)
	want["v1"] = other
	long := digest.SHA512.FromString("manifest")
	s.tag("a/b", "long", long)
	want["long"] = long
	s.tag("a", "elsewhere", d)
	s.wantTags("a/b", want)
}

// testTagPrefix has tags of which one begins the other, which a driver may take
// for its folder.
func testTagPrefix(t *testing.T, s *stored) {
	d := s.manifest("a", "manifest")
	s.tag("a", "1.2", d)
	want := map[string]digest.Digest{"1.2": d}
	s.wantTags("a", want)
	before := s.files(top)
	if err := s.Complete(t.Context(), storage.Intent{Repository: "a", Untag: []string{"1"}}); err != nil {
		t.Errorf("untag what is no tag: %v", err)
	}
	if got := changed(before, s.files(top)); len(got) != 0 {
		t.Errorf("untagging what is no tag changed %v", got)
	}
	s.tag("a", "1", d)
	s.wantTags("a", map[string]digest.Digest{"1.2": d, "1": d})
	if err := s.Complete(t.Context(), storage.Intent{Repository: "a", Untag: []string{"1"}}); err != nil {
		t.Error(err)
	}
	s.wantTags("a", want)
}

func testManifests(t *testing.T, s *stored) {
	m, n := s.manifest("a/b", "manifest"), s.manifest("a/b", "other")
	s.manifest("a", "elsewhere")
	gone := s.blob("bytes alone")
	long, longer, dangling := digest.SHA512.FromString("manifest"), digest.SHA384.FromString("manifest"), digest.SHA512.FromString("bytes alone")
	s.put(manifestLink("a/b", long), m.String())
	s.put(manifestLink("a/b", longer), m.String())
	s.put(manifestLink("a/b", dangling), gone.String())
	manifests, aliases, err := s.Repository("a/b").Manifests(t.Context())
	slices.Sort(manifests)
	want := []digest.Digest{m, n}
	slices.Sort(want)
	if err != nil || !slices.Equal(manifests, want) || !maps.Equal(aliases, map[digest.Digest]digest.Digest{long: m, longer: m}) {
		t.Errorf("got %v, %v, %v", manifests, aliases, err)
	}
	// A deletion removes a link, and may leave its folder.
	if err := s.Complete(t.Context(), storage.Intent{Repository: "a/b", Delete: []digest.Digest{m}}); err != nil {
		t.Fatal(err)
	}
	manifests, aliases, err = s.Repository("a/b").Manifests(t.Context())
	if err != nil || !slices.Equal(manifests, []digest.Digest{n}) || len(aliases) != 0 {
		t.Errorf("after a deletion: got %v, %v, %v", manifests, aliases, err)
	}
}

func testManifest(t *testing.T, s *stored) {
	ctx, r := t.Context(), s.Repository("a/b")
	begin := time.Now()
	m := s.manifest("a/b", "manifest")
	long := digest.SHA512.FromString("manifest")
	s.put(manifestLink("a/b", long), m.String())
	for _, d := range []digest.Digest{m, long} {
		content, modified, err := r.Manifest(ctx, d)
		if err != nil || string(content) != "manifest" {
			t.Errorf("%s: got %q, %v", d, content, err)
		}
		// Some know the time to the second, by a clock of their own.
		if age := modified.Sub(begin).Abs(); age > time.Hour || modified.Location() != time.UTC {
			t.Errorf("%s: stored at %s, want about %s", d, modified, begin.UTC())
		}
	}
	most := s.manifest("a/b", strings.Repeat("x", storage.MaxManifestBytes))
	if content, _, err := r.Manifest(ctx, most); err != nil || len(content) != storage.MaxManifestBytes {
		t.Errorf("the largest manifest: %d bytes, %v", len(content), err)
	}
	more := s.manifest("a/b", strings.Repeat("x", storage.MaxManifestBytes+1))
	_, _, err := r.Manifest(ctx, more)
	s.wantError("a manifest that is too large", err, storage.ErrTooLarge)
	// Content is only ever reached through a link: whoever knows a digest that
	// another repository has, or that is a layer, gets nothing.
	for what, d := range map[string]digest.Digest{
		"nothing": digest.FromString("nothing"), "no digest": "sha256:../../x", "a layer": s.layer("a/b", "layer"),
		"another's": s.manifest("a", "another's"), "bytes alone": s.blob("bytes alone"),
	} {
		_, _, err := r.Manifest(ctx, d)
		s.wantError(what, err, storage.ErrNotFound)
	}
}

func testBlobs(t *testing.T, s *stored) {
	ctx, r := t.Context(), s.Repository("a/b")
	l, empty := s.layer("a/b", "0123456789"), s.layer("a/b", "")
	long := digest.SHA512.FromString("0123456789")
	s.put(layerLink("a/b", long), l.String())
	gone := digest.FromString("gone")
	s.put(layerLink("a/b", gone), gone.String())
	another, m := s.layer("a", "another's"), s.manifest("a/b", "manifest")
	blobs, err := r.Blobs(ctx)
	if err != nil || !maps.Equal(blobs, map[digest.Digest]int64{l: 10, empty: 0, long: 10}) {
		t.Errorf("blobs: got %v, %v", blobs, err)
	}
	for d, want := range map[digest.Digest]string{l: "0123456789", empty: "", long: "0123456789"} {
		size, err := r.Size(ctx, d)
		if err != nil || size != int64(len(want)) {
			t.Errorf("size of %s: got %d, %v", d, size, err)
		}
		f, err := r.Open(ctx, d)
		if err != nil {
			t.Errorf("open %s: %v", d, err)
			continue
		}
		got, err := io.ReadAll(f)
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if err != nil || string(got) != want {
			t.Errorf("read %s: got %q, %v, want %q", d, got, err, want)
		}
	}
	for what, d := range map[string]digest.Digest{"gone": gone, "another's": another, "a manifest": m, "no digest": "sha256:../../x"} {
		_, err := r.Size(ctx, d)
		s.wantError("size of "+what, err, storage.ErrNotFound)
		_, err = r.Open(ctx, d)
		s.wantError("open "+what, err, storage.ErrNotFound)
	}
}

func testBlobAliases(t *testing.T, s *stored) {
	ctx, r := t.Context(), s.Repository("a")
	l, other := s.layer("a", "layer"), s.layer("a", "other")
	long, longer := digest.SHA512.FromString("layer"), digest.SHA384.FromString("layer")
	s.put(layerLink("a", long), l.String())
	s.put(layerLink("a", longer), l.String())
	s.put(layerLink("b", digest.SHA512.FromString("other")), other.String())
	aliases, err := r.BlobAliases(ctx, l)
	slices.Sort(aliases)
	if err != nil || !slices.Equal(aliases, []digest.Digest{longer, long}) {
		t.Errorf("aliases: got %v, %v", aliases, err)
	}
	if aliases, err := r.BlobAliases(ctx, other); err != nil || len(aliases) != 0 {
		t.Errorf("aliases of what has none: got %v, %v", aliases, err)
	}
	for _, d := range []digest.Digest{l, long, longer} {
		if got, err := r.Canonical(ctx, d); err != nil || got != l {
			t.Errorf("%s stands for %s, %v, want %s", d, got, err, l)
		}
	}
	_, err = r.Canonical(ctx, digest.SHA512.FromString("other"))
	s.wantError("what another repository links", err, storage.ErrNotFound)
}

func testLinking(t *testing.T, s *stored) {
	ctx, r := t.Context(), s.Repository("a")
	l, long := s.layer("a", "layer"), digest.SHA512.FromString("layer")
	for range 2 {
		if err := s.LinkBlob(ctx, "a", long, l); err != nil {
			t.Fatal(err)
		}
		if got, err := r.Canonical(ctx, long); err != nil || got != l {
			t.Errorf("got %s, %v, want %s", got, err, l)
		}
	}
	for range 2 {
		if err := s.Complete(ctx, storage.Intent{Repository: "a", Unlink: []digest.Digest{long}}); err != nil {
			t.Fatal(err)
		}
		_, err := r.Canonical(ctx, long)
		s.wantError("a link that is removed", err, storage.ErrNotFound)
	}
	if blobs, err := r.Blobs(ctx); err != nil || !maps.Equal(blobs, map[digest.Digest]int64{l: 5}) {
		t.Errorf("blobs: got %v, %v", blobs, err)
	}
}

func testContent(t *testing.T, s *stored) {
	ctx, content := t.Context(), s.Content()
	begin := time.Now()
	d, empty := s.blob("0123456789"), s.blob("")
	long := digest.SHA512.FromString("long")
	s.put(dataPath(long), "long")
	for d, want := range map[digest.Digest]string{d: "0123456789", empty: "", long: "long"} {
		info, err := content.Stat(ctx, d)
		if err != nil || info.Size != int64(len(want)) || info.Modified.Sub(begin).Abs() > time.Hour || info.Modified.Location() != time.UTC {
			t.Errorf("stat %s: got %+v, %v", d, info, err)
		}
		f, opened, err := content.Open(ctx, d)
		if err != nil || opened != info {
			t.Fatalf("open %s: got %+v, %v, want %+v", d, opened, err, info)
		}
		got, err := io.ReadAll(f)
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if err != nil || string(got) != want {
			t.Errorf("read %s: got %q, %v, want %q", d, got, err, want)
		}
	}
	for what, d := range map[string]digest.Digest{"nothing": digest.FromString("nothing"), "no digest": "sha256:../../x", "nothing at all": ""} {
		_, err := content.Stat(ctx, d)
		s.wantError("stat "+what, err, storage.ErrNotFound)
		_, _, err = content.Open(ctx, d)
		s.wantError("open "+what, err, storage.ErrNotFound)
	}
}

func testSeeking(t *testing.T, s *stored) {
	whole := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	d := s.layer("a", string(whole))
	f, err := s.Repository("a").Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size := int64(len(whole))
	for _, step := range []struct {
		offset int64
		whence int
		at     int64 // -1 for an error
	}{
		{0, io.SeekEnd, size}, {0, io.SeekStart, 0}, {5, io.SeekStart, 5}, {2, io.SeekCurrent, 10}, {-1, io.SeekEnd, size - 1},
		{-1, io.SeekStart, -1}, {size + 1, io.SeekStart, size + 1}, {7, io.SeekStart, 7}, {-8, io.SeekEnd, size - 8},
	} {
		at, err := f.Seek(step.offset, step.whence)
		if step.at < 0 {
			if err == nil {
				t.Errorf("seek to %d from %d succeeds", step.offset, step.whence)
			}
			continue
		}
		if err != nil || at != step.at {
			t.Fatalf("seek to %d from %d: got %d, %v, want %d", step.offset, step.whence, at, err, step.at)
		}
		want := whole[min(at, size):min(at+3, size)]
		got := make([]byte, len(want))
		if _, err := io.ReadFull(f, got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("at %d: got %q, %v, want %q", at, got, err, want)
		}
		if len(want) < 3 {
			if n, err := f.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("at the end: got %d bytes, %v", n, err)
			}
		}
	}
}
