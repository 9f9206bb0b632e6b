package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// syncsOf counts the syncs of what is done.
func (m *memory) syncsOf(do func()) int {
	m.mu.Lock()
	before := m.syncs
	m.mu.Unlock()
	do()
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.syncs - before
}

// receiveWhole has an upload with some content, as a request leaves it that sends
// all of it.
func receiveWhole(t *testing.T, d *Driver, folder string, content []byte) {
	t.Helper()
	put(t, d, folder+"/startedat", "now")
	w, err := d.Writer(t.Context(), folder+"/data", false)
	if err == nil {
		_, err = w.Write(content)
	}
	if err == nil {
		err = w.Commit(t.Context())
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestSyncsCounted checks how many syncs it takes until a change is durable.
func TestSyncsCounted(t *testing.T) {
	m := newMemory()
	d := openHeld(t, &held{memory: m}, 16)
	ctx := t.Context()
	blob := func(id string, content []byte) func(context.Context) error {
		dgst, folder := digest.FromBytes(content), repositories+"a/_uploads/"+id
		receiveWhole(t, d, folder, content)
		return func(ctx context.Context) error {
			return errors.Join(d.Move(ctx, folder+"/data", blobPath(dgst)),
				d.PutContent(ctx, layerLink("a", dgst), []byte("x")), d.Delete(ctx, folder))
		}
	}
	wrong, inMemory := repositories+"a/_uploads/3", repositories+"a/_uploads/4"
	receiveWhole(t, d, wrong, []byte("wrong"))
	receiveWhole(t, d, inMemory, []byte("wrong"))
	if err := d.asFiles(wrong[1:]); err != nil {
		t.Fatal(err)
	}
	few, many := blob("1", []byte("small")), blob("2", bytes.Repeat([]byte("large"), 100))
	for _, test := range []struct {
		what string
		want int
		do   func() error
	}{
		{"a link", 1, func() error { return d.PutContent(ctx, "/docker/a/link", []byte("x")) }},
		{"the same link", 0, func() error { return d.PutContent(ctx, "/docker/a/link", []byte("x")) }},
		{"a deletion", 1, func() error { return d.Delete(ctx, "/docker/a/link") }},
		{"large content, its name in the stage, and the journal", 3, func() error { return d.PutContent(ctx, "/docker/large", make([]byte, 100)) }},
		{"a small blob and its link", 1, func() error { return d.Together(ctx, few) }},
		{"a large blob, its name in the stage, and the journal with its link", 2, func() error { return d.Together(ctx, many) }},
		{"a file that does not have the digest that it gets", 3, func() error { return d.Move(ctx, wrong+"/data", blobPath(digest.FromString("right"))) }},
		{"the same, from memory", 1, func() error { return d.Move(ctx, inMemory+"/data", blobPath(digest.FromString("other"))) }},
		{"what belongs together", 1, func() error {
			return d.Together(ctx, func(ctx context.Context) error {
				var errs []error
				for i := range 10 {
					errs = append(errs, d.PutContent(ctx, fmt.Sprintf("/docker/%d/link", i), []byte("x")))
				}
				return errors.Join(errs...)
			})
		}},
		{"nothing", 0, func() error { return d.Together(ctx, func(context.Context) error { return nil }) }},
	} {
		var err error
		if got := m.syncsOf(func() { err = test.do() }); err != nil || got != test.want {
			t.Errorf("%s: %d syncs (%v), want %d", test.what, got, err, test.want)
		}
	}
}

// TestTogether checks that what is done together is seen at once or not at all,
// also by a start after a crash at any moment.
func TestTogether(t *testing.T) {
	kinds(t, func(t *testing.T, newMemory func() *memory) {
		m := newMemory()
		d := openHeld(t, &held{memory: m}, 0)
		ctx := t.Context()
		put(t, d, "/docker/old", "old")
		paths := []string{"/docker/a/link", "/docker/b/link", "/docker/c/link"}
		refused := errors.New("refused")
		all := func(err error) func(context.Context) error {
			return func(ctx context.Context) error {
				for _, p := range paths {
					if err := d.PutContent(ctx, p, []byte("new")); err != nil {
						return err
					}
					if info, err := d.Stat(ctx, p); err != nil || info.Size() != 3 {
						t.Errorf("who writes %s does not see it: %v", p, err)
					}
					if got, err := d.GetContent(ctx, p); err != nil || string(got) != "new" {
						t.Errorf("who writes %s reads %q, %v", p, got, err)
					}
					if _, err := d.Stat(t.Context(), p); !isMissing(err) {
						t.Errorf("others see %s: %v", p, err)
					}
				}
				if err := d.Delete(ctx, "/docker/old"); err != nil {
					return err
				}
				if _, err := d.Stat(ctx, "/docker/old"); !isMissing(err) {
					t.Errorf("who deletes it still sees it: %v", err)
				}
				wantContent(t, d, "/docker/old", "old")
				return err
			}
		}
		if err := d.Together(ctx, all(refused)); !errors.Is(err, refused) {
			t.Fatalf("got %v", err)
		}
		for _, p := range paths {
			if _, err := d.Stat(ctx, p); !isMissing(err) {
				t.Errorf("of what was refused, %s is there: %v", p, err)
			}
		}
		chance, seen := rand.New(rand.NewPCG(1, 2)), map[int]bool{}
		m.mu.Lock()
		m.after = func(what string) {
			left := m.crashed(chance)
			if err := reopen(left); err != nil {
				t.Errorf("after %s: %v", what, err)
			}
			there := 0
			for _, p := range append(slices.Clone(paths), "/docker/old") {
				if _, err := left.find(p[1:]); (err == nil) != (p == "/docker/old") {
					there++
				}
			}
			if seen[there] = true; there != 0 && there != len(paths)+1 {
				t.Errorf("after %s: a start finds %d of %d changes", what, there, len(paths)+1)
			}
		}
		m.mu.Unlock()
		if err := d.Together(ctx, all(nil)); err != nil {
			t.Fatal(err)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		m.after = nil
		if !seen[0] || !seen[len(paths)+1] {
			t.Errorf("a start never finds all of it, or nothing: %v", seen)
		}
	})
}

// TestReplayCut cuts what a start does with the journal at every point, and wants
// the next start to do it.
func TestReplayCut(t *testing.T) {
	kinds(t, func(t *testing.T, newMemory func() *memory) {
		for _, small := range []int{0, 1} {
			m := newMemory()
			d, err := open(m, Options{segment: 256 << 10, small: small})
			if err != nil {
				t.Fatal(err)
			}
			day := newDay(d)
			if err := day.run(); err != nil {
				t.Fatal(err)
			}
			m.mu.Lock()
			left := m.crashed(nil)
			m.mu.Unlock()
			chance, cuts := rand.New(rand.NewPCG(uint64(small), 3)), 0
			left.after = func(what string) {
				cuts++
				for _, luck := range []*rand.Rand{nil, chance} {
					if err := day.check(left.crashed(luck)); err != nil {
						t.Errorf("replay is cut after %s: %v", what, err)
					}
				}
			}
			restart(t, left)
			left.after = nil
			if err := day.check(left); err != nil {
				t.Error(err)
			}
			if cuts < 20 {
				t.Errorf("replay takes %d calls: nothing happened", cuts)
			}
		}
	})
}

// lostInPlace removes what is in the file tree and may be lost there.
func lostInPlace(t *testing.T, root, p string) (modified time.Time) {
	t.Helper()
	info, err := os.Stat(filepath.Join(root, p))
	if err == nil {
		err = os.RemoveAll(filepath.Join(root, p))
	}
	if err != nil {
		t.Fatal(err)
	}
	return info.ModTime()
}

// abandoned is a driver that is not closed.
func abandoned(t *testing.T, root string, small int) *Driver {
	t.Helper()
	f, err := openFiles(root)
	if err != nil {
		t.Fatal(err)
	}
	d, err := open(f, Options{small: small})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(d.background.stop); <-d.background.ended })
	return d
}

// TestReplayKeepsTimes checks that a file has the time that it had, whether a
// start has to write it again or not.
func TestReplayKeepsTimes(t *testing.T) {
	for _, small := range []int{0, 1} {
		root := t.TempDir()
		d := abandoned(t, root, small)
		put(t, d, "/a/lost/link", "lost")
		put(t, d, "/a/kept/link", "kept")
		receiveWhole(t, d, repositories+"a/_uploads/1", []byte("blob"))
		blob := blobPath(digest.FromString("blob"))
		if err := d.Move(t.Context(), repositories+"a/_uploads/1/data", blob); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond) // so that a time of now is another
		kept, err := d.Stat(t.Context(), "/a/kept/link")
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]time.Time{
			"/a/kept/link": kept.ModTime(), "/a/lost/link": lostInPlace(t, root, "/a/lost/link"), blob: lostInPlace(t, root, blob),
		}
		again := openLocal(t, root)
		for p, modified := range want {
			if info, err := again.Stat(t.Context(), p); err != nil || !info.ModTime().Equal(modified) {
				t.Errorf("%s: after replay it is of %v (%v), want %v", p, info, err, modified)
			}
		}
		wantContent(t, again, "/a/lost/link", "lost")
		wantContent(t, again, blob, "blob")
	}
}

// TestUploadIsNotItsBlob checks that what is written to an upload that a crash has
// left does not get into the blob that it has become.
func TestUploadIsNotItsBlob(t *testing.T) {
	root := t.TempDir()
	d := abandoned(t, root, 1)
	upload, blob := repositories+"a/_uploads/1", blobPath(digest.FromString("blob"))
	receiveWhole(t, d, upload, []byte("blob"))
	if err := d.Move(t.Context(), upload+"/data", blob); err != nil {
		t.Fatal(err)
	}
	// The rename is lost.
	if err := os.Rename(filepath.Join(root, blob), filepath.Join(root, upload, "data")); err != nil {
		t.Fatal(err)
	}
	again := openLocal(t, root)
	w, err := again.Writer(t.Context(), upload+"/data", true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, " and more"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	wantContent(t, again, blob, "blob")
}

// TestForeignJournal checks that a journal is not applied to files of another
// place or time.
func TestForeignJournal(t *testing.T) {
	from := t.TempDir()
	put(t, abandoned(t, from, 0), "/docker/registry/v2/a/link", "of another")
	segment := filepath.Join(from, segmentName(1))
	content, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	for what, of := range map[string]string{"files of nobody": "", "another run": strings.Repeat("A", generationLength)} {
		root := t.TempDir()
		if err := os.WriteFile(filepath.Join(root, segmentName(1)), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if of != "" {
			if err := os.WriteFile(filepath.Join(root, generationName), []byte(of), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Open(Options{Root: root}); err == nil || !strings.Contains(err.Error(), "not that of the files beside it") {
			t.Errorf("a journal beside %s: %v", what, err)
		}
		if _, err := os.Stat(filepath.Join(root, "docker/registry/v2/a/link")); err == nil {
			t.Errorf("a journal beside %s is applied", what)
		}
	}
	// A copy of everything is as good as what it was copied from.
	root := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(root, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	lostInPlace(t, root, "docker")
	wantContent(t, openLocal(t, root), "/docker/registry/v2/a/link", "of another")
}
