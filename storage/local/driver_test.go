package local

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
)

func isMissing(err error) bool {
	var missing storagedriver.PathNotFoundError
	return errors.As(err, &missing)
}

func put(t *testing.T, d *Driver, p, content string) {
	t.Helper()
	if err := d.PutContent(t.Context(), p, []byte(content)); err != nil {
		t.Fatal(err)
	}
}

func wantContent(t *testing.T, d *Driver, p, want string) {
	t.Helper()
	if got, err := d.GetContent(t.Context(), p); err != nil || string(got) != want {
		t.Errorf("%s: got %q, %v, want %q", p, got, err, want)
	}
}

// TestSameContentStays checks that content which is there already leaves the
// file alone, and that other content does not.
func TestSameContentStays(t *testing.T) {
	for name, opener := range openers {
		root := t.TempDir()
		d := openWith(t, opener, root)
		put(t, d, "/a/link", "content")
		file := filepath.Join(root, "a", "link")
		old := time.Now().Add(-time.Hour).Truncate(time.Second)
		if err := os.Chtimes(file, old, old); err != nil {
			t.Fatal(err)
		}
		put(t, d, "/a/link", "content")
		if info, err := d.Stat(t.Context(), "/a/link"); err != nil || !info.ModTime().Equal(old) {
			t.Errorf("%s: the same content made the time %v, %v", name, info, err)
		}
		for _, other := range []string{"content and more", "conten", "CONTENT", ""} {
			put(t, d, "/a/link", other)
			wantContent(t, d, "/a/link", other)
		}
	}
}

// TestReaderIsFile checks that the system can send what is read by itself.
func TestReaderIsFile(t *testing.T) {
	for name, opener := range openers {
		d := openWith(t, opener, t.TempDir())
		put(t, d, "/a", "content")
		f, err := d.Reader(t.Context(), "/a", 3)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := f.(*os.File); !ok {
			t.Errorf("%s: the reader is a %T", name, f)
		}
		if got, err := io.ReadAll(f); string(got) != "tent" || err != nil {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestNeverOut checks that no path and no symbolic link leads out of the root:
// what is behind one does not exist, and is not changed.
func TestNeverOut(t *testing.T) {
	for name, opener := range openers {
		t.Run(name, func(t *testing.T) {
			outside, root := t.TempDir(), t.TempDir()
			secret := filepath.Join(outside, "secret")
			if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
				t.Fatal(err)
			}
			d := openWith(t, opener, root)
			put(t, d, "/in/there", "inside")
			relative, err := filepath.Rel(root, outside)
			if err != nil {
				t.Fatal(err)
			}
			for link, to := range map[string]string{
				"file": secret, "folder": outside, "up": relative, "nowhere": filepath.Join(outside, "nothing"), "self": "self", "inside": "in",
			} {
				if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
					t.Skipf("skipped: no symbolic links here: %v", err)
				}
			}
			wantContent(t, d, "/inside/there", "inside")
			for _, p := range []string{"/file", "/folder/secret", "/up/secret", "/nowhere", "/self"} {
				_, err := d.GetContent(t.Context(), p)
				_, err2 := d.Stat(t.Context(), p)
				if !isMissing(err) || !isMissing(err2) {
					t.Errorf("%s is read: %v, %v", p, err, err2)
				}
			}
			for _, p := range []string{"/folder", "/up"} {
				if got, err := d.List(t.Context(), p); err == nil {
					t.Errorf("%s is listed: %v", p, got)
				}
				if err := d.PutContent(t.Context(), p+"/new", []byte("x")); err == nil {
					t.Errorf("%s is written to", p)
				}
				if err := d.Move(t.Context(), "/in/there", p+"/new"); err == nil {
					t.Errorf("something is moved to %s", p)
				}
				if err := d.Delete(t.Context(), p+"/secret"); err == nil {
					t.Errorf("something below %s is deleted", p)
				}
			}
			if _, err := d.Writer(t.Context(), "/file", true); err == nil {
				t.Error("a file outside is written to")
			}
			put(t, d, "/file", "mine") // in the link's place
			for _, p := range []string{"/file", "/folder", "/up"} {
				if err := d.Delete(t.Context(), p); err != nil {
					t.Errorf("%s: %v", p, err)
				}
			}
			if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 {
				t.Errorf("outside are %v, %v", entries, err)
			}
			if got, err := os.ReadFile(secret); string(got) != "secret" || err != nil {
				t.Errorf("the file outside holds %q, %v", got, err)
			}
		})
	}
}

// TestBadPaths checks that what is no path is refused by its type.
func TestBadPaths(t *testing.T) {
	d := openLocal(t, t.TempDir())
	for _, p := range []string{"", "/", "a", "//a", "/a/", "/a//b", "/a b", "/é", "/..", "/../a", "/a/../../b", "/."} {
		_, err1 := d.GetContent(t.Context(), p)
		_, err2 := d.Writer(t.Context(), p, false)
		for call, err := range map[string]error{
			"GetContent": err1, "Writer": err2, "PutContent": d.PutContent(t.Context(), p, nil), "Delete": d.Delete(t.Context(), p),
			"Move from": d.Move(t.Context(), p, "/b"), "Move to": d.Move(t.Context(), "/b", p),
		} {
			var invalid storagedriver.InvalidPathError
			if !errors.As(err, &invalid) {
				t.Errorf("%s of %q: %v", call, p, err)
			}
		}
	}
	if _, err := d.Stat(t.Context(), "/"); err != nil {
		t.Error(err)
	}
}

// TestFolderInFilesPlace checks that a folder where a file should be is an
// error, and stays.
func TestFolderInFilesPlace(t *testing.T) {
	for _, opener := range openers {
		root := t.TempDir()
		d := openWith(t, opener, root)
		put(t, d, "/a/data/foreign", "foreign")
		put(t, d, "/b", "content")
		if err := d.PutContent(t.Context(), "/a/data", []byte("x")); err == nil {
			t.Error("a folder is written over")
		}
		if err := d.Move(t.Context(), "/b", "/a/data"); err == nil {
			t.Error("a file is moved over a folder")
		}
		if _, err := d.GetContent(t.Context(), "/a/data"); err == nil || isMissing(err) {
			t.Errorf("a folder is read: %v", err)
		}
		if err := d.PutContent(t.Context(), "/b/below", nil); err == nil {
			t.Error("something is written below a file")
		}
		if _, err := d.Stat(t.Context(), "/b/below"); !isMissing(err) {
			t.Errorf("below a file: %v", err)
		}
		wantContent(t, d, "/a/data/foreign", "foreign")
		wantContent(t, d, "/b", "content")
		wantNames(t, filepath.Join(root, "a"), "data")
	}
}

// wantNames wants a folder to hold exactly these.
func wantNames(t *testing.T, folder string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if !slices.Equal(names, want) {
		t.Errorf("%s holds %v, want %v", folder, names, want)
	}
}

// TestLongNames checks names at the limit of the file system, and that one byte
// more is an error that leaves nothing.
func TestLongNames(t *testing.T) {
	root := t.TempDir()
	d := openLocal(t, root)
	longest := strings.Repeat("n", 255)
	put(t, d, "/a/"+longest, "content")
	wantContent(t, d, "/a/"+longest, "content")
	if err := d.Move(t.Context(), "/a/"+longest, "/"+longest+"/"+longest); err != nil {
		t.Error(err)
	}
	for _, p := range []string{"/new/" + longest + "n", "/new/" + longest + "n/x", "/" + strings.Repeat("deep/", 1000) + "x"} {
		if err := d.PutContent(t.Context(), p, []byte("x")); !errors.Is(detail(err), syscall.ENAMETOOLONG) {
			t.Errorf("%.40s…: %v", p, err)
		}
		if _, err := d.GetContent(t.Context(), p); err == nil {
			t.Errorf("%.40s… is there", p)
		}
	}
	wantNames(t, filepath.Join(root, "a"))
	if _, err := os.Stat(filepath.Join(root, "new")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder is left of what failed: %v", err)
	}
}

// detail is the cause of a driver's error, which hides it.
func detail(err error) error {
	var known storagedriver.Error
	if errors.As(err, &known) {
		return known.Detail
	}
	return err
}

// TestWriterEnds checks that a writer that was ended takes nothing more.
func TestWriterEnds(t *testing.T) {
	d := openLocal(t, t.TempDir())
	for what, end := range map[string]func(storagedriver.FileWriter) error{
		"closed":    func(w storagedriver.FileWriter) error { return w.Close() },
		"cancelled": func(w storagedriver.FileWriter) error { return w.Cancel(t.Context()) },
		"committed": func(w storagedriver.FileWriter) error { return w.Commit(t.Context()) },
	} {
		w, err := d.Writer(t.Context(), "/a/"+what, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := end(w); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("x")); err == nil {
			t.Errorf("%s, and written to", what)
		}
		if err := w.Commit(t.Context()); err == nil {
			t.Errorf("%s, and committed", what)
		}
		if err := w.Cancel(t.Context()); err == nil {
			t.Errorf("%s, and cancelled", what)
		}
		if err := w.Close(); (err == nil) != (what == "committed") {
			t.Errorf("%s, and closed: %v", what, err)
		}
	}
}

// FuzzIsPath checks that what is a path is one for all drivers.
func FuzzIsPath(f *testing.F) {
	for _, p := range []string{"", "/", "//", "/a", "a", "/a/", "/a//b", "/a/b.c_D-9", "/\n", "/a\n", "/ä", "/a b", "/.", "/\xff"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p string) {
		if got, want := isPath(p), storagedriver.PathRegexp.MatchString(p); got != want {
			t.Errorf("isPath(%q) = %t, want %t", p, got, want)
		}
	})
}
