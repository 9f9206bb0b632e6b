package storage

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/s3-aws"
	"github.com/opencontainers/go-digest"

	_ "github.com/berth-oci/berth/storage/local"
)

// stores opens one store of each kind that needs nothing else.
func stores(t *testing.T) map[string]*Store {
	t.Helper()
	out := map[string]*Store{}
	for kind, parameters := range map[string]map[string]any{
		"filesystem": {"rootdirectory": t.TempDir()}, "inmemory": {},
	} {
		s, err := Open(t.Context(), kind, parameters)
		if err != nil {
			t.Fatal(err)
		}
		out[kind] = s
	}
	return out
}

func put(t *testing.T, s *Store, path, content string) {
	t.Helper()
	if err := s.driver.PutContent(t.Context(), path, []byte(content)); err != nil {
		t.Fatal(err)
	}
}

func putBlob(t *testing.T, s *Store, content string) digest.Digest {
	d := digest.FromString(content)
	put(t, s, blobPath(d), content)
	return d
}

func TestRepository(t *testing.T) {
	for kind, s := range stores(t) {
		ctx := t.Context()
		if err := s.Ready(ctx); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		m, l := putBlob(t, s, "manifest"), putBlob(t, s, "0123456789")
		put(t, s, revisionLink("b/c", m), m.String())
		put(t, s, layerLink("b/c", l), l.String())
		put(t, s, layerLink("b/c", digest.FromString("bytes that are gone")), digest.FromString("bytes that are gone").String())
		put(t, s, layerLink("a", l), l.String())
		put(t, s, repositories+"/_odd/Name/x", "")
		var names []string
		err := s.Repositories(ctx, func(name string) error { names = append(names, name); return nil })
		if err != nil || !slices.Equal(names, []string{"a", "b/c"}) {
			t.Errorf("%s: repositories %v, %v", kind, names, err)
		}
		r := s.Repository("b/c")
		long := digest.SHA512.FromString("manifest")
		put(t, s, revisionLink("b/c", long), m.String())
		got, aliases, err := r.Manifests(ctx)
		if err != nil || !slices.Equal(got, []digest.Digest{m}) || len(aliases) != 1 || aliases[long] != m {
			t.Errorf("%s: manifests %v, %v, %v", kind, got, aliases, err)
		}
		if got, err := r.Blobs(ctx); err != nil || len(got) != 1 || got[l] != 10 {
			t.Errorf("%s: blobs %v, %v", kind, got, err)
		}
		content, modified, err := r.Manifest(ctx, m)
		if err != nil || string(content) != "manifest" || modified.IsZero() {
			t.Errorf("%s: manifest %q %v, %v", kind, content, modified, err)
		}
		// What another repository stored is not here, whoever knows its digest.
		if _, err := s.Repository("a").Size(ctx, m); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: a blob without a link: %v", kind, err)
		}
		if _, _, err := r.Manifest(ctx, l); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: a layer as a manifest: %v", kind, err)
		}
		if _, err := r.Open(ctx, "sha256:../../x"); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: no digest: %v", kind, err)
		}
		large := putBlob(t, s, strings.Repeat("x", MaxManifestBytes+1))
		put(t, s, revisionLink("b/c", large), large.String())
		if _, _, err := r.Manifest(ctx, large); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: a manifest that is too large: %v", kind, err)
		}
		checkReader(t, r, l)
	}
}

func checkReader(t *testing.T, r Repository, d digest.Digest) {
	t.Helper()
	f, err := r.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	read := func(n int) string {
		p := make([]byte, n)
		k, err := io.ReadFull(f, p)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		return string(p[:k])
	}
	for _, step := range []struct {
		offset int64
		whence int
		want   string
	}{{0, io.SeekStart, "012"}, {2, io.SeekCurrent, "567"}, {-1, io.SeekEnd, "9"}, {1, io.SeekStart, "123"}, {5, io.SeekEnd, ""}} {
		if _, err := f.Seek(step.offset, step.whence); err != nil {
			t.Fatal(err)
		}
		if got := read(3); got != step.want {
			t.Errorf("after seek %d, %d: %q, want %q", step.offset, step.whence, got, step.want)
		}
	}
	if _, err := f.Seek(-1, io.SeekStart); err == nil {
		t.Error("seek before the start succeeds")
	}
}

func TestTags(t *testing.T) {
	for kind, s := range stores(t) {
		d := putBlob(t, s, "manifest")
		put(t, s, tagCurrentLink("a/b", "v1"), d.String())
		put(t, s, tagIndexLink("a/b", "half", d), d.String())
		for range 2 {
			tags, err := s.Repository("a/b").Tags(t.Context())
			if err != nil || len(tags) != 1 || tags["v1"] != d {
				t.Errorf("%s: tags %v, %v", kind, tags, err)
			}
		}
		// It is not listed, stays as it is, and its change finishes it.
		if there, err := s.isFile(t.Context(), tagIndexLink("a/b", "half", d)); err != nil || !there {
			t.Errorf("%s: reading removes the unfinished tag: %v", kind, err)
		}
		put(t, s, revisionLink("a/b", d), d.String())
		if err := s.Complete(t.Context(), Intent{Repository: "a/b", Put: d, Tags: []string{"half"}}); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if tags, err := s.Repository("a/b").Tags(t.Context()); err != nil || len(tags) != 2 || tags["half"] != d {
			t.Errorf("%s: the unfinished tag is not finished: %v, %v", kind, tags, err)
		}
		if err := s.Complete(t.Context(), Intent{Repository: "a/b", Untag: []string{"half"}}); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		put(t, s, tagCurrentLink("a/b", "bad"), "no digest")
		tags, err := s.Repository("a/b").Tags(t.Context())
		there, err2 := s.isFile(t.Context(), tagCurrentLink("a/b", "bad"))
		if err != nil || err2 != nil || len(tags) != 1 || !there {
			t.Errorf("%s: a damaged tag stops the others, or is removed: %v, %v, %v, %v", kind, tags, err, there, err2)
		}
	}
}

// TestTagTime wants when a tag was set, and nothing of a tag that is none.
func TestTagTime(t *testing.T) {
	for kind, s := range stores(t) {
		before := time.Now().Add(-time.Second) // a file system may count in seconds
		put(t, s, tagCurrentLink("b/c", "v1"), digest.FromString("x").String())
		put(t, s, tagCurrentLink("b/c", "folder")+"/file", "x")
		at, err := s.Repository("b/c").TagTime(t.Context(), "v1")
		if err != nil || at.Before(before) || at.After(time.Now().Add(time.Second)) {
			t.Errorf("%s: %v, %v", kind, at, err)
		}
		for _, tag := range []string{"v", "v2", "folder"} {
			if at, err := s.Repository("b/c").TagTime(t.Context(), tag); !errors.Is(err, ErrNotFound) {
				t.Errorf("%s: %s: %v, %v", kind, tag, at, err)
			}
		}
	}
}

func TestComplete(t *testing.T) {
	for kind, s := range stores(t) {
		a, b := putBlob(t, s, "a"), putBlob(t, s, "b")
		put(t, s, revisionLink("r", a), a.String())
		put(t, s, revisionLink("r", b), b.String())
		put(t, s, tagCurrentLink("r", "old"), b.String())
		c := Intent{Repository: "r", Put: a, Tags: []string{"new"}, As: digest.SHA512.FromString("a"), Untag: []string{"old", "absent"}, Delete: []digest.Digest{b, digest.FromString("absent")}}
		for range 2 { // completing what is complete changes nothing
			if err := s.Complete(t.Context(), c); err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			tags, _ := s.Repository("r").Tags(t.Context())
			manifests, aliases, _ := s.Repository("r").Manifests(t.Context())
			if len(tags) != 1 || tags["new"] != c.As || aliases[c.As] != a || !slices.Equal(manifests, []digest.Digest{a}) {
				t.Errorf("%s: tags %v, manifests %v", kind, tags, manifests)
			}
		}
		never := Intent{Repository: "r", Put: digest.FromString("never came"), Tags: []string{"new"}}
		if err := s.Complete(t.Context(), never); err != nil {
			t.Fatal(err)
		}
		if tags, _ := s.Repository("r").Tags(t.Context()); tags["new"] != c.As {
			t.Errorf("%s: a tag points to what never came", kind)
		}
	}
}

func TestIdentity(t *testing.T) {
	open := func(kind string, p map[string]any) string {
		return identity(kind, p)
	}
	same := open("s3", map[string]any{"bucket": "a", "secretkey": "hunter2", "region": "x"})
	if same != open("s3", map[string]any{"region": "x", "bucket": "a", "secretkey": "other"}) {
		t.Error("the secret makes another place")
	}
	if strings.Contains(same, "hunter2") {
		t.Error("the identity holds a secret")
	}
	if same == open("s3", map[string]any{"bucket": "b", "region": "x"}) {
		t.Error("two buckets are one place")
	}
	if first, second := open("inmemory", nil), open("inmemory", nil); first == second {
		t.Error("two memories are one place")
	}
}

// TestRedirects checks that clients are sent to a bucket for bytes alone.
func TestRedirects(t *testing.T) {
	s, err := Open(t.Context(), "s3", map[string]any{
		"regionendpoint": "http://127.0.0.1:1", "region": "us-east-1", "forcepathstyle": true,
		"bucket": "images", "accesskey": "a", "secretkey": "b",
	})
	if err != nil {
		t.Fatal(err)
	}
	for method, want := range map[string]string{http.MethodGet: "http://127.0.0.1:1/images/x?", http.MethodHead: ""} {
		r := httptest.NewRequest(method, "/", nil)
		got, err := s.Driver().RedirectURL(r, "/x")
		if before, _, _ := strings.Cut(got, "X-Amz-"); err != nil || before != want {
			t.Errorf("%s: redirected to %q, %v", method, got, err)
		}
	}
}

func TestOpenFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for kind, p := range map[string]map[string]any{"nonesuch": {}, "filesystem": {"rootdirectory": file}} {
		if _, err := Open(context.Background(), kind, p); err == nil {
			t.Errorf("%s opens", kind)
		}
	}
}
