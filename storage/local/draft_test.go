package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"
)

const draftFolder = repositories + "a/app/_uploads/1"

// receive has an upload receive content, as a request does that leaves it open.
func receive(t *testing.T, d *Driver, folder string, again bool, content []byte) {
	t.Helper()
	w, err := d.Writer(t.Context(), folder+"/data", again)
	if err == nil {
		_, err = w.Write(content)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestChunkSurvives checks that an upload whose client was told that a chunk has
// come can be gone on with after the process was killed.
func TestChunkSurvives(t *testing.T) {
	m := newMemory()
	d := openHeld(t, &held{memory: m}, 0)
	put(t, d, draftFolder+"/startedat", "now")
	receive(t, d, draftFolder, false, []byte("con"))
	wantFiles(t, m, draftFolder, "data", "startedat")
	d = openHeld(t, &held{memory: m}, 0)
	receive(t, d, draftFolder, true, []byte("tent"))
	wantContent(t, d, draftFolder+"/data", "content")
	wantContent(t, d, draftFolder+"/startedat", "now")
}

// writeWhole writes content, and does not end that.
func writeWhole(t *testing.T, d *Driver, folder string, content []byte) storagedriver.FileWriter {
	t.Helper()
	w, err := d.Writer(t.Context(), folder+"/data", false)
	if err == nil {
		_, err = w.Write(content)
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// wantFiles checks which files of an upload the file system has.
func wantFiles(t *testing.T, m *memory, folder string, want ...string) {
	t.Helper()
	names, err := namesIn(m, folder[1:])
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if slices.Sort(names); !slices.Equal(names, want) {
		t.Errorf("%s has the files %q, want %q", folder, names, want)
	}
}

// TestDraft checks that an upload of a few bytes is no file before it is a blob,
// and is seen all the same.
func TestDraft(t *testing.T) {
	m := newMemory()
	d := openHeld(t, &held{memory: m}, 0)
	ctx := t.Context()
	put(t, d, draftFolder+"/startedat", "now")
	w := writeWhole(t, d, draftFolder, []byte("content"))
	wantContent(t, d, draftFolder+"/startedat", "now")
	wantContent(t, d, draftFolder+"/data", "content")
	if info, err := d.Stat(ctx, draftFolder+"/data"); err != nil || info.Size() != 7 || info.IsDir() || info.Path() != draftFolder+"/data" {
		t.Errorf("Stat of the data: %v, %v", info, err)
	}
	var seen []string
	err := d.Walk(ctx, "/docker", func(info storagedriver.FileInfo) error {
		if strings.HasPrefix(info.Path(), repositories) {
			seen = append(seen, fmt.Sprint(strings.TrimPrefix(info.Path(), repositories), info.IsDir()))
		}
		return nil
	})
	want := []string{"a true", "a/app true", "a/app/_uploads true", "a/app/_uploads/1 true", "a/app/_uploads/1/data false", "a/app/_uploads/1/startedat false"}
	for i := range want {
		want[i] = strings.ReplaceAll(want[i], " ", "")
	}
	slices.Sort(want)
	if slices.Sort(seen); err != nil || !slices.Equal(seen, want) {
		t.Errorf("Walk finds %q, %v, want %q", seen, err, want)
	}
	if _, err := m.stat(repositories[1:] + "a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a folder for it: %v", err)
	}

	if err := errors.Join(w.Commit(ctx), w.Close()); err != nil {
		t.Fatal(err)
	}
	blob := blobPath(digest.FromString("content"))
	err = d.Together(ctx, func(ctx context.Context) error {
		return errors.Join(d.Move(ctx, draftFolder+"/data", blob), d.Delete(ctx, draftFolder))
	})
	if err != nil {
		t.Fatal(err)
	}
	wantContent(t, d, blob, "content")
	if _, err := d.List(ctx, repositories+"a"); !isMissing(err) {
		t.Errorf("something is left of the upload: %v", err)
	}
	if left := d.drafts.bytes; left != 0 || len(d.drafts.names) != 0 {
		t.Errorf("left are %d bytes and %v", left, d.drafts.names)
	}
	if err := reopen(m.crashed(nil)); err != nil {
		t.Fatal(err)
	}
}

// TestDraftKeptByEnd checks that an upload goes on after a clean end, and that
// its remains go with its repository.
func TestDraftKeptByEnd(t *testing.T) {
	m := newMemory()
	d := openHeld(t, &held{memory: m}, 0)
	put(t, d, draftFolder+"/startedat", "now")
	receive(t, d, draftFolder, false, nil)
	wantFiles(t, m, draftFolder)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, m, draftFolder, "data", "startedat")
	d = openHeld(t, &held{memory: m}, 0)
	wantContent(t, d, draftFolder+"/startedat", "now")
	receive(t, d, draftFolder, true, []byte("con"))
	receive(t, d, draftFolder, true, []byte("tent"))
	wantContent(t, d, draftFolder+"/data", "content")

	put(t, d, repositories+"b/_uploads/1/startedat", "now")
	for _, repository := range []string{"a", "b"} {
		if err := d.Delete(t.Context(), repositories+repository); err != nil {
			t.Errorf("Delete of repository %s: %v", repository, err)
		}
		if _, err := d.Stat(t.Context(), repositories+repository); !isMissing(err) {
			t.Errorf("repository %s is still there: %v", repository, err)
		}
	}
	if err := d.Delete(t.Context(), draftFolder); !isMissing(err) {
		t.Errorf("Delete of an upload that is gone: %v", err)
	}
}

// TestDraftGone checks that who writes to an upload that was removed meanwhile is told
// that nothing was written.
func TestDraftGone(t *testing.T) {
	d := openHeld(t, &held{memory: newMemory()}, 0)
	put(t, d, draftFolder+"/startedat", "now")
	w := writeWhole(t, d, draftFolder, []byte("con"))
	if err := d.Delete(t.Context(), draftFolder); err != nil {
		t.Fatal(err)
	}
	if n, err := w.Write([]byte("tent")); n != 0 || !errors.Is(err, errClosed) || w.Size() != 3 {
		t.Errorf("%d bytes were written, %v, to %d in all", n, err, w.Size())
	}
}

// TestDraftSpills checks that an upload becomes a file once it has more than the
// journal takes, or drafts have too much, and one that can be gone on with after a
// crash once a chunk ends.
func TestDraftSpills(t *testing.T) {
	for name, full := range map[string]bool{"too much in it": false, "too much in all": true} {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			d := openHeld(t, &held{memory: m}, 16)
			if full {
				d.small, d.drafts.bytes = 1000, maxDraftBytes-10
			}
			put(t, d, draftFolder+"/startedat", "now")
			w := writeWhole(t, d, draftFolder, []byte("0123456789"))
			wantFiles(t, m, draftFolder)
			if _, err := w.Write([]byte("more than there is room for")); err != nil || w.Size() != 37 {
				t.Fatalf("%d bytes: %v", w.Size(), err)
			}
			wantFiles(t, m, draftFolder, "data")
			put(t, d, draftFolder+"/hashstates/sha256/10", "old")
			put(t, d, draftFolder+"/hashstates/sha256/37", "state")
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			wantFiles(t, m, draftFolder, "data", "startedat")
			states, err := d.List(t.Context(), draftFolder+"/hashstates/sha256")
			if want := []string{draftFolder + "/hashstates/sha256/37"}; err != nil || !slices.Equal(states, want) {
				t.Errorf("the states are %q, %v, want %q", states, err, want)
			}
			all := []byte("0123456789more than there is room for")
			wantContent(t, d, draftFolder+"/data", string(all))
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			want := []string{"data", "hashstates", "startedat"}
			if full { // of so few bytes no state is kept
				want = []string{"data", "startedat"}
			}
			wantFiles(t, m, draftFolder, want...)

			d = openHeld(t, &held{memory: m}, 16)
			if !full {
				wantContent(t, d, draftFolder+"/hashstates/sha256/37", "state")
			}
			if err := d.Move(t.Context(), draftFolder+"/data", blobPath(digest.FromBytes(all))); err != nil {
				t.Fatal(err)
			}
			wantContent(t, d, blobPath(digest.FromBytes(all)), string(all))
		})
	}
}

// TestDraftsAtOnce has many uploads come and go at once, in one repository.
func TestDraftsAtOnce(t *testing.T) {
	d := openHeld(t, &held{memory: newMemory()}, 64)
	ctx := t.Context()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 20 {
				folder := fmt.Sprintf("%sa/_uploads/%d-%d", repositories, i, n)
				content := bytes.Repeat([]byte{byte(i), byte(n)}, 1+n*4)
				put(t, d, folder+"/startedat", "now")
				if n%2 == 0 {
					receive(t, d, folder, false, content)
				} else {
					w := writeWhole(t, d, folder, content)
					if err := errors.Join(w.Commit(ctx), w.Close()); err != nil {
						t.Error(err)
					}
				}
				if _, err := d.List(ctx, repositories+"a/_uploads"); err != nil {
					t.Error(err)
				}
				blob := blobPath(digest.FromBytes(content))
				if err := errors.Join(d.Move(ctx, folder+"/data", blob), d.Delete(ctx, folder)); err != nil {
					t.Error(err)
				}
				wantContent(t, d, blob, string(content))
			}
		})
	}
	all.Wait()
	if names, err := d.List(ctx, repositories+"a/_uploads"); len(names) != 0 || err != nil && !isMissing(err) {
		t.Errorf("left are %q, %v", names, err)
	}
	if d.drafts.bytes != 0 || len(d.drafts.open) != 0 || len(d.drafts.names) != 0 {
		t.Errorf("left are %d bytes, %d drafts, %v", d.drafts.bytes, len(d.drafts.open), d.drafts.names)
	}
}
