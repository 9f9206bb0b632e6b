package storagetest

import (
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
)

var driverTests = []test{
	{"content", testDriverContent}, {"reader", testDriverReader}, {"writer", testDriverWriter},
	{"append", testDriverAppend}, {"stat and list", testDriverList}, {"move", testDriverMove},
	{"delete", testDriverDelete}, {"not found", testDriverNotFound}, {"long names", testDriverNames},
	{"side by side", testDriverConcurrent},
}

// wantFile wants a file to hold something.
func (s *stored) wantFile(path, want string) {
	s.t.Helper()
	got, err := s.driver.GetContent(s.t.Context(), path)
	if err != nil || string(got) != want {
		s.t.Errorf("%s: got %.60q (%d bytes), %v, want %.60q (%d bytes)", path, got, len(got), err, want, len(want))
	}
	info, err := s.driver.Stat(s.t.Context(), path)
	if err != nil || info.IsDir() || info.Size() != int64(len(want)) || info.Path() != path || info.ModTime().IsZero() {
		s.t.Errorf("stat %s: got %+v, %v, want a file of %d bytes", path, info, err, len(want))
	}
}

// wantMissing wants nothing at a path.
func (s *stored) wantMissing(path string) {
	s.t.Helper()
	if _, err := s.driver.Stat(s.t.Context(), path); !missing(err) {
		s.t.Errorf("stat %s: got %v, want a path that is not found", path, err)
	}
}

func testDriverContent(t *testing.T, s *stored) {
	large := strings.Repeat("0123456789abcdef", 1<<16)
	for _, content := range []string{"", "a", "longer", "b", large, "\x00\xff", ""} {
		s.put("/a/b/c", content)
		s.wantFile("/a/b/c", content)
	}
}

func testDriverReader(t *testing.T, s *stored) {
	s.put("/a/b", "0123456789")
	s.put("/a/empty", "")
	for _, test := range []struct {
		path   string
		offset int64
		want   string
	}{{"/a/b", 0, "0123456789"}, {"/a/b", 3, "3456789"}, {"/a/b", 9, "9"}, {"/a/b", 10, ""}, {"/a/empty", 0, ""}} {
		f, err := s.driver.Reader(t.Context(), test.path, test.offset)
		if err != nil {
			t.Errorf("%s from %d: %v", test.path, test.offset, err)
			continue
		}
		got, err := io.ReadAll(f)
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if err != nil || string(got) != test.want {
			t.Errorf("%s from %d: got %q, %v, want %q", test.path, test.offset, got, err, test.want)
		}
	}
	if _, err := s.driver.Reader(t.Context(), "/a/b", -1); err == nil {
		t.Error("a file is read from before its start")
	}
}

// write writes pieces to a file, and ends as it is told.
func (s *stored) write(path string, again bool, pieces []string, end func(storagedriver.FileWriter) error) {
	s.t.Helper()
	w, err := s.driver.Writer(s.t.Context(), path, again)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, piece := range pieces {
		if n, err := io.WriteString(w, piece); err != nil || n != len(piece) {
			s.t.Fatalf("wrote %d bytes, %v", n, err)
		}
	}
	if err := end(w); err != nil {
		s.t.Fatal(err)
	}
}

func commit(w storagedriver.FileWriter) error {
	if err := w.Commit(context.Background()); err != nil {
		return err
	}
	return w.Close()
}

func testDriverWriter(t *testing.T, s *stored) {
	s.write("/a/b", false, []string{"0123", "", "456789"}, commit)
	s.wantFile("/a/b", "0123456789")
	s.write("/a/b", false, []string{"again"}, commit)
	s.wantFile("/a/b", "again")
	s.write("/a/nothing", false, nil, commit)
	s.wantFile("/a/nothing", "")
	s.write("/a/c", false, []string{"cancelled"}, func(w storagedriver.FileWriter) error { return w.Cancel(context.Background()) })
	s.wantMissing("/a/c")
}

// testDriverAppend writes as uploads do: a request after the other, of which
// only the last commits. Between pieces of less and of more than S3 takes as a
// part of its own, there is a boundary.
func testDriverAppend(t *testing.T, s *stored) {
	pieces := []string{"first", strings.Repeat("second", 1<<20), "third", "fourth"}
	var size int64
	for i, piece := range pieces {
		s.write("/a/b", i > 0, []string{piece}, func(w storagedriver.FileWriter) error {
			if err := w.Close(); err != nil {
				return err
			}
			size += int64(len(piece))
			return nil
		})
	}
	s.write("/a/b", true, nil, func(w storagedriver.FileWriter) error {
		if w.Size() != size {
			t.Errorf("opened again, a file has %d bytes, want %d", w.Size(), size)
		}
		return commit(w)
	})
	s.wantFile("/a/b", strings.Join(pieces, ""))
}

func testDriverList(t *testing.T, s *stored) {
	for _, p := range []string{"/a/b/c", "/a/b/d/e", "/a/b.1", "/a/bb/f"} {
		s.put(p, p)
	}
	for folder, want := range map[string][]string{
		"/": {"/a"}, "/a": {"/a/b", "/a/b.1", "/a/bb"}, "/a/b": {"/a/b/c", "/a/b/d"}, "/a/b/d": {"/a/b/d/e"},
	} {
		got, err := s.driver.List(t.Context(), folder)
		slices.Sort(got)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("list %s: got %v, %v, want %v", folder, got, err, want)
		}
	}
	for _, folder := range []string{"/a", "/a/b", "/a/b/d"} {
		if info, err := s.driver.Stat(t.Context(), folder); err != nil || !info.IsDir() || info.Path() != folder {
			t.Errorf("stat %s: got %+v, %v, want a folder", folder, info, err)
		}
	}
}

func testDriverMove(t *testing.T, s *stored) {
	s.put("/a/from", "new")
	s.put("/b/to", "old, and longer")
	for _, to := range []string{"/b/to", "/c/d/e"} {
		if err := s.driver.Move(t.Context(), "/a/from", to); err != nil {
			t.Fatal(err)
		}
		s.wantFile(to, "new")
		s.wantMissing("/a/from")
		s.put("/a/from", "new")
	}
}

func testDriverDelete(t *testing.T, s *stored) {
	for _, p := range []string{"/a/b", "/a/b2", "/a/c/d", "/a/c/e/f", "/a/c.1/g"} {
		s.put(p, p)
	}
	for _, p := range []string{"/a/b", "/a/c"} {
		if err := s.driver.Delete(t.Context(), p); err != nil {
			t.Error(err)
		}
	}
	if got := s.files("/a"); len(got) != 2 || got["/a/b2"] == "" || got["/a/c.1/g"] == "" {
		t.Errorf("left are %v", got)
	}
	s.wantMissing("/a/b/x")
	s.wantMissing("/a/c/d")
	s.put("/a/b", "again")
	s.wantFile("/a/b", "again")
}

func testDriverNotFound(t *testing.T, s *stored) {
	s.put("/a/b", "")
	ctx := t.Context()
	for _, p := range []string{"/nothing", "/a/nothing", "/a/b/c"} {
		for call, err := range map[string]error{
			"GetContent": second(s.driver.GetContent(ctx, p)), "Stat": second(s.driver.Stat(ctx, p)),
			"Reader": second(s.driver.Reader(ctx, p, 0)), "Delete": s.driver.Delete(ctx, p),
			"Move": s.driver.Move(ctx, p, "/c"),
		} {
			// Below a file, local files have an error of their own.
			if err == nil || !missing(err) && p != "/a/b/c" {
				t.Errorf("%s %s: got %v, want a path that is not found", call, p, err)
			}
		}
	}
	if _, err := s.driver.List(ctx, "/nothing"); !missing(err) {
		t.Errorf("list /nothing: got %v, want a path that is not found", err)
	}
	s.wantFile("/a/b", "")
	s.wantMissing("/c")
}

func second[T any](_ T, err error) error { return err }

// testDriverNames has names of the length that a repository's parts and tags
// may have: 255 bytes in all for a repository (of one part, or of many), 128
// for a tag.
func testDriverNames(t *testing.T, s *stored) {
	one, many := strings.Repeat("n", 255), strings.TrimSuffix(strings.Repeat("m/n/", 64), "/")
	for _, repository := range []string{one, many} {
		d := s.manifest(repository, "manifest")
		s.layer(repository, "layer")
		for _, tag := range []string{strings.Repeat("t", 128), "t"} {
			s.tag(repository, tag, d)
			s.wantFile(tagCurrent(repository, tag), d.String())
		}
		upload := repositories + repository + "/_uploads/01234567-89ab-cdef-0123-456789abcdef/"
		s.put(upload+"hashstates/sha256/9223372036854775807", "state")
		s.write(upload+"data", false, []string{"data"}, commit)
		if err := s.driver.Move(t.Context(), upload+"data", dataPath(d)); err != nil {
			t.Fatal(err)
		}
		s.wantFile(dataPath(d), "data")
	}
	if got := s.names(); !slices.Equal(got, []string{many, one}) {
		t.Errorf("repositories: %q", got)
	}
}

func testDriverConcurrent(t *testing.T, s *stored) {
	const writers, rounds = 8, 4
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			for j := range rounds {
				// Some make the same folders at the same time.
				from, to := fmt.Sprintf("/up/%d/data", i), fmt.Sprintf("/new/%d/%d/data", j, i)
				content := strings.Repeat(fmt.Sprintf("%d of %d,", j, i), 1000)
				w, err := s.driver.Writer(context.Background(), from, false)
				if err == nil {
					_, err = io.WriteString(w, content)
				}
				if err == nil {
					err = commit(w)
				}
				if err == nil {
					err = s.driver.Move(context.Background(), from, to)
				}
				if err == nil {
					err = s.driver.PutContent(context.Background(), path.Dir(to)+"/link", []byte(content))
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for i := range writers {
		for j := range rounds {
			content := strings.Repeat(fmt.Sprintf("%d of %d,", j, i), 1000)
			s.wantFile(fmt.Sprintf("/new/%d/%d/data", j, i), content)
			s.wantFile(fmt.Sprintf("/new/%d/%d/link", j, i), content)
		}
	}
}
