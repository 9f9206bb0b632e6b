package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// TestDamage overwrites every page of an index in turn, with zeros, with others'
// bytes, with its neighbour, and cuts the file off there. Whatever is done then
// ends with an error that says so, or is right; nothing panics or hangs, and the
// next start is told to build the index anew. Where TEST_REQUIRE does not ask for crash
// it does every third of these.
func TestDamage(t *testing.T) {
	const images = 20
	dir := t.TempDir()
	path := filepath.Join(dir, "catalog.db")
	x, err := Build(path, place1, func(x *Index) error {
		for i := range images {
			push(t, x, sampleOf(i*imagesPerRepository))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := seen(t, x)
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	random := rand.NewChaCha8([32]byte{1})
	met, tried, each := 0, 0, 3 // every third, and so in time every kind
	if slices.Contains(strings.Split(os.Getenv("TEST_REQUIRE"), ","), "crash") {
		each = 1
	}
	for at, n := 0, 0; at < len(whole); at += page {
		for _, kind := range []struct {
			name   string
			damage func([]byte) []byte
		}{
			{"zeros", func(b []byte) []byte { clear(b[at : at+page]); return b }},
			{"garbage", func(b []byte) []byte { _, _ = random.Read(b[at : at+page]); return b }},
			{"neighbour", func(b []byte) []byte { copy(b[at:at+page], whole[(at+page)%len(whole):]); return b }},
			{"body", func(b []byte) []byte { _, _ = random.Read(b[at+16 : at+page]); return b }},
			{"cut off", func(b []byte) []byte { return b[:at] }},
		} {
			if n++; n%each != 0 {
				continue
			}
			tried++
			damagedPath := filepath.Join(dir, "damaged.db")
			if err := os.WriteFile(damagedPath, kind.damage(bytes.Clone(whole)), 0o600); err != nil {
				t.Fatal(err)
			}
			_ = os.Remove(damaged(damagedPath))
			what := fmt.Sprintf("page %d: %s", at/page, kind.name)
			if within(t, what, func() bool { return driveDamaged(t, what, damagedPath, want, kind.name != "body") }) {
				met++
			}
			if err := os.Remove(damagedPath); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("of %d pages, damage was met %d times of %d", len(whole)/page, met, tried)
	if met < tried/10 {
		t.Errorf("damage was met only %d times of %d: nothing looks", met, tried)
	}
}

// within fails if fn does not end.
func within(t *testing.T, what string, fn func() bool) bool {
	t.Helper()
	done := make(chan bool, 1)
	go func() { done <- fn() }()
	select {
	case met := <-done:
		return met
	case <-time.After(time.Minute):
		t.Fatalf("%s: it hangs", what)
		return false
	}
}

// driveDamaged does all that can be done with an index, and reports whether it met
// damage.
func driveDamaged(t *testing.T, what, path, want string, exact bool) (met bool) {
	x, err := Open(path, place1)
	if err != nil {
		if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNoIndex) {
			t.Errorf("%s: opened: %v", what, err)
		}
		return true
	}
	got, errs := look(x)
	errs = append(errs, write(x)...)
	if after, more := look(x); len(errs)+len(more) == 0 && exact && after == got {
		t.Errorf("%s: what was written is not there", what)
	}
	if err := x.Close(); err != nil && !errors.Is(err, ErrDamaged) {
		t.Errorf("%s: closed: %v", what, err)
	}
	for _, err := range errs {
		met = met || errors.Is(err, ErrDamaged)
		if exact && !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
	}
	switch _, err := x.Stats(context.Background()); {
	case !met && exact && got != want:
		t.Errorf("%s: it answers wrongly, and says nothing", what)
	case met && !errors.Is(err, ErrDamaged):
		t.Errorf("%s: damaged, it is ready: %v", what, err)
	}
	if _, err := Open(path, place1); met && !errors.Is(err, ErrDamaged) {
		t.Errorf("%s: the next start is not told: %v", what, err)
	}
	return met
}

func seen(t *testing.T, x *Index) string {
	t.Helper()
	got, errs := look(x)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return got
}

// look asks for everything.
func look(x *Index) (string, []error) {
	var b strings.Builder
	var errs []error
	ctx := context.Background()
	say := func(v any, err error) {
		if err != nil {
			errs = append(errs, err)
			return
		}
		fmt.Fprintln(&b, v)
	}
	for _, q := range []index.Query{{}, {ByTime: true}, {ByTime: true, Within: []string{"user-1", "user-2", "user-39"}}} {
		for cursor, first := index.Cursor(""), true; first || cursor != ""; first = false {
			entries, next, err := x.List(ctx, q, cursor, 7)
			for _, e := range entries {
				say(fmt.Sprint(e.Repository, e.Digest, e.Tags, e.Image.Created, e.Image.Size, e.Image.Env, len(e.Image.Platforms)), nil)
				found, err := x.ByUUID(ctx, e.UUID(), nil)
				say(found.Digest, err)
			}
			if cursor = next; err != nil {
				say(nil, err)
				break
			}
		}
	}
	names, err := x.Repositories(ctx, nil, "", 1000)
	say(names, err)
	for _, name := range names {
		state, err := x.State(ctx, name)
		say(state, err)
		usage, err := x.Usage(ctx, strings.Split(name, "/")[0])
		say(usage, err)
		for _, d := range slices.Sorted(maps.Keys(state.Links)) {
			referring, err := x.Referring(ctx, name, d)
			say(referring, err)
			source, err := x.MountSource(ctx, d, nil)
			say(source, err)
		}
	}
	return b.String(), errs
}

// write changes a little everywhere.
func write(x *Index) (errs []error) {
	ctx := context.Background()
	for i := range 12 {
		s := sampleOf(i*imagesPerRepository*3 + i%2)
		errs = append(errs, x.Link(ctx, s.repository, map[digest.Digest]int64{dgst(fmt.Sprint("new", i)): 5}, "", nil))
		l, err := x.Acquire(ctx, s.repository)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		u := index.Update{Put: []image.Description{s.manifest, s.index}, Tag: map[string]digest.Digest{"new": s.index.Digest}}
		if i%3 == 0 {
			u = index.Update{Delete: []digest.Digest{s.index.Digest, s.manifest.Digest}}
		}
		_, err = x.Publish(ctx, l, u)
		errs = append(errs, err, x.Release(ctx, l))
	}
	kept := errs[:0]
	for _, err := range errs {
		if err != nil {
			kept = append(kept, err)
		}
	}
	return kept
}

// TestReadOnlyDisk: who cannot write the file is not told to delete it.
func TestReadOnlyDisk(t *testing.T) {
	if os.Getuid() == 0 {
		dir := t.TempDir()
		path := filepath.Join(dir, "catalog.db")
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, place1); err == nil || errors.Is(err, ErrNoIndex) || strings.Contains(err.Error(), "delete") {
			t.Errorf("a folder: %v", err)
		}
	}
	for _, cause := range []error{os.ErrPermission, syscall.EROFS} {
		if err := advise("/x/catalog.db", &os.PathError{Op: "open", Path: "/x/catalog.db", Err: cause}); strings.Contains(err.Error(), "delete") || !strings.Contains(err.Error(), "catalog.path") {
			t.Errorf("%v: %v", cause, err)
		}
	}
}
